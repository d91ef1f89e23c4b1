//! How soon what others removed is back, as the kernel tells it.

use std::time::Duration;

use podnet_lab::lines::Lines;
use podnet_lab::{Lab, eventually};

use crate::row::{Row, median};

/// How long a repair may take before the benchmark fails, and how often one is provoked.
const LIMIT: Duration = Duration::from_secs(10);
const ROUNDS: usize = 20;

/// What is promised.
const GOAL: (&str, f64) = ("goal", 100.0);

pub(crate) fn measure() -> Vec<Row> {
    let resync = Duration::from_secs(3600);
    let lab = Lab::builder()
        .nodes(2)
        .timing("resync", resync)
        .join(true)
        .up()
        .unwrap();
    let node = lab.node("node1").unwrap();
    let mut monitor = node.spawn(["ip", "-ts", "monitor", "route"]).unwrap();
    let events = Lines::of(monitor.stdout().unwrap());
    let took = (1..=ROUNDS).map(|round| {
        let deletion = ["ip", "route", "del", "10.244.1.0/24", "proto", "112"];
        node.exec(deletion)
            .unwrap()
            .success("ip route del")
            .unwrap();
        let back = || repaired(&events.all(), round).ok_or("no route yet");
        eventually(LIMIT, "the route is back", back).unwrap()
    });
    vec![Row::new(
        "repair of a route",
        "ms",
        median(took.collect()),
        GOAL,
    )]
}

/// The milliseconds between the removal and the return of a route, for the `round`-th time.
fn repaired(lines: &[String], round: usize) -> Option<f64> {
    let mut told = lines.iter().filter(|line| line.contains("10.244.1.0/24"));
    let (gone, back) = (told.nth(2 * (round - 1))?, told.next()?);
    assert!(
        gone.contains("Deleted") && !back.contains("Deleted"),
        "{gone}, then {back}"
    );
    let milliseconds = clock(back) - clock(gone);
    // Midnight may have passed.
    Some(if milliseconds < 0.0 {
        milliseconds + 86_400e3
    } else {
        milliseconds
    })
}

/// The time of day in `[2026-01-31T12:34:56.123456] ...`, in milliseconds.
fn clock(line: &str) -> f64 {
    let (_, time) = line.split_once('T').unwrap();
    let (time, _) = time.split_once(']').unwrap();
    let seconds = time
        .split(':')
        .fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap());
    seconds * 1e3
}
