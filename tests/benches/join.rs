//! How long a node takes to become a member with working paths to all peers.

use std::time::{Duration, Instant};

use podnet_lab::Lab;

use crate::row::Row;

/// The sizes of the cluster with the node, and what is promised for each, in seconds. Nothing is
/// for sixteen; the goals of its neighbours stand on either side.
const SIZES: [(u8, f64); 3] = [(3, 1.0), (16, 3.0), (64, 3.0)];

pub(crate) fn measure() -> Vec<Row> {
    SIZES
        .into_iter()
        .flat_map(|(size, goal)| joins(size, goal))
        .collect()
}

fn joins(size: u8, goal: f64) -> [Row; 2] {
    let lab = Lab::builder().nodes(size).up().unwrap();
    let nodes = lab.nodes();
    let (last, others) = nodes.split_last().unwrap();
    let founder = others[0];
    let invitation = founder.init(None).unwrap();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for node in &others[1..] {
            let invitation = &invitation;
            scope.spawn(move || node.join(invitation, founder).unwrap());
        }
    });
    let all = begin.elapsed();
    let begin = Instant::now();
    last.join(&invitation, founder).unwrap();
    let one = begin.elapsed();
    let row = |what: &str, took: Duration| Row::new(what, "s", took.as_secs_f64(), ("goal", goal));
    [
        row(&format!("join as node {size}"), one),
        row(&format!("join of {} nodes at once", size - 2), all),
    ]
}
