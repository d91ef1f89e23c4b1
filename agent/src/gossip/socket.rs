//! The UDP socket beneath the transport.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg, setsockopt, sockopt};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The size of the socket's buffers in bytes. The kernel's default of 212 KB holds three large
/// messages; with it a cluster of 256 nodes that starts at once never converges.
const BUFFER_SIZE: usize = 4 * 1024 * 1024;

/// Why there is no socket at an address.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the port.
    #[error("UDP port {} is in use", address.port())]
    PortInUse {
        /// The address.
        address: SocketAddrV4,
        /// What the kernel said.
        source: io::Error,
    },
    /// This process may not have the port.
    #[error("no permission to listen at UDP {address}")]
    Forbidden {
        /// The address.
        address: SocketAddrV4,
        /// What the kernel said.
        source: io::Error,
    },
    /// The address is not one of this host.
    #[error("{} is not an address of this host", address.ip())]
    NotLocal {
        /// The address.
        address: SocketAddrV4,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refuses for another reason.
    #[error("cannot listen at UDP {address}")]
    Other {
        /// The address.
        address: SocketAddrV4,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Opens a socket that can send at once.
///
/// # Errors
/// When the address cannot be had.
pub(super) async fn bind(address: SocketAddrV4) -> Result<UdpSocket, BindError> {
    let socket = UdpSocket::bind(address)
        .await
        .map_err(|source| classify(address, source))?;
    enlarge_buffers(&socket);
    // `try_send_to` answers "would block" until the runtime has heard of the socket from the
    // kernel, and an idle UDP socket is always writable.
    socket
        .writable()
        .await
        .map_err(|source| BindError::Other { address, source })?;
    Ok(socket)
}

/// Sends a datagram from this address of the host: else the kernel would take the first address of the
/// device, which the firewalls of other hosts may not know. Never blocks.
///
/// # Errors
/// What the kernel says; also while the host does not have the address.
pub(super) fn try_send(
    udp: &UdpSocket,
    datagram: &[u8],
    from: Ipv4Addr,
    to: SocketAddrV4,
) -> io::Result<()> {
    let unspecified = libc::in_addr { s_addr: 0 };
    let info = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr {
            s_addr: u32::from_ne_bytes(from.octets()),
        },
        ipi_addr: unspecified,
    };
    let send = || {
        let sent = sendmsg(
            udp.as_raw_fd(),
            &[IoSlice::new(datagram)],
            &[ControlMessage::Ipv4PacketInfo(&info)],
            MsgFlags::empty(),
            Some(&SockaddrIn::from(to)),
        );
        sent.map(drop).map_err(io::Error::from)
    };
    udp.try_io(Interest::WRITABLE, send)
}

fn classify(address: SocketAddrV4, source: io::Error) -> BindError {
    let kind = source.kind();
    if kind == io::ErrorKind::AddrInUse {
        BindError::PortInUse { address, source }
    } else if kind == io::ErrorKind::PermissionDenied {
        BindError::Forbidden { address, source }
    } else if kind == io::ErrorKind::AddrNotAvailable {
        BindError::NotLocal { address, source }
    } else {
        BindError::Other { address, source }
    }
}

/// The FORCE variants take `CAP_NET_ADMIN` and go beyond `net.core.rmem_max`; without it the plain
/// ones take what that allows. Small buffers make gossip slow, not wrong: so no error.
fn enlarge_buffers(socket: &UdpSocket) {
    let receive = setsockopt(socket, sockopt::RcvBufForce, &BUFFER_SIZE)
        .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &BUFFER_SIZE));
    let send = setsockopt(socket, sockopt::SndBufForce, &BUFFER_SIZE)
        .or_else(|_| setsockopt(socket, sockopt::SndBuf, &BUFFER_SIZE));
    if let Err(error) = receive.and(send) {
        tracing::debug!(%error, "the gossip socket keeps its default buffers");
    }
}

/// Whether an address is one of this host: nothing else can be bound to.
pub(super) fn is_local(address: Ipv4Addr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// Whether a socket goes on working after this error of receiving: a report about a datagram that
/// was sent before, or a shortage that passes.
pub(super) fn is_transient(error: &io::Error) -> bool {
    use nix::errno::Errno;
    const TRANSIENT: [Errno; 11] = [
        Errno::ECONNREFUSED,
        Errno::ECONNRESET,
        Errno::EHOSTUNREACH,
        Errno::ENETUNREACH,
        Errno::ENETDOWN,
        Errno::ENOBUFS,
        Errno::ENOMEM,
        Errno::EPERM,
        Errno::EACCES,
        Errno::EINTR,
        Errno::EMSGSIZE,
    ];
    error
        .raw_os_error()
        .is_some_and(|raw| TRANSIENT.contains(&Errno::from_raw(raw)))
}
