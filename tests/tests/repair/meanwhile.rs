//! What others change while no agent runs: the next one puts it back, and says so.

use podnet_lab::prelude::*;

use crate::scene::{SOON, Scene};

/// What an agent finds changed when it starts.
struct Change<'a> {
    script: String,
    /// What it does, and what it finds instead.
    repairs: &'a [(&'a str, &'a str)],
}

/// How many changes the agent has made since it started.
fn operations(scene: &Scene) -> u64 {
    let status = scene.node().status();
    status.reconcile.operations_total
}

/// Has all of this happen while no agent runs, and asserts that the next one brings everything back.
#[track_caller]
fn put_back(scene: &Scene, changes: &[&Change<'_>]) {
    let node = scene.node();
    let before = scene.picture();
    node.kill().unwrap();
    let logged = scene.logged();
    let what: Vec<&str> = changes.iter().map(|change| &*change.script).collect();
    let what = what.join("; ");
    node.shell(&what);
    assert!(before.same(&scene.picture()).is_err(), "{what}: no change");
    node.start().unwrap();
    if let Err(error) = eventually(SOON, &what, || before.same(&scene.picture())) {
        panic!("{error}\n{}", node.log());
    }
    scene.packets_pass();
    let repairs: Vec<_> = changes.iter().flat_map(|change| change.repairs).collect();
    eventually(LIMIT, &format!("a word of {repairs:?}"), || {
        let lines = scene.log(logged);
        let told = |(op, found): &(&str, &str)| {
            lines.iter().any(|line| {
                let field = |name: &str| line["fields"][name].as_str().unwrap_or_default();
                field("op").starts_with(op) && field("found").contains(found)
            })
        };
        if repairs.iter().all(|repair| told(repair)) {
            Ok(())
        } else {
            Err(format!("{lines:#?}"))
        }
    })
    .unwrap();
    let counted = operations(scene);
    assert!(counted >= repairs.len() as u64, "{what}: {counted}");
}

#[test]
fn what_was_changed_while_no_agent_ran_is_put_back_and_told() {
    let scene = Scene::told();
    let green = scene.node().show_pod("green").address();
    let host_end = &scene.red.host_ifname;
    let neighbour = format!("set neighbour {green}");
    let changes = [
        Change {
            script: "ip route del 10.244.1.0/24".to_owned(),
            repairs: &[("add route 10.244.1.0/24 via 192.168.56.12", "nothing")],
        },
        Change {
            script: format!("ip neighbour del {green} dev podnet0"),
            repairs: &[(&neighbour, "nothing")],
        },
        Change {
            script: "iptables -F PODNET-FORWARD".to_owned(),
            repairs: &[("set firewall rules", "other rules in PODNET-FORWARD")],
        },
        Change {
            script: "ip address del 10.244.0.1/24 dev podnet0".to_owned(),
            repairs: &[("add address 10.244.0.1/24", "nothing")],
        },
        Change {
            script: format!("ip link del {host_end}"),
            repairs: &[("attach pod red", "nothing")],
        },
    ];
    for change in &changes {
        put_back(&scene, &[change]);
    }
    put_back(&scene, &changes.each_ref());

    // What nobody has changed is not told of.
    scene.node().kill().unwrap();
    let logged = scene.logged();
    scene.node().start().unwrap();
    scene.packets_pass();
    assert_eq!(operations(&scene), 0, "{:#?}", scene.log(logged));
}
