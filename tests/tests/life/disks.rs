//! Disks that are rolled back or cloned.

use std::collections::BTreeSet;
use std::fs;

use podnet_lab::prelude::*;

#[track_caller]
fn assert_distinct(nodes: &[Node<'_>]) {
    let blocks: Vec<_> = nodes.iter().map(|node| node.block()).collect();
    let distinct: BTreeSet<_> = blocks.iter().collect();
    assert_eq!(distinct.len(), nodes.len(), "{blocks:?}");
}

#[test]
fn a_founder_that_was_rolled_back_gives_no_block_away_twice() {
    let lab = idle(5);
    let [one, two, three, four, five] = nodes(&lab);
    let invitation = one.init(None).unwrap();
    // It knows of nobody then, and of one member.
    one.save().unwrap();
    two.join(&invitation, one).unwrap();
    one.rollback().unwrap();
    three.join(&invitation, one).unwrap();
    assert_distinct(&[one, two, three]);
    one.save().unwrap();
    four.join(&invitation, one).unwrap();
    one.rollback().unwrap();
    five.join(&invitation, one).unwrap();
    let all = [one, two, three, four, five];
    for node in all {
        node.ready(4);
        node.until_no_problem();
    }
    assert_distinct(&all);
}

#[test]
fn a_founder_that_was_rolled_back_says_so_until_it_has_caught_up() {
    let lab = idle(4);
    let [one, two, three, four] = nodes(&lab);
    let invitation = one.init(None).unwrap();
    two.join(&invitation, one).unwrap();
    one.save().unwrap();
    three.join(&invitation, one).unwrap();
    for node in [one, two, three] {
        node.ready(2);
    }
    // The only one that it knows is off; what that one said last, another remembers.
    two.kill().unwrap();
    one.rollback().unwrap();
    one.status_where("that it is behind", |status| {
        has_problem(status, ErrorCode::StateCorrupt)
    });
    let token = invitation.token.as_str();
    let refused = four
        .ctl_json(&["--timeout", "5s", "join", "192.168.56.11"], token)
        .unwrap();
    assert!(!refused.ok(), "{refused}");
    two.start().unwrap();
    four.join(&invitation, one).unwrap();
    one.ready(3);
    one.until_no_problem();
    four.ready(3);
    assert_distinct(&[one, two, three, four]);
}

/// As on boards and in containers whose firmware does not tell one machine from another.
#[test]
fn a_clone_of_a_machine_that_has_no_id_of_its_own_disturbs_nobody() {
    let lab = idle(3);
    let [one, two, three] = nodes(&lab);
    let invitation = one.init(None).unwrap();
    for node in [two, three] {
        node.join(&invitation, one).unwrap();
    }
    let members = [one, two, three];
    let pods = members.map(|node| node.add_pod("pod").address());
    for original in [one, two] {
        for node in members {
            node.ready(2);
        }
        let blocks = members.map(|node| node.block());
        let clone = original.duplicate().unwrap();
        fs::copy(original.machine_id_file(), clone.machine_id_file()).unwrap();
        clone.start().unwrap();
        let status = clone.status_where("that it is a clone", |status| {
            status.phase == Phase::Fenced && has_problem(status, ErrorCode::Fenced)
        });
        assert_eq!(status.blocks, []);
        for node in members {
            node.ready(2);
        }
        assert_eq!(members.map(|node| node.block()), blocks);
        for pod in pods {
            three.pod("pod").ping(pod).unwrap();
        }
    }
}

#[test]
fn a_member_on_a_machine_without_an_id_is_warned() {
    let lab = idle(1);
    let [one] = nodes(&lab);
    one.kill().unwrap();
    fs::write(one.machine_id_file(), "").unwrap();
    for file in fs::read_dir(one.state_dir()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    one.start().unwrap();
    one.init(None).unwrap();
    one.status_where("a warning", |status| {
        let warns = |problem: &api::ProblemEntry| {
            problem.severity == Severity::Warning && problem.code == ErrorCode::Unsupported
        };
        status.phase == Phase::Ready && status.problems.iter().any(warns)
    });
}

/// An agent has run on the image, and was never a member.
#[test]
fn machines_that_are_made_from_an_image_are_nodes_of_their_own() {
    let lab = idle(2);
    let [founder, image] = nodes(&lab);
    let twin = image.duplicate().unwrap();
    twin.start().unwrap();
    let id = |node: Node<'_>| node.status().node.id;
    assert_ne!(id(image), id(twin));
    let own = id(twin);
    twin.term().unwrap();
    twin.start().unwrap();
    assert_eq!(id(twin), own);
    let invitation = founder.init(None).unwrap();
    for node in [image, twin] {
        node.join(&invitation, founder).unwrap();
    }
    assert_distinct(&[founder, image, twin]);
}
