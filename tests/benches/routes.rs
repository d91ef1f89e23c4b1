//! Installing the routes of a full pod network, beside `ip -batch`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use nix::sched::{CloneFlags, unshare};
use podnet_agent::dataplane::Dataplane;
use podnet_agent::dataplane::linux::Linux;
use podnet_core::kernel::{Mtu, NextHop, Op, Route, RouteKey, route};
use tokio::runtime::Builder;

use crate::row::{Row, median, milliseconds};

/// The blocks of a /16 but the node's own.
const ROUTES: u8 = 255;

/// How often both sides install them, in turn.
const ROUNDS: usize = 15;

pub(crate) fn measure() -> Vec<Row> {
    // A host of its own, which ends with its thread.
    let host = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip(
            "link add eth0 mtu 1500 type bridge\naddress add 192.0.2.9/24 dev eth0\nlink set eth0 up\n\
            link set lo up\naddress add 10.244.255.1/24 dev lo\n",
        );
        Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(compare())
    });
    host.join().unwrap()
}

async fn compare() -> Vec<Row> {
    let linux = Linux::new().unwrap();
    let additions: Vec<Op> = routes().map(|x| Op::Route(route::Op::Add(x))).collect();
    let removals: Vec<Op> = routes()
        .map(|r| Op::Route(route::Op::Delete(RouteKey::to(r.destination))))
        .collect();
    let (mut podnet, mut batch) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let results = linux.apply(&additions).await;
        podnet.push(milliseconds(begin.elapsed()));
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert!(linux.apply(&removals).await.iter().all(Result::is_ok));

        let begin = Instant::now();
        ip(&lines("add"));
        batch.push(milliseconds(begin.elapsed()));
        ip(&lines("del"));
    }
    let [podnet, batch] = [podnet, batch].map(median);
    vec![Row::new("255 routes", "ms", podnet, ("ip -batch", batch))]
}

fn routes() -> impl Iterator<Item = Route> {
    (0..ROUTES).map(|block| Route {
        destination: format!("10.244.{block}.0/24").parse().unwrap(),
        next_hop: NextHop::Gateway {
            via: "192.0.2.10".parse().unwrap(),
            device: "eth0".parse().unwrap(),
            source: "10.244.255.1".parse().unwrap(),
            mtu: Mtu(1500),
        },
    })
}

fn lines(verb: &str) -> String {
    let mut lines = String::new();
    for block in 0..ROUTES {
        writeln!(
            lines,
            "route {verb} 10.244.{block}.0/24 via 192.0.2.10 dev eth0 proto 112 src 10.244.255.1 mtu 1500"
        )
        .unwrap();
    }
    lines
}

fn ip(batch: &str) {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(batch.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}
