//! What an agent takes while nothing happens.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use podnet_lab::{Lab, Node, eventually};

use crate::row::{Row, median};

/// How long the agents are watched. (A benchmark lets time pass, a test never does.)
const WATCHED: Duration = Duration::from_secs(30);

/// How long the agents may take to see all others, and to fall silent.
const SETTLED: Duration = Duration::from_secs(60);

/// What is promised, at three nodes: MiB, and a percentage of a core.
const MEMORY: (&str, f64) = ("goal", 20.0);
const PROCESSOR: (&str, f64) = ("goal", 0.5);

pub(crate) fn measure() -> Vec<Row> {
    [3, 64].into_iter().flat_map(idle).collect()
}

fn idle(size: u8) -> [Row; 2] {
    let lab = Lab::builder().nodes(size).join(true).up().unwrap();
    let nodes = lab.nodes();
    let pids: Vec<i32> = nodes
        .iter()
        .map(|node| node.agent().unwrap().unwrap().number())
        .collect();
    for node in &nodes {
        let all_live = || {
            if live(*node) == u64::from(size) {
                Ok(())
            } else {
                Err("not all live")
            }
        };
        eventually(SETTLED, "all nodes live", all_live).unwrap();
    }
    let ticks = || -> Vec<f64> { pids.iter().map(|pid| processor_ticks(*pid)).collect() };
    let (begin, before) = (Instant::now(), ticks());
    while begin.elapsed() < WATCHED {
        thread::park_timeout(WATCHED.saturating_sub(begin.elapsed()));
    }
    let (took, after) = (begin.elapsed().as_secs_f64(), ticks());
    let shares = before
        .iter()
        .zip(after)
        .map(|(before, after)| after - before);
    // USER_HZ is 100 on all architectures that Linux and Rust share (time(7)).
    let mean = shares.sum::<f64>() / f64::from(size) / took;
    let memory = median(pids.iter().map(|pid| resident(*pid)).collect());
    [
        Row::new(
            format!("memory of an agent, {size} nodes"),
            "MiB",
            memory,
            MEMORY,
        ),
        Row::new(
            format!("idle agent, {size} nodes"),
            "% of a core",
            mean,
            PROCESSOR,
        ),
    ]
}

fn live(node: Node<'_>) -> u64 {
    let status = node.ctl(["-o", "json", "status"]).unwrap().json().unwrap();
    status["cluster"]["live_nodes"].as_u64().unwrap()
}

/// The processor time that a process has used, in hundredths of a second (`proc_pid_stat(5)`).
fn processor_ticks(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields = fields.split_whitespace().skip(11).take(2);
    fields.map(|field| field.parse::<f64>().unwrap()).sum()
}

/// The resident memory of a process, in MiB (`proc_pid_status(5)`).
fn resident(pid: i32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib / 1024.0
}
