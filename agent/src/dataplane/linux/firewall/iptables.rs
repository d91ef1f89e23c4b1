//! The programs of iptables, as children with a deadline.

use std::io;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use podnet_core::kernel::{ObserveError, OpError, OpErrorKind};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::super::thread::on_thread;
use crate::fault;

/// How long iptables waits for the lock that its legacy variant takes, in seconds.
const LOCK_WAIT: &str = "5";

/// How long a child may take: the lock, and a table of many thousand rules.
const DEADLINE: Duration = Duration::from_secs(10);

/// What iptables exits with when it did not get the lock.
const EXIT_BUSY: i32 = 4;

/// Which part of the kernel iptables talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// nftables.
    Nft,
    /// Its own tables.
    Legacy,
}

impl Variant {
    const fn name(self) -> &'static str {
        match self {
            Self::Nft => "iptables-nft",
            Self::Legacy => "iptables-legacy",
        }
    }

    /// The other one.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Nft => Self::Legacy,
            Self::Legacy => Self::Nft,
        }
    }
}

/// The programs of one variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Programs {
    pub(super) variant: Variant,
    /// What they are called by: that of the host's choice may bear no variant in its name.
    prefix: &'static str,
}

/// Why a program did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum ProgramError {
    /// It is not installed.
    #[error("'{0}' is not installed")]
    Missing(String),
    /// It was ended, since it took too long.
    #[error("'{0}' took too long")]
    Timeout(String),
    /// Another holds the lock of the tables.
    #[error("'{0}' waited in vain for the lock of the tables")]
    Busy(String),
    /// It may not.
    #[error("'{0}': not permitted (is CAP_NET_ADMIN or CAP_NET_RAW missing?)")]
    NotPermitted(String),
    /// Anything else.
    #[error("'{program}': {detail}")]
    Failed {
        /// Which.
        program: String,
        /// What it said.
        detail: String,
    },
}

impl ProgramError {
    /// The failed change of the firewall.
    pub(in super::super) fn at(&self, backend: &str) -> OpError {
        let kind = match self {
            Self::Missing(program) => OpErrorKind::MissingBinary(program.clone()),
            Self::Timeout(_) => OpErrorKind::Timeout,
            Self::Busy(_) => OpErrorKind::Busy,
            Self::NotPermitted(_) => OpErrorKind::NotPermitted,
            Self::Failed { .. } => OpErrorKind::Other(0),
        };
        OpError::new(kind, format!("firewall {backend}: {self}"))
    }

    /// The failed look at the firewall.
    pub(super) fn looking(self) -> ObserveError {
        let what = "firewall";
        match self {
            Self::Missing(program) => ObserveError::MissingBinary { program },
            Self::Timeout(_) => ObserveError::Timeout { what },
            Self::NotPermitted(_) => ObserveError::NotPermitted { what },
            Self::Busy(_) | Self::Failed { .. } => ObserveError::Failed {
                what,
                detail: self.to_string(),
            },
        }
    }
}

impl Programs {
    /// Finds the host's own choice.
    pub(super) async fn primary() -> Result<Self, ProgramError> {
        let program = "iptables";
        let installed = on_thread(|| {
            iptables::new(false)
                .map(|found| found.has_wait)
                .map_err(drop)
        });
        let failed = |detail: &str| ProgramError::Failed {
            program: program.to_owned(),
            detail: detail.to_owned(),
        };
        match installed.await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Err(failed("too old: it cannot wait for the lock (-w)")),
            Ok(Err(())) => return Err(ProgramError::Missing(program.to_owned())),
            Err(_) => return Err(ProgramError::Timeout(program.to_owned())),
        }
        // "iptables v1.8.9 (nf_tables)"; before 1.8 there was one variant, and no word of it.
        let version = run(program, &["--version"], "", |_| ()).await?;
        let nft = version.contains("nf_tables");
        let variant = if nft { Variant::Nft } else { Variant::Legacy };
        Ok(Self {
            variant,
            prefix: program,
        })
    }

    /// The programs of a variant, whatever the host's choice is.
    pub(super) const fn of(variant: Variant) -> Self {
        Self {
            variant,
            prefix: variant.name(),
        }
    }

    /// The name of the back end.
    pub(super) const fn backend(self) -> &'static str {
        self.variant.name()
    }

    /// What a table holds, or what all of them do. Without a name, tables that were never used are not
    /// made by looking.
    pub(super) async fn save(self, table: Option<&str>) -> Result<String, ProgramError> {
        let named = table.map(|table| ["-t", table]);
        let arguments = named.as_ref().map_or(&[][..], |named| &named[..]);
        run(&format!("{}-save", self.prefix), arguments, "", |_| ()).await
    }

    /// Changes tables; each as a whole, or not at all. `process` is set to the number of the process
    /// that does it, if the kernel will report it.
    pub(super) async fn restore(
        self,
        script: &str,
        process: &AtomicU32,
    ) -> Result<(), ProgramError> {
        let program = format!("{}-restore", self.prefix);
        let started = |number| match self.variant {
            Variant::Nft => process.store(number, Ordering::Relaxed),
            Variant::Legacy => {}
        };
        let arguments = ["-w", LOCK_WAIT, "--noflush"];
        let restored = run(&program, &arguments, script, started).await;
        fault::point("end of iptables");
        restored.map(drop)
    }
}

/// Runs a program to its end, and returns what it wrote. `started` learns the number of the process
/// before it reads its input.
pub(in super::super) async fn run(
    program: &str,
    arguments: &[&str],
    input: &str,
    started: impl Fn(u32),
) -> Result<String, ProgramError> {
    let work = async {
        let mut child = Command::new(program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        child.id().into_iter().for_each(started);
        if let Some(mut stdin) = child.stdin.take().filter(|_| !input.is_empty()) {
            fault::point("start of iptables");
            // A program that ends without reading has said why.
            let _ = stdin.write_all(input.as_bytes()).await;
            fault::point("input of iptables");
        }
        child.wait_with_output().await
    };
    let failed = |detail: String| ProgramError::Failed {
        program: program.to_owned(),
        detail,
    };
    match timeout(DEADLINE, work).await {
        Ok(Ok(output)) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(Ok(output)) => Err(refusal(program, &output)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(ProgramError::Missing(program.to_owned()))
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(ProgramError::Timeout(program.to_owned())),
    }
}

fn refusal(program: &str, output: &Output) -> ProgramError {
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("Permission denied") || said.contains("Operation not permitted") {
        return ProgramError::NotPermitted(program.to_owned());
    }
    match output.status.code() {
        Some(EXIT_BUSY) => ProgramError::Busy(program.to_owned()),
        Some(_) | None => ProgramError::Failed {
            program: program.to_owned(),
            detail: format!("{}: {}", output.status, said.trim()),
        },
    }
}
