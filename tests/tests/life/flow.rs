//! Packets that flow while something happens, of which none may be lost.

use std::net::Ipv4Addr;
use std::process::Stdio;

use nix::sys::signal::Signal;
use podnet_lab::command::Guard;
use podnet_lab::lines::Lines;
use podnet_lab::prelude::*;
use podnet_lab::process::ProcessId;
use serde_json::Value;

/// Starts a program at a place, and collects what it prints.
fn start(place: &Place<'_>, words: &[&str]) -> (Guard, Lines) {
    let mut command = place.command(words).unwrap();
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut guard = Guard::new(command.spawn().unwrap());
    let lines = Lines::of(guard.stdout().unwrap());
    (guard, lines)
}

fn interrupt(guard: &mut Guard) {
    let process = ProcessId::of(guard.pid()).unwrap();
    process.signal(Signal::SIGINT).unwrap();
    guard.wait(LIMIT).unwrap();
}

/// A ping every 10 ms that goes on until it is ended.
pub(crate) struct Ping {
    guard: Guard,
    lines: Lines,
}

impl Ping {
    pub(crate) fn start(from: &Place<'_>, to: Ipv4Addr) -> Self {
        let (guard, lines) = start(from, &["ping", "-n", "-i", "0.01", &to.to_string()]);
        let ping = Self { guard, lines };
        ping.goes_on();
        ping
    }

    /// Waits until ten more answers are there.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        let is_answer = |line: &&String| line.contains(" bytes from ");
        let answers = || self.lines.all().iter().filter(is_answer).count();
        let before = answers();
        eventually(LIMIT, "answers to a ping", || match answers() - before {
            10.. => Ok(()),
            few => Err(format!("{few} after {before}")),
        })
        .unwrap();
    }

    /// Ends it. Of all requests but the last, which may be under way, every answer must be there,
    /// and once.
    #[track_caller]
    pub(crate) fn assert_lossless(mut self) {
        interrupt(&mut self.guard);
        let lines = self.lines.complete(LIMIT).unwrap();
        let number = |line: &String| {
            let (_, rest) = line.split_once("icmp_seq=")?;
            rest.split_whitespace().next()?.parse::<usize>().ok()
        };
        let answered: Vec<usize> = lines.iter().filter_map(number).collect();
        let expected: Vec<usize> = (1..=answered.len()).collect();
        assert_eq!(answered, expected, "{:?}", lines.last());
        let sent = lines
            .iter()
            .find_map(|line| line.split_once(" packets transmitted"));
        let sent: usize = sent.unwrap().0.parse().unwrap();
        assert!(
            sent - answered.len() <= 1,
            "{} of {sent} answered",
            answered.len()
        );
    }
}

/// A stream of numbered datagrams, made by iperf3: slow enough for a busy host to keep up with, and
/// a thousand of them a second.
pub(crate) struct Stream<'lab> {
    to: Place<'lab>,
    overflows: u64,
    server: Guard,
    report: Lines,
    client: Guard,
}

impl<'lab> Stream<'lab> {
    pub(crate) fn start(from: &Place<'_>, to: Place<'lab>, address: Ipv4Addr) -> Self {
        let overflows = overflows(&to);
        // Its document comes with its end.
        let (server, report) = start(&to, &["iperf3", "--server", "--one-off", "--json"]);
        eventually(LIMIT, "a server", || {
            let listens = to.exec(["ss", "-Hltn", "sport = :5201"]).unwrap().stdout;
            (!listens.is_empty())
                .then_some(())
                .ok_or("it does not listen")
        })
        .unwrap();
        let address = address.to_string();
        let words = [
            "iperf3",
            "--client",
            &address,
            "--udp",
            "--bitrate",
            "8M",
            "--length",
            "1000",
            "--time",
            "3600",
            "--interval",
            "0.1",
            "--forceflush",
        ];
        let (client, lines) = start(from, &words);
        let sends = |line: &str| line.contains("Mbits/sec");
        lines.wait_for(LIMIT, "a stream", sends).unwrap();
        Self {
            to,
            overflows,
            server,
            report,
            client,
        }
    }

    /// Ends it. Every datagram up to the last that arrived must have arrived, once. Those that a
    /// server which had to wait for the processor has lost itself do not count.
    #[track_caller]
    pub(crate) fn assert_lossless(mut self) {
        interrupt(&mut self.client);
        self.server.wait(LIMIT).unwrap();
        let report = self.report.complete(LIMIT).unwrap().join("\n");
        let report: Value = serde_json::from_str(&report).unwrap();
        let udp = &report["end"]["streams"][0]["udp"];
        let lost = udp["lost_packets"].as_u64().unwrap();
        let overflows = overflows(&self.to) - self.overflows;
        assert!(udp["packets"].as_u64() > Some(1000), "{udp}");
        assert!(lost <= overflows, "{overflows} by the server: {udp}");
        assert_eq!(udp["out_of_order"], 0, "{udp}");
    }
}

/// How many datagrams found no room in their socket.
fn overflows(place: &Place<'_>) -> u64 {
    let counters = place.exec(["cat", "/proc/net/snmp"]).unwrap().stdout;
    let udp: Vec<Vec<&str>> = counters
        .lines()
        .filter(|line| line.starts_with("Udp: "))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let column = udp[0].iter().position(|name| *name == "RcvbufErrors");
    udp[1][column.unwrap()].parse().unwrap()
}
