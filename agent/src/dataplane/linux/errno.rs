//! What the kernel's error numbers mean. Nothing else in the data plane looks at one.

use std::fmt;
use std::io;
use std::path::Path;

use podnet_core::kernel::{ObserveError, OpError, OpErrorKind};

use super::bounded;

/// What an error number means for podnet, as far as a decision depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errno {
    /// The object is there already.
    Exists,
    /// The object, or what it builds on, is not there.
    NotFound,
    /// Busy: try again.
    Busy,
    /// A capability is missing.
    NotPermitted,
    /// This kernel cannot do it.
    Unsupported,
    /// No memory, no table space.
    Exhausted,
    /// The bridge has no port left.
    Full,
    /// Anything else.
    Other(i32),
}

impl From<i32> for Errno {
    fn from(errno: i32) -> Self {
        match errno {
            libc::EEXIST => Self::Exists,
            // ENETUNREACH and ENETDOWN: a route whose gateway or device cannot be used (yet).
            // EADDRNOTAVAIL: an address that the interface does not have.
            libc::ENOENT
            | libc::ENODEV
            | libc::ENXIO
            | libc::ESRCH
            | libc::ENETUNREACH
            | libc::ENETDOWN
            | libc::EADDRNOTAVAIL => Self::NotFound,
            libc::EBUSY | libc::EAGAIN | libc::EINTR => Self::Busy,
            libc::EPERM | libc::EACCES => Self::NotPermitted,
            libc::EOPNOTSUPP
            | libc::ENOSYS
            | libc::EAFNOSUPPORT
            | libc::EPROTONOSUPPORT
            | libc::EPFNOSUPPORT => Self::Unsupported,
            libc::ENOMEM | libc::ENOBUFS | libc::ENOSPC | libc::EMFILE | libc::ENFILE => {
                Self::Exhausted
            }
            libc::EXFULL => Self::Full,
            other => Self::Other(other),
        }
    }
}

/// Why the kernel did not do, or answer, what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KernelError {
    /// It refused.
    #[error("{}", Refusal { errno: *errno, words: words.as_deref() })]
    Refused {
        /// The error number, positive.
        errno: i32,
        /// The kernel's own words (the extended acknowledgement), if it had any.
        words: Option<String>,
    },
    /// A kernel parameter cannot be read or set.
    #[error("{path}: {}", Refusal { errno: *errno, words: None })]
    Parameter {
        /// Its file.
        path: String,
        /// The error number, positive.
        errno: i32,
    },
    /// It did not answer in time.
    #[error("no answer from the kernel in time")]
    Timeout,
    /// The socket or thread that the answer was to come from has ended.
    #[error("the connection to the kernel was lost")]
    Lost,
    /// There are more of these objects than are looked at.
    #[error("more than {most} {0}: too many to look at", most = bounded::MOST)]
    TooMuch(&'static str),
    /// It answered, but with less than was asked for.
    #[error("the kernel's answer lacks the {0}")]
    Incomplete(&'static str),
}

struct Refusal<'a> {
    errno: i32,
    words: Option<&'a str>,
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = nix::errno::Errno::from_raw(self.errno).desc();
        let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
        write!(f, "{}{rest}", first.to_lowercase())?;
        if let Some(words) = self.words {
            write!(f, ": {}", words.trim_end_matches('.'))?;
        }
        if Errno::from(self.errno) == Errno::NotPermitted {
            f.write_str(" (is CAP_NET_ADMIN or CAP_SYS_ADMIN missing?)")?;
        }
        Ok(())
    }
}

impl From<io::Error> for KernelError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::Refused { errno, words: None },
            None if error.kind() == io::ErrorKind::TimedOut => Self::Timeout,
            None => Self::Refused {
                errno: libc::EIO,
                words: Some(error.to_string()),
            },
        }
    }
}

impl From<nix::errno::Errno> for KernelError {
    fn from(errno: nix::errno::Errno) -> Self {
        Self::Refused {
            errno: errno as i32,
            words: None,
        }
    }
}

impl KernelError {
    /// A kernel parameter that cannot be read or set.
    pub(super) fn parameter(path: &Path, error: &io::Error) -> Self {
        Self::Parameter {
            path: path.display().to_string(),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }
    }

    /// What the kernel's refusal means; `None` if it did not refuse but failed to answer.
    pub(super) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } | Self::Parameter { errno, .. } => {
                Some(Errno::from(*errno))
            }
            Self::Timeout | Self::Lost | Self::TooMuch(_) | Self::Incomplete(_) => None,
        }
    }

    /// Whether the kernel refused with this meaning.
    pub(super) fn is(&self, errno: Errno) -> bool {
        self.errno() == Some(errno)
    }

    /// The kernel's refusal without its own words and without a guess at a missing capability: of a packet, which it
    /// refuses whoever asks.
    pub(super) fn plainly(&self) -> String {
        match self {
            Self::Refused { errno, .. } => {
                nix::errno::Errno::from_raw(*errno).desc().to_lowercase()
            }
            Self::Parameter { .. }
            | Self::Timeout
            | Self::Lost
            | Self::TooMuch(_)
            | Self::Incomplete(_) => self.to_string(),
        }
    }

    /// The failed change of an object.
    pub(super) fn at(&self, object: impl fmt::Display) -> OpError {
        let kind = match self {
            Self::Timeout => OpErrorKind::Timeout,
            Self::Lost => OpErrorKind::Busy,
            Self::TooMuch(_) => OpErrorKind::Unsupported,
            Self::Incomplete(_) => OpErrorKind::Other(0),
            Self::Parameter { errno, .. } if *errno == libc::EROFS => OpErrorKind::ReadOnly,
            Self::Refused { errno, .. } | Self::Parameter { errno, .. } => {
                match Errno::from(*errno) {
                    Errno::NotFound => OpErrorKind::NotFound,
                    Errno::Busy => OpErrorKind::Busy,
                    Errno::NotPermitted => OpErrorKind::NotPermitted,
                    Errno::Unsupported => OpErrorKind::Unsupported,
                    Errno::Exhausted => OpErrorKind::Exhausted,
                    Errno::Full => OpErrorKind::Full,
                    Errno::Exists => OpErrorKind::Other(libc::EEXIST),
                    Errno::Other(errno) => OpErrorKind::Other(errno),
                }
            }
        };
        OpError::new(kind, format!("{object}: {self}"))
    }

    /// The failed look at something.
    pub(super) fn looking_at(&self, what: &'static str) -> ObserveError {
        match self {
            Self::Timeout => ObserveError::Timeout { what },
            Self::Refused { errno, .. } | Self::Parameter { errno, .. }
                if Errno::from(*errno) == Errno::NotPermitted =>
            {
                ObserveError::NotPermitted { what }
            }
            Self::Refused { .. }
            | Self::Parameter { .. }
            | Self::Lost
            | Self::TooMuch(_)
            | Self::Incomplete(_) => ObserveError::Failed {
                what,
                detail: self.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_well() {
        let refused = |errno, words: Option<&str>| KernelError::Refused {
            errno,
            words: words.map(ToOwned::to_owned),
        };
        assert_eq!(
            refused(libc::EPERM, None).at("bridge podnet0"),
            OpError::new(
                OpErrorKind::NotPermitted,
                "bridge podnet0: operation not permitted (is CAP_NET_ADMIN or CAP_SYS_ADMIN missing?)"
            )
        );
        let read_only = KernelError::Parameter {
            path: "/proc/sys/net/x".to_owned(),
            errno: libc::EROFS,
        };
        assert_eq!(
            read_only.at("bridge podnet0"),
            OpError::new(
                OpErrorKind::ReadOnly,
                "bridge podnet0: /proc/sys/net/x: read-only file system"
            )
        );
        assert_eq!(
            refused(libc::EINVAL, Some("Invalid prefsrc address."))
                .at("route 10.0.0.0/24")
                .detail,
            "route 10.0.0.0/24: invalid argument: Invalid prefsrc address"
        );
    }

    #[test]
    fn what_decides_is_the_meaning() {
        assert_eq!(Errno::from(libc::ESRCH), Errno::NotFound);
        assert_eq!(Errno::from(libc::ENODEV), Errno::NotFound);
        assert_eq!(Errno::from(libc::EINVAL), Errno::Other(libc::EINVAL));
        assert_eq!(KernelError::Timeout.at("x").kind, OpErrorKind::Timeout);
        assert!(matches!(
            KernelError::Timeout.looking_at("x"),
            ObserveError::Timeout { what: "x" }
        ));
    }
}
