//! An agent that stands still, as when its host's disk or processor does not keep up.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use podnet_lab::prelude::*;

use crate::flow::{Ping, Stream};
use crate::monitor::Monitor;
use crate::underlay::{kernel_routes, users_lab};

/// How long it stands still: many times as long as it takes to be given up.
const FROZEN: Duration = Duration::from_secs(60);

#[test]
fn a_frozen_agent_disturbs_nobody_and_catches_up() {
    let lab = users_lab(4).up().unwrap();
    let [node1, node2, node3, node4] = nodes(&lab);
    let invitation = node1.init(None).unwrap();
    for node in [node2, node3] {
        node.join(&invitation, node1).unwrap();
    }
    let red = node1.add_pod("red").address();
    let blue = node2.add_pod("blue").address();
    for node in [node1, node2, node3] {
        node.ready(2);
    }
    let pings = [
        Ping::start(&node1.pod("red"), blue),
        Ping::start(&node2.pod("blue"), red),
    ];
    let stream = Stream::start(&node1.pod("red"), node2.pod("blue"), blue);

    node2.stop().unwrap();
    let since = Instant::now();
    let monitors = [node1, node3].map(|node| (node.name(), Monitor::start(node)));
    for node in [node1, node3] {
        node.status_where("node2 is given up", |status| {
            let node2 = peer_of(status, "node2").unwrap();
            // Packets still come and go.
            !node2.live && node2.path == Some(PathState::Ok)
        });
    }
    for (name, monitor) in monitors {
        monitor.assert_silent(&format!("{name}, from the start of the freeze on"));
    }
    // The others go on without it.
    node3.leave();
    node4.join(&invitation, node1).unwrap();
    let green = node4.add_pod("green").address();
    node1.pod("red").ping(green).unwrap();
    let monitors = [node1, node4].map(|node| (node.name(), Monitor::start(node)));
    eventually(2 * FROZEN, "a minute", || {
        let left = FROZEN.saturating_sub(since.elapsed());
        if left.is_zero() {
            Ok(())
        } else {
            Err(format!("{left:?} to go"))
        }
    })
    .unwrap();

    node2.cont().unwrap();
    let via = [node1, node4].map(|node| format!("{} {} eth0", node.block(), node.address()));
    let mut today = BTreeSet::from(via);
    today.insert("10.244.0.0/16 - -".to_owned());
    until("the routes of today", &today, || kernel_routes(node2));
    for node in [node1, node2, node4] {
        node.ready(2);
    }
    node2.pod("blue").ping(green).unwrap();
    for (name, monitor) in monitors {
        monitor.assert_silent(&format!("{name}, from amid the freeze on"));
    }
    stream.assert_lossless();
    for ping in pings {
        ping.goes_on();
        ping.assert_lossless();
    }
}
