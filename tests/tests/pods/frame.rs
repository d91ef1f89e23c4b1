//! Frames as a hostile pod sends them, byte by byte.

use std::net::Ipv4Addr;

use podnet_lab::prelude::*;

/// The kind of frames of IPv4 (RFC 894).
pub(crate) const IPV4: u16 = 0x0800;

/// The kind of frames of IPv6 (RFC 2464).
pub(crate) const IPV6: u16 = 0x86dd;

/// The kind of frames of ARP (RFC 826).
pub(crate) const ARP: u16 = 0x0806;

/// Sends each frame that its arguments have in hexadecimal digits, where `NNNN` counts up to the first
/// argument. perl-base is on every Debian.
const SENDER: &str = r#"
    my $times = shift;
    my ($index) = `ip -o link show eth0` =~ /^(\d+)/ or die "no eth0";
    socket(my $socket, 17, 3, 0) or die "socket: $!";
    my $address = pack("S n i S C C a8", 17, 0x0800, $index, 0, 0, 6, "");
    for my $number (1 .. $times) {
        for my $frame (@ARGV) {
            my $digits = $frame =~ s/NNNN/sprintf("%04x", $number)/er;
            defined send($socket, pack("H*", $digits), 0, $address) or die "send: $!";
        }
    }
"#;

/// An Ethernet frame.
#[derive(Debug, Clone)]
pub(crate) struct Frame<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) kind: u16,
    pub(crate) payload: Vec<u8>,
}

impl Frame<'_> {
    fn digits(&self) -> String {
        let macs = format!("{}{}", self.to, self.from).replace(':', "");
        format!("{macs}{:04x}{}", self.kind, hex(&self.payload))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends frames out of a pod's interface.
#[track_caller]
pub(crate) fn send(node: Node<'_>, pod: &str, frames: &[Frame<'_>]) {
    let frames: Vec<String> = frames.iter().map(Frame::digits).collect();
    transmit(node, pod, 1, &frames);
}

/// Sends frames from as many link-layer addresses.
#[track_caller]
pub(crate) fn forged_macs(node: Node<'_>, pod: &str, to: &str, count: u16) {
    let to = to.replace(':', "");
    let frame = format!("{to}02000000NNNN{IPV4:04x}{}", hex(&[0; 46]));
    transmit(node, pod, count, &[frame]);
}

#[track_caller]
fn transmit(node: Node<'_>, pod: &str, times: u16, frames: &[String]) {
    let times = times.to_string();
    let words = ["perl", "-e", SENDER, &times].into_iter();
    let words = words.chain(frames.iter().map(String::as_str));
    let output = node.pod(pod).exec(words).unwrap();
    assert!(output.ok(), "{output}");
}

/// A datagram to the port for what is to be discarded (RFC 863).
pub(crate) fn udp(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    // Without a checksum.
    packet(from, to, 17, &[0, 9, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4])
}

/// An echo reply: of what nobody has a socket for, Linux heeds only redirects of these.
pub(crate) fn echo_reply(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    packet(from, to, 1, &icmp([0, 0], [0, 7, 0, 1], &[]))
}

/// A redirect (RFC 792): what `from` claims that the sender of `packet` should send by `via`.
pub(crate) fn redirect(from: Ipv4Addr, to: Ipv4Addr, via: Ipv4Addr, packet: &[u8]) -> Vec<u8> {
    self::packet(from, to, 1, &icmp([5, 1], via.octets(), packet))
}

/// What ARP says of an address: an answer that nobody has asked for.
pub(crate) fn arp(mac: &str, address: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    arp_packet(2, mac, address, to)
}

/// A question by ARP, from which who answers it learns the address.
pub(crate) fn arp_question(mac: &str, address: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    arp_packet(1, mac, address, to)
}

fn arp_packet(operation: u8, mac: &str, address: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mac: Vec<u8> = mac
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    let [own, other] = [address, to].map(|address| address.octets());
    [
        &[0, 1, 8, 0, 6, 4, 0, operation],
        &mac[..],
        &own,
        &[0xff; 6],
        &other,
    ]
    .concat()
}

fn icmp(kind: [u8; 2], rest: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut message = [&kind[..], &[0, 0], &rest, data].concat();
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

fn packet(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + data.len()).unwrap().to_be_bytes();
    let mut header = [
        &[
            0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, protocol, 0, 0,
        ],
        &from.octets()[..],
        &to.octets(),
    ]
    .concat();
    let sum = checksum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    [&header, data].concat()
}

/// The checksum of the internet (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let word = [pair[0], pair.get(1).copied().unwrap_or_default()];
        u32::from(u16::from_be_bytes(word))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
