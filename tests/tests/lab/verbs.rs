//! The program's verbs as users type them: what it does to a lab is seen from outside.

use std::fs;

use podnet_lab::{LabName, down, eventually, unique_name};

use super::{LIMIT, is_gone, podnet_lab};

/// A lab that the program has made, and that goes with the test.
struct Made(LabName);

impl Made {
    fn up(words: &[&str]) -> Self {
        let made = Self(unique_name("verbs"));
        made.done(&[&["up", "--no-agents"], words].concat());
        made
    }

    /// Runs a verb, which has to succeed.
    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        let output = podnet_lab(&self.0, words);
        assert_eq!(output.code, 0, "{words:?}: {output}");
        output.stdout
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.done(&["status", "-o", "json"])).unwrap()
    }

    /// Whether an answer comes within a second.
    fn answers(&self, from: &str, to: &str) -> bool {
        let ping = ["ping", "-n", "-c", "1", "-W", "1", to];
        podnet_lab(&self.0, &[&["exec", from, "--"], &ping[..]].concat()).code == 0
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // The next lab sweeps what a failed test leaves.
        let _ = down(self.0.clone());
    }
}

#[test]
fn up_lays_out_subnets_with_a_router_between_them() {
    let lab = Made::up(&["--nodes", "3", "--subnets", "2"]);
    let status = lab.status();
    let nodes = status["nodes"].as_array().unwrap();
    let addresses: Vec<&str> = nodes
        .iter()
        .map(|node| node["address"].as_str().unwrap())
        .collect();
    assert_eq!(
        addresses,
        ["192.168.56.11", "192.168.57.11", "192.168.56.12"]
    );
    let hops = |to: &str| {
        let route = ["exec", "node1", "--", "ip", "route", "get", to];
        lab.done(&route).contains("via 192.168.56.1 ")
    };
    assert!(hops(addresses[1]), "another subnet");
    assert!(!hops(addresses[2]), "the same subnet");
    assert!(lab.answers("node1", addresses[1]) && lab.answers("node2", addresses[2]));
    // The same again is the same lab, and one subnet is another one.
    let again = ["up", "--no-agents", "--nodes", "3", "--subnets"];
    lab.done(&[&again[..], &["2"]].concat());
    assert_eq!(lab.status(), status);
    let other = podnet_lab(&lab.0, &[&again[..], &["1"]].concat());
    assert_eq!(other.code, 5, "{other}");
    lab.done(&["down"]);
    assert!(is_gone(&lab.0));
}

#[test]
fn a_cut_one_way_lets_the_other_pass() {
    let lab = Made::up(&["--nodes", "3"]);
    let arrived = |node: &str| {
        let counter = "nft list counter inet seen from | grep -o 'packets [0-9]*'";
        lab.done(&["exec", node, "--", "sh", "-c", counter])
            .trim()
            .trim_start_matches("packets ")
            .parse::<u32>()
            .unwrap()
    };
    for (node, from) in [("node1", "192.168.56.12"), ("node2", "192.168.56.11")] {
        let count = format!(
            "nft add table inet seen; nft add counter inet seen from; \
             nft add chain inet seen input '{{ type filter hook input priority -300; }}'; \
             nft add rule inet seen input ip saddr {from} icmp type echo-request counter name from"
        );
        lab.done(&["exec", node, "--", "sh", "-c", &count]);
    }
    // So that neighbours are known.
    assert!(lab.answers("node1", "192.168.56.12") && lab.answers("node2", "192.168.56.11"));
    lab.done(&["cut", "node1:node2", "--one-way"]);
    let (before1, before2) = (arrived("node1"), arrived("node2"));
    assert!(!lab.answers("node1", "192.168.56.12") && !lab.answers("node2", "192.168.56.11"));
    assert!(arrived("node1") > before1, "the way back is open");
    assert_eq!(arrived("node2"), before2, "nothing of node1's arrives");
    assert!(lab.answers("node1", "192.168.56.13") && lab.answers("node2", "192.168.56.13"));
    lab.done(&["heal"]);
    eventually(LIMIT, "answers after the cut", || {
        let healed = lab.answers("node1", "192.168.56.12") && lab.answers("node2", "192.168.56.11");
        if healed { Ok(()) } else { Err("none") }
    })
    .unwrap();
}

#[test]
fn a_rollback_undoes_what_was_changed_since_the_save() {
    let lab = Made::up(&["--nodes", "2"]);
    let status = lab.status();
    let [one, two] =
        [0, 1].map(|n| status["nodes"][n]["state_dir"].as_str().unwrap().to_owned() + "/file");
    for file in [&one, &two] {
        fs::write(file, "old").unwrap();
    }
    lab.done(&["save", "node1"]);
    let change = "echo -n new > /var/lib/podnet/file; touch /var/lib/podnet/later";
    for node in ["node1", "node2"] {
        lab.done(&["exec", node, "--", "sh", "-c", change]);
    }
    assert_eq!(fs::read_to_string(&one).unwrap(), "new");
    lab.done(&["rollback", "node1"]);
    let files = |node: &str| {
        let look = "cd /var/lib/podnet && ls && cat file";
        lab.done(&["exec", node, "--", "sh", "-c", look])
    };
    assert_eq!(files("node1"), "file\nold");
    assert_eq!(files("node2"), "file\nlater\nnew", "another node's disk");
    let unsaved = podnet_lab(&lab.0, &["rollback", "node2"]);
    assert_eq!(unsaved.code, 4, "{unsaved}");
    assert_eq!(files("node2"), "file\nlater\nnew");
}
