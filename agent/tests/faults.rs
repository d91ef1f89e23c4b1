//! The reconciler where changes and looks fail: the next pass puts everything right.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use podnet_agent::dataplane::fake::{Effect, Fake, Fault};
use podnet_agent::dataplane::{Dataplane, ObserveError};
use podnet_agent::reconciler::{Job, OpenedDevices, Report, Target, Underlay, pass};
use podnet_core::kernel::model::Kernel;
use podnet_core::kernel::{
    Change, Changes, Conflict, Desired, IfName, Intruder, Kind, Kinds, MacAddr, Made, Mtu, Netns,
    Op, OpError, OpErrorKind, Owner, PeerBlock, PodLink, bridge, firewall, forwarding, host_ifname,
    pod,
};
use podnet_proto::{NodeId, PodNetwork};

/// All kinds of failures.
const KINDS: [OpErrorKind; 8] = [
    OpErrorKind::Foreign,
    OpErrorKind::NotFound,
    OpErrorKind::Busy,
    OpErrorKind::NotPermitted,
    OpErrorKind::Unsupported,
    OpErrorKind::Exhausted,
    OpErrorKind::Timeout,
    OpErrorKind::Other(5),
];

/// A host with an underlay, and something of somebody else's.
fn host() -> Kernel {
    let mut kernel = Kernel::default();
    let eth0: IfName = "eth0".parse().unwrap();
    kernel.add_link(&eth0, Mtu(1500));
    kernel.add_address(&eth0, "192.0.2.9/24".parse().unwrap());
    for backend in kernel.firewall_mut() {
        backend.add_foreign("a rule");
    }
    kernel
}

/// A record of opened devices that lives as long as its job.
#[derive(Default)]
struct Opened(Mutex<BTreeSet<IfName>>);

impl OpenedDevices for Opened {
    fn read(&self) -> Result<BTreeSet<IfName>, String> {
        self.0
            .lock()
            .map(|opened| opened.clone())
            .map_err(|e| e.to_string())
    }

    fn write(&self, opened: &BTreeSet<IfName>) -> Result<(), String> {
        self.0.lock().map_err(|e| e.to_string())?.clone_from(opened);
        Ok(())
    }
}

fn job(target: Option<Target>) -> Job {
    let peers = target.iter().flat_map(|target| &target.peers);
    let underlay = Underlay {
        address: Ipv4Addr::new(192, 0, 2, 9),
        peers: peers.filter_map(|peer| peer.address).collect(),
        mtu: None,
    };
    Job {
        target,
        underlay,
        kinds: Kinds::all(),
        held: Desired::default(),
        opened: Arc::new(Opened::default()),
    }
}

/// A node with one of the first blocks and three peers.
fn target(own: u8, pods: &[PodLink]) -> Target {
    let peers = (0..4)
        .filter(|number| *number != own)
        .map(|number| PeerBlock {
            node: NodeId::from_bytes([number; 16]),
            block: format!("10.244.{number}.0/24").parse().unwrap(),
            address: Some(Ipv4Addr::new(192, 0, 2, 100 + number).into()),
        });
    Target {
        networks: vec![PodNetwork::parse("10.244.0.0/16", 24).unwrap()],
        excluded: Vec::new(),
        block: format!("10.244.{own}.0/24").parse().unwrap(),
        peers: peers.collect(),
        pods: pods.to_vec(),
        in_flight: BTreeMap::new(),
    }
}

/// Makes a pass, with the changes of pods that it leaves to the owner of the pods.
async fn full_pass(fake: &Fake, job: &Job) -> Report {
    let report = pass(fake, job).await;
    let ops: Vec<Op> = report.pods.iter().map(|found| found.op.clone()).collect();
    fake.apply(&ops).await;
    report
}

/// A host where a node with a pod is settled.
async fn settled() -> (Fake, PodLink) {
    let fake = Fake::new(host());
    assert!(
        full_pass(&fake, &job(Some(target(0, &[]))))
            .await
            .error
            .is_none()
    );
    let pod = "red".parse().unwrap();
    let address = Ipv4Addr::new(10, 244, 0, 2);
    let gateway = Ipv4Addr::new(10, 244, 0, 1);
    let path = std::path::PathBuf::from("/run/netns/red");
    let mut link = PodLink {
        host_ifname: host_ifname(&pod, &IfName::pod()),
        pod,
        netns: Netns {
            path: path.clone(),
            made: true,
            inode: None,
        },
        ifname: IfName::pod(),
        mac: MacAddr::of_address(address),
        mtu: Mtu(1500),
        addresses: vec!["10.244.0.2/24".parse().unwrap()],
        gateways: vec![gateway.into()],
        gateway_mac: MacAddr::of_address(gateway),
        trusted: false,
    };
    let attach = Op::Pod(pod::Op::Attach(link.clone()));
    let [Ok(Made::Namespace(inode))] = fake.apply(&[attach]).await[..] else {
        panic!("the pod is not attached");
    };
    link.netns.inode = Some(inode);
    (fake, link)
}

/// Checks that one more pass is enough, and that another one has nothing to do.
async fn heals(fake: &Fake, job: &Job, foreign: &Kernel) {
    fake.heal();
    let report = full_pass(fake, job).await;
    assert!(report.error.is_none());
    let failed: Vec<_> = report
        .applied
        .iter()
        .filter(|(_, result)| result.is_err())
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(fake.kernel().foreign(), *foreign);
    let _ = fake.take_attempts();
    assert!(full_pass(fake, job).await.converged());
    assert_eq!(fake.take_attempts(), []);
}

/// The ways from one state to the next: a start, a repair, a move to another block, a farewell.
async fn ways() -> Vec<(Fake, Job)> {
    let (fake, pod) = settled().await;
    let (broken, _) = settled().await;
    broken.tamper(Kind::Bridge, |kernel| {
        kernel.delete_link(&IfName::bridge());
        kernel.set_link_down(&pod.host_ifname);
        for backend in kernel.firewall_mut() {
            backend.clear();
        }
    });
    let (leaving, _) = settled().await;
    let pods = [pod];
    vec![
        (Fake::new(host()), job(Some(target(0, &[])))),
        (broken, job(Some(target(0, &pods)))),
        (fake, job(Some(target(2, &pods)))),
        (leaving, job(None)),
    ]
}

#[tokio::test]
async fn every_change_may_fail_in_every_way() {
    for (start, job) in ways().await {
        let trial = Fake::new(start.kernel());
        full_pass(&trial, &job).await;
        let count = trial.take_attempts().len();
        assert!(count > 3);
        let foreign = start.kernel().foreign();
        for at in 0..count {
            for kind in KINDS {
                let error = OpError::new(kind, "a fault");
                for effect in [Effect::Refuse(error.clone()), Effect::Lose(error.clone())] {
                    let fake = Fake::new(start.kernel());
                    fake.inject(Fault::after(at, effect));
                    let report = full_pass(&fake, &job).await;
                    let told = report
                        .applied
                        .iter()
                        .any(|(_, r)| r.as_ref() == Err(&error));
                    assert!(told || !report.pods.is_empty(), "the fault is reported");
                    assert_eq!(fake.kernel().foreign(), foreign);
                    heals(&fake, &job, &foreign).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn where_everything_fails_nothing_foreign_is_touched() {
    for (start, job) in ways().await {
        let fake = Fake::new(start.kernel());
        let foreign = fake.kernel().foreign();
        let error = OpError::new(OpErrorKind::NotPermitted, "a fault");
        fake.inject(Fault::always(|_| true, Effect::Refuse(error)));
        assert!(!full_pass(&fake, &job).await.converged());
        assert_eq!(fake.kernel(), start.kernel());
        heals(&fake, &job, &foreign).await;
    }
}

/// What could not be seen is not changed: no look, no plan.
#[tokio::test]
async fn a_failed_look_changes_nothing() {
    for (start, job) in ways().await {
        let trial = Fake::new(start.kernel());
        let recorded = job.opened.read().unwrap();
        pass(&trial, &job).await;
        let looks = trial.take_observations();
        // A look at the ways that packets take is not for changing anything.
        let is_for_change = |kinds: &Kinds| kinds.packets().is_empty();
        for at in 0..looks.iter().filter(|kinds| is_for_change(kinds)).count() {
            job.opened.write(&recorded).unwrap();
            let fake = Fake::new(start.kernel());
            let foreign = fake.kernel().foreign();
            let mut looks = 0;
            fake.inject_on_observe(move |kinds| {
                looks += usize::from(is_for_change(kinds));
                (is_for_change(kinds) && looks > at)
                    .then_some(ObserveError::Timeout { what: "a fault" })
            });
            let report = pass(&fake, &job).await;
            let error = report.error.as_ref().or(report.unseen_ways.as_ref());
            let failed = matches!(error, Some(ObserveError::Timeout { .. }));
            assert!(failed && !report.converged(), "{report:?}");
            heals(&fake, &job, &foreign).await;
        }
    }
}

/// What needs no firewall does not wait for it.
#[tokio::test]
async fn where_the_firewall_cannot_be_seen_the_rest_is_put_right() {
    for (start, job) in ways().await {
        let whole = Fake::new(start.kernel());
        full_pass(&whole, &job).await;
        let fake = Fake::new(start.kernel());
        let foreign = fake.kernel().foreign();
        fake.inject_on_observe(|kinds| {
            let timeout = ObserveError::Timeout { what: "a fault" };
            kinds.has(&Kind::Firewall).then_some(timeout)
        });
        let report = full_pass(&fake, &job).await;
        assert!(report.error.is_none() && !report.converged(), "{report:?}");
        assert!(report.unread_firewall.is_some(), "{report:?}");
        let (mut expected, mut found) = (whole.kernel(), fake.kernel());
        // Without the rules nothing is opened; what is to be closed is.
        let eth0: IfName = "eth0".parse().unwrap();
        let opens = !start.kernel().forwards(&eth0);
        assert!(!(opens && found.forwards(&eth0)), "{report:?}");
        expected.set_link_forwarding(&eth0, found.forwards(&eth0));
        expected.firewall_mut().clear();
        found.firewall_mut().clear();
        assert_eq!(found, expected);
        heals(&fake, &job, &foreign).await;
    }
}

/// As if a parameter cannot be written: the bridge is up all the same.
#[tokio::test]
async fn the_bridge_is_looked_at_after_a_change_of_it_that_failed() {
    let error = || OpError::new(OpErrorKind::NotPermitted, "a fault");
    let creates = |op: &Op| matches!(op, Op::Bridge(bridge::Op::Create(_)));
    for (effect, up) in [
        (Effect::Lose(error()), true),
        (Effect::Refuse(error()), false),
    ] {
        let fake = Fake::new(host());
        fake.inject(Fault::once(creates, effect));
        let report = full_pass(&fake, &job(Some(target(0, &[])))).await;
        assert_eq!(report.bridge_up, Some(up), "{report:?}");
        assert!(!report.converged());
    }
}

/// It is none of podnet's errors, and normal after `--allow-overlap`.
#[test]
fn what_is_among_addresses_of_no_block_does_not_keep_a_pass_from_being_the_last() {
    let intruder = |owner| {
        let range = "10.244.77.0/25".parse().unwrap();
        Conflict::new(Intruder { range, owner }, "a route")
    };
    let converged = |owner| {
        let report = Report {
            conflicts: [intruder(owner)].into(),
            ..Report::default()
        };
        report.converged()
    };
    assert!(converged(Owner::Nobody));
    assert!(!converged(Owner::Node) && !converged(Owner::Bridge));
}

/// A device is opened when the rules are there that keep strangers out, and is on record, and else not.
#[tokio::test]
async fn a_device_is_opened_under_guard_only() {
    let eth0: IfName = "eth0".parse().unwrap();
    let refused = OpError::new(OpErrorKind::Busy, "a fault");
    let no_rules = |op: &Op| matches!(op, Op::Firewall(firewall::Op::Set(_)));
    let fake = Fake::new(host());
    fake.inject(Fault::always(no_rules, Effect::Refuse(refused)));
    let job = job(Some(target(0, &[])));
    let opening = |report: &Report| {
        let mut applied = report.applied.iter();
        let found = applied.find(|(finding, _)| finding.op.opens());
        found.map(|(_, result)| result.is_ok())
    };
    let report = full_pass(&fake, &job).await;
    assert_eq!(opening(&report), Some(false), "{report:?}");
    assert!(!fake.kernel().forwards(&eth0) && job.opened.read().unwrap().is_empty());
    // Of a host that is a router anyway nobody has to be kept out.
    fake.tamper_silently(|kernel| {
        kernel.set_router(true);
        kernel.set_link_forwarding(&eth0, false);
    });
    assert_eq!(opening(&full_pass(&fake, &job).await), Some(true));
    fake.tamper_silently(|kernel| kernel.set_router(false));
    fake.heal();
    let report = full_pass(&fake, &job).await;
    assert!(
        report.converged() && opening(&report) == Some(true),
        "{report:?}"
    );
    assert!(job.opened.read().unwrap().contains(&eth0));

    // Closed by others while the rules are right, it needs a look at them all the same.
    fake.tamper_silently(|kernel| kernel.set_link_forwarding(&eth0, false));
    let kinds = Kinds::from([Kind::Forwarding]);
    let told = Job {
        kinds,
        held: report.held,
        ..job.clone()
    };
    let _ = fake.take_observations();
    let report = full_pass(&fake, &told).await;
    assert!(
        report.converged() && report.applied[0].0.drift,
        "{report:?}"
    );
    let looks = fake.take_observations();
    assert!(looks.iter().any(|kinds| kinds.has(&Kind::Firewall)));

    // Who goes closes it before the rules go, and takes it from the record.
    let _ = fake.take_attempts();
    let gone = Job {
        target: None,
        ..job.clone()
    };
    assert!(full_pass(&fake, &gone).await.converged());
    let attempts = fake.take_attempts();
    let closed = attempts
        .iter()
        .position(|op| matches!(op, Op::Forwarding(forwarding::Op::Set { on: false, .. })));
    let removed = attempts
        .iter()
        .position(|op| *op == Op::Firewall(firewall::Op::Remove));
    assert!(closed.unwrap() < removed.unwrap(), "{attempts:?}");
    assert!(job.opened.read().unwrap().is_empty());
}

/// A change that takes long delays the pass; it does not break it.
#[tokio::test(start_paused = true)]
async fn a_slow_change_is_waited_for() {
    let fake = Fake::new(host());
    let job = job(Some(target(0, &[])));
    let foreign = fake.kernel().foreign();
    fake.inject(Fault::after(2, Effect::Delay(Duration::from_secs(30))));
    assert!(full_pass(&fake, &job).await.converged());
    heals(&fake, &job, &foreign).await;
}

/// A peer whose address is not on the link has no direct route, and the others have theirs.
#[tokio::test]
async fn what_the_underlay_loses_comes_back_with_it() {
    let fake = Fake::new(host());
    let job = job(Some(target(0, &[])));
    full_pass(&fake, &job).await;
    let eth0: IfName = "eth0".parse().unwrap();
    let routes = || fake.kernel().own_routes().count();
    assert_eq!(routes(), 4);
    fake.tamper(Kind::Underlay, |kernel| kernel.set_link_down(&eth0));
    assert_eq!(routes(), 1, "the kernel took them along");
    assert!(full_pass(&fake, &job).await.converged());
    assert_eq!(routes(), 1);
    fake.tamper(Kind::Underlay, |kernel| kernel.set_link_up(&eth0));
    assert!(full_pass(&fake, &job).await.converged());
    assert_eq!(routes(), 4);
    let peer: IpAddr = Ipv4Addr::new(192, 0, 2, 101).into();
    let report = full_pass(&fake, &job).await;
    assert!(report.underlay.contains_key(&peer));
}

/// What was right before has drifted, and who did it is told where the kernel tells it.
#[tokio::test]
async fn what_others_changed_is_told_apart_from_what_is_new() {
    let fake = Fake::new(host());
    let job = job(Some(target(0, &[])));
    let first = full_pass(&fake, &job).await;
    assert!(first.applied.iter().all(|(finding, _)| !finding.drift));
    let eth0: IfName = "eth0".parse().unwrap();
    fake.tamper_silently(|kernel| {
        kernel.set_link_down(&eth0);
        kernel.set_link_up(&eth0);
    });
    let mut told = Changes::default();
    for (what, by) in [("eth0 changed", None), ("a route removed", Some("ip[7]"))] {
        told.add(Change {
            kind: Kind::Underlay,
            what: what.to_owned(),
            by: by.map(ToOwned::to_owned).into_iter().collect(),
        });
    }
    let later = Job {
        held: first.held,
        ..job
    };
    let second = full_pass(&fake, &later).await;
    assert_eq!(second.applied.len(), 3);
    for (finding, _) in &second.applied {
        assert!(finding.drift, "{finding:?}");
        assert_eq!(finding.found, "nothing");
        let cause = told.cause_of(&finding.op).unwrap();
        assert_eq!(cause.makers().as_deref(), Some("ip[7]"));
    }
}
