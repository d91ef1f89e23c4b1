//! Dumps inside of pods' namespaces, which their owners may have filled with anything.
//!
//! A dump is read piece by piece, and what is not looked for is dropped at once: however much there is, it
//! takes no memory, and of too much only so much is read as shows that it is too much.

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::errno::KernelError;
use super::socket::end_of;

/// How many objects are looked at.
pub(super) const MOST: usize = 16_384;

/// How often a dump is begun anew that changes made inconsistent.
const TRIES: usize = 5;

/// The length of `struct nlmsghdr`.
const HEADER_LEN: usize = 16;

/// Lists what fits a request and `read` makes something of, in the calling thread's namespace. `what` names
/// the objects.
pub(super) fn list<T>(
    request: &RouteNetlinkMessage,
    what: &'static str,
    read: impl Fn(&RouteNetlinkMessage) -> Option<T>,
) -> Result<Vec<T>, KernelError> {
    for _ in 0..TRIES {
        if let Some(found) = attempt(request, what, &read)? {
            return Ok(found);
        }
    }
    Err(KernelError::Refused {
        errno: libc::EBUSY,
        words: None,
    })
}

/// Makes one dump; `None` where changes made it inconsistent.
fn attempt<T>(
    request: &RouteNetlinkMessage,
    what: &'static str,
    read: impl Fn(&RouteNetlinkMessage) -> Option<T>,
) -> Result<Option<Vec<T>>, KernelError> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.set_netlink_get_strict_chk(true)?;
    // The kernel makes the next piece when one is read: there is nothing to wait for.
    socket.set_non_blocking(true)?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request.clone()));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;

    let mut found = Vec::new();
    let (mut heard, mut interrupted) = (0, false);
    loop {
        let (piece, _) = socket.recv_from_full()?;
        let mut rest = piece.as_slice();
        while let Some((message, next)) = split(rest) {
            rest = next;
            // What no parser knows is nothing that podnet looks for.
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) else {
                continue;
            };
            interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => {
                    heard += 1;
                    if heard > MOST {
                        return Err(KernelError::TooMuch(what));
                    }
                    found.extend(read(&inner));
                }
                NetlinkPayload::Error(error) => {
                    end_of(&error, message.header.flags)?;
                }
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(KernelError::Refused {
                        errno: done.code.saturating_neg(),
                        words: None,
                    });
                }
                NetlinkPayload::Done(_) => return Ok((!interrupted).then_some(found)),
                // NetlinkPayload is open: what netlink(7) may add ends no dump.
                NetlinkPayload::Noop | NetlinkPayload::Overrun(_) | _ => {}
            }
        }
    }
}

/// The first message of several, and the rest.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?);
    let length = usize::try_from(length).ok()?;
    let message = bytes.get(..length).filter(|_| length >= HEADER_LEN)?;
    let next = bytes.get(length.next_multiple_of(4)..);
    Some((message, next.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let mut bytes = 17_u32.to_ne_bytes().to_vec();
        bytes.resize(20, 1);
        bytes.extend(16_u32.to_ne_bytes());
        bytes.resize(36, 2);
        let (first, rest) = split(&bytes).unwrap();
        let (second, end) = split(rest).unwrap();
        assert_eq!((first.len(), second.len(), end), (17, 16, &[][..]));
        for broken in [&[][..], &[3, 0, 0, 0], &15_u32.to_ne_bytes(), &[0xff; 20]] {
            assert_eq!(split(broken), None);
        }
    }
}
