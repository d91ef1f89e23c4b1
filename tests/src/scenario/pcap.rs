//! Packets of the underlay, byte by byte.

use std::io::Read as _;
use std::net::Ipv4Addr;
use std::process::ChildStdout;
use std::thread::{self, JoinHandle};

use nix::sys::signal::Signal;

use super::waits::LIMIT;
use crate::command::Guard;
use crate::lab::Lab;
use crate::lines::Lines;
use crate::process::ProcessId;
use crate::wait::eventually;

/// The file header of pcap-savefile(5), and that of each packet.
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
/// The first field of the file header, in the byte order of the host that wrote it.
const MAGIC: u32 = 0xa1b2_c3d4;
const ETHERNET: u32 = 1;
const ETHERNET_HEADER: usize = 14;

/// The number of ICMP among the protocols of IPv4, from IANA's list.
pub const ICMP: u8 = 1;
/// And that of UDP.
const UDP: u8 = 17;
/// Where agents gossip.
pub const GOSSIP_PORT: u16 = 7846;
/// The most that a datagram of gossip carries, in bytes: it passes where IPv6's least MTU does.
pub const MAX_DATAGRAM: usize = 1200;

/// An IPv4 packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub source: Ipv4Addr,
    /// Where it goes.
    pub destination: Ipv4Addr,
    /// What `body` is.
    pub protocol: u8,
    /// What follows the IPv4 header.
    pub body: Vec<u8>,
}

impl Packet {
    /// Whether it is a datagram to an agent.
    #[must_use]
    pub fn is_gossip(&self) -> bool {
        self.protocol == UDP && self.ports().1 == GOSSIP_PORT
    }

    /// The two ports, of a packet that has them.
    #[must_use]
    pub fn ports(&self) -> (u16, u16) {
        let port = |at: usize| u16::from_be_bytes([self.body[at], self.body[at + 1]]);
        (port(0), port(2))
    }

    /// What a UDP datagram carries.
    #[must_use]
    pub fn datagram(&self) -> &[u8] {
        &self.body[8..]
    }
}

/// The most bytes that a packet has on an underlay.
const LONGEST: &str = "16384";

/// A capture of all that goes over the underlay of a lab.
#[derive(Debug)]
pub struct Recording {
    guard: Guard,
    bytes: JoinHandle<Vec<u8>>,
    progress: Lines,
}

impl Recording {
    /// Begins it.
    #[must_use]
    #[track_caller]
    pub fn of(lab: &Lab) -> Self {
        // The buffer, in KiB, holds a packet in each place of the greatest length: with enough places
        // nothing is lost while the capture waits for a processor.
        let words = [
            "tcpdump",
            "--immediate-mode",
            "-s",
            LONGEST,
            "-B",
            "65536",
            "-i",
            "br0",
            "-U",
            "-w",
            "-",
        ];
        let mut guard = lab.router().spawn(words).unwrap();
        let stdout = guard.stdout().unwrap();
        let progress = Lines::of(guard.stderr().unwrap());
        let listening = |line: &str| line.contains("listening on");
        progress.wait_for(LIMIT, "capture", listening).unwrap();
        Self {
            guard,
            bytes: thread::spawn(move || read(stdout)),
            progress,
        }
    }

    /// Ends it, and returns the IPv4 packets.
    #[must_use]
    #[track_caller]
    pub fn stop(mut self) -> Vec<Packet> {
        let process = ProcessId::of(self.guard.pid()).unwrap();
        process.signal(Signal::SIGINT).unwrap();
        self.guard.wait(LIMIT).unwrap();
        let ended = || {
            if self.bytes.is_finished() {
                Ok(())
            } else {
                Err("still open")
            }
        };
        eventually(LIMIT, "end of the capture", ended).unwrap();
        let told = self.progress.complete(LIMIT).unwrap().join("; ");
        assert!(told.contains("0 packets dropped by kernel"), "{told}");
        packets(&self.bytes.join().unwrap())
    }
}

fn read(mut stream: ChildStdout) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

fn packets(file: &[u8]) -> Vec<Packet> {
    let word = |at: usize| u32::from_ne_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(20)), (MAGIC, ETHERNET));
    let mut packets = Vec::new();
    let mut at = FILE_HEADER;
    while at < file.len() {
        let length = word(at + 8) as usize;
        assert_eq!(word(at + 8), word(at + 12), "a packet was cut short");
        at += PACKET_HEADER;
        packets.extend(ipv4(&file[at..at + length]));
        at += length;
    }
    packets
}

/// The IPv4 packet in an Ethernet frame, if it is one; without the padding of short frames.
fn ipv4(frame: &[u8]) -> Option<Packet> {
    if frame.get(12..ETHERNET_HEADER)? != [0x08, 0x00] {
        return None;
    }
    let packet = frame.get(ETHERNET_HEADER..)?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let address = |at: usize| -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(bytes.into())
    };
    Some(Packet {
        protocol: *packet.get(9)?,
        source: address(12)?,
        destination: address(16)?,
        body: packet.get(header..length)?.to_vec(),
    })
}
