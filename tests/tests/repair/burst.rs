//! More changes than the kernel keeps for an agent that does not listen.

use podnet_lab::prelude::*;

use crate::scene::{By, Said, Scene};

/// Adds and removes routes in a table of nobody's: far more events than the socket's buffer holds.
const BURST: &str = "for i in $(seq 0 79); do for j in $(seq 0 249); do \
     echo route add 10.$i.$j.0/24 via 192.168.56.1 table 7; \
     echo route del 10.$i.$j.0/24 via 192.168.56.1 table 7; done; done | ip -batch -";

#[test]
fn what_was_changed_while_events_were_lost_is_put_back() {
    let scene = Scene::told();
    let node = scene.node();
    let logged = scene.logged();
    let said = Said {
        op: "add route 10.244.1.0/24",
        found: "nothing",
        by: By::Unknown,
    };
    scene.put_back_after("a burst", said, || {
        node.stop().unwrap();
        node.shell(&format!(
            "{BURST}; ip route del 10.244.1.0/24; ip neighbour flush dev podnet0 nud permanent"
        ));
        node.cont().unwrap();
    });
    eventually(LIMIT, "a word of the loss", || {
        let lines = scene.log(logged);
        let lost = lines
            .iter()
            .any(|line| line["fields"]["told"] == "events were lost");
        if lost {
            Ok(())
        } else {
            Err(format!("{lines:#?}"))
        }
    })
    .unwrap();
    // It hears again.
    scene.put_back(
        "ip neighbour flush dev podnet0 nud permanent",
        Said {
            op: "set neighbour",
            found: "nothing",
            by: By::Somebody,
        },
    );
}
