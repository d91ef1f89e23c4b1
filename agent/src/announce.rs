//! Telling the neighbours on a link who has an address: ARP announcements (RFC 5227, section 2.3).
//!
//! Neighbours remember for up to a minute which network card an address was on, and the kernel does
//! not inform them when it moves to another.

use std::io;
use std::time::Duration;

use pnet_datalink::{Channel, Config, DataLinkSender, MacAddr, NetworkInterface, channel};
use podnet_core::advertise::Seat;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How often an address is announced, and how long after one another: the first announcement may
/// come to a link that is not quite up (`ANNOUNCE_NUM` and `ANNOUNCE_INTERVAL` of RFC 5227).
const ANNOUNCEMENTS: usize = 2;
const INTERVAL: Duration = Duration::from_secs(2);

/// How long to wait until the socket takes a packet, which it does at once but on a link that is
/// choked.
const PATIENCE: Duration = Duration::from_millis(10);

/// Announces addresses in a task of its own.
#[derive(Debug, Default)]
pub struct Announcer {
    /// The announcement that is under way; it ends with this.
    task: JoinSet<()>,
}

impl Announcer {
    /// Announces where an address is, and no longer where another was. Must be called in a tokio
    /// runtime.
    pub fn announce(&mut self, seat: Seat) {
        self.task = JoinSet::new();
        self.task.spawn(async move {
            for number in 0..ANNOUNCEMENTS {
                if number > 0 {
                    sleep(INTERVAL).await;
                }
                // It only helps: without it the neighbours notice later.
                if let Err(error) = send(&seat) {
                    let Seat {
                        address, ifname, ..
                    } = &seat;
                    tracing::warn!(%address, %ifname, %error, "the address is not announced");
                }
            }
        });
    }
}

/// Sends one announcement.
fn send(seat: &Seat) -> io::Result<()> {
    let interface = NetworkInterface {
        name: seat.ifname.to_string(),
        description: String::new(),
        index: seat.index.0,
        mac: Some(MacAddr::from(seat.mac.0)),
        ips: Vec::new(),
        flags: 0,
    };
    let config = Config {
        promiscuous: false,
        write_timeout: Some(PATIENCE),
        ..Config::default()
    };
    let mut sender: Box<dyn DataLinkSender> = match channel(&interface, config)? {
        Channel::Ethernet(sender, _) => sender,
        // `Channel` is open.
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    sender
        .send_to(&frame(seat), None)
        .unwrap_or_else(|| Err(io::ErrorKind::InvalidInput.into()))
}

/// An ARP request to everybody for the address that it comes from (RFC 826).
fn frame(seat: &Seat) -> Vec<u8> {
    let (mac, address) = (seat.mac.0, seat.address.octets());
    let ethernet = [&[0xff; 6][..], &mac, &[0x08, 0x06]];
    let arp = [
        // Ethernet and IPv4, with addresses of 6 and 4 bytes; a request.
        &[0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01][..],
        &mac,
        &address,
        &[0; 6],
        &address,
    ];
    [ethernet.concat(), arp.concat()].concat()
}

#[cfg(test)]
mod tests {
    use podnet_core::kernel::{IfIndex, MacAddr};

    use super::*;

    #[test]
    fn an_announcement_asks_everybody_for_the_sender_itself() {
        let seat = Seat {
            address: [192, 0, 2, 1].into(),
            index: IfIndex(2),
            ifname: "eth0".parse().unwrap(),
            mac: MacAddr([2, 1, 2, 3, 4, 5]),
        };
        let frame = frame(&seat);
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[6..12], seat.mac.0);
        assert_eq!(frame[20..22], [0, 1], "a request");
        assert_eq!(frame[22..28], seat.mac.0);
        assert_eq!(
            (&frame[28..32], &frame[38..]),
            (&[192, 0, 2, 1][..], &[192, 0, 2, 1][..])
        );
    }
}
