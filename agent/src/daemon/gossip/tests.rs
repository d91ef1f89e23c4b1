//! Gossip that cannot be started again for a while.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use podnet_core::claim::Durable;
use podnet_core::kernel::model::Kernel;
use podnet_core::node::Ticket;
use podnet_proto::api::ProblemEntry;
use podnet_proto::ledger::{Ledger, Settings as ClusterSettings};
use podnet_proto::{ApiError, Boot, ClusterId, ErrorCode, GossipKey, PodNetwork};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::config::{Config, Settings as Given};
use crate::daemon::agent::{Agent, Wake};
use crate::daemon::edge::News;
use crate::daemon::effect::{Effect, Heard, Started};
use crate::daemon::entry::Why;
use crate::daemon::membership::Saving;
use crate::dataplane::fake::Fake;
use crate::probe::Prober;
use crate::store::{Identity, Member, RunDir};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// An agent, and what was done beside its loop.
struct Loop {
    agent: Agent,
    news: mpsc::Receiver<News>,
}

impl Loop {
    /// Lets the loop turn until this is so.
    async fn turn_until(&mut self, is_so: impl Fn(&Node) -> bool) {
        self.agent.turn(Wake::Time).await;
        while !is_so(&self.agent.node) {
            let news = timeout(DEADLINE, self.news.recv()).await;
            let wake = Wake::News(news.unwrap().unwrap());
            self.agent.turn(wake).await;
        }
    }

    /// Carries out what the node wants now, and nothing that is due.
    async fn carry_out(&mut self) {
        let effects = std::mem::take(&mut self.agent.node.effects);
        for event in self.agent.edge.carry_out(effects).await {
            self.agent.node.on_event(event);
        }
    }

    /// Lets the claim machine step, and gossip start for it, or not.
    async fn step(&mut self) {
        let idle = |node: &Node| node.membership.as_ref().unwrap().saving.is_none();
        self.turn_until(idle).await;
        self.agent.node.step();
        self.carry_out().await;
        self.turn_until(|node| talk(node) != Talk::Starts).await;
    }
}

fn talk(node: &Node) -> Talk {
    node.membership.as_ref().unwrap().talk
}

/// The agent of a founder, on loopback.
async fn founder(dir: &TempDir) -> Loop {
    let free = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap();
    let config = Config {
        state_dir: dir.path().to_owned(),
        run_dir: dir.path().to_owned(),
        gossip_port: free.port(),
        ..Config::load(Given::default()).unwrap()
    };
    let identity = Identity::load_or_create(dir.path(), None).unwrap();
    let node = identity.node();
    let run_dir = RunDir::open(dir.path().to_owned(), node).unwrap();
    let kernel = Arc::new(Fake::new(Kernel::default()));
    let prober = Prober::start(mpsc::channel(1).0).unwrap();
    let (sender, news) = mpsc::channel(8);
    let mut agent = Agent::new(config, identity, Boot(1), run_dir, kernel, prober, sender);
    let networks = vec![PodNetwork::parse("10.244.0.0/16", 24).unwrap()];
    let cluster = ClusterId::from_bytes([9; 16]);
    let settings = ClusterSettings::default();
    let ledger = Ledger::genesis(cluster, networks.clone(), settings, node, Boot(1));
    let member = Member {
        cluster,
        name: "node1".parse().unwrap(),
        advertise: SocketAddrV4::new(Ipv4Addr::LOCALHOST, free.port()),
        advertise_fixed: true,
        gossip_key: GossipKey::from_bytes([1; 32]),
        networks,
        checkpoint: ledger.checkpoint(),
        seeds: Vec::new(),
    };
    let durable = Durable::founder(ledger);
    agent
        .node
        .become_member(member, durable, Why::Founds(Ticket(0)));
    let mut founder = Loop { agent, news };
    founder.turn_until(|node| node.membership.is_some()).await;
    founder
}

/// What is wrong with gossip.
fn problem(node: &Node) -> Option<ProblemEntry> {
    let mut problems = node.problems().into_iter();
    problems.find(|problem| problem.message.starts_with("gossip"))
}

fn epoch_file(dir: &TempDir) -> Vec<u8> {
    std::fs::read(dir.path().join("epoch")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named_and_costs_the_disk_one_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut founder = founder(&dir).await;
    let begun = epoch_file(&dir);
    founder.agent.node.gossip_ended();
    founder.carry_out().await;
    let ended = problem(&founder.agent.node).unwrap();
    assert_eq!(ended.code, ErrorCode::Internal, "{ended:?}");

    let port = founder.agent.node.config.gossip_port;
    let other = UdpSocket::bind(("0.0.0.0", port)).unwrap();
    founder.step().await;
    let tried = epoch_file(&dir);
    assert_ne!(tried, begun);
    for _ in 0..3 {
        founder.step().await;
        assert_eq!(epoch_file(&dir), tried, "one start is one number");
        let taken = problem(&founder.agent.node).unwrap();
        assert_eq!(taken.code, ErrorCode::PortInUse, "{taken:?}");
        assert!(taken.message.contains(&port.to_string()), "{taken:?}");
    }

    drop(other);
    founder.step().await;
    assert_eq!(epoch_file(&dir), tried, "the number that was drawn is used");
    assert_eq!(talk(&founder.agent.node), Talk::Runs);
    assert_eq!(problem(&founder.agent.node), None);

    // The next start is another one.
    founder.agent.node.restart_gossip(0);
    founder.turn_until(|node| talk(node) != Talk::Starts).await;
    assert_ne!(epoch_file(&dir), tried);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_reason_than_the_port_is_named_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut founder = founder(&dir).await;
    founder.agent.node.gossip_ended();
    founder.carry_out().await;
    std::fs::write(dir.path().join("epoch"), "damaged").unwrap();
    founder.step().await;
    let damaged = problem(&founder.agent.node).unwrap();
    assert_eq!(damaged.code, ErrorCode::StateCorrupt, "{damaged:?}");
    assert!(damaged.message.contains("/epoch "), "{damaged:?}");
    assert!(damaged.hint.is_some(), "{damaged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gossip_does_not_take_is_not_taken_for_published() {
    let dir = tempfile::tempdir().unwrap();
    let mut founder = founder(&dir).await;
    let long = "x".repeat(podnet_proto::gossip::MAX_VALUE_LEN + 1);
    let node = &mut founder.agent.node;
    let membership = node.membership.as_mut().unwrap();
    membership.stopping = false;
    let before = membership.published.clone();
    let values = BTreeMap::from([(Key::Want, long)]);
    node.publish(values, &podnet_core::claim::Nudge::default());
    founder.carry_out().await;
    let membership = founder.agent.node.membership.as_ref().unwrap();
    assert_eq!(membership.published, before);
}

fn starts(effects: &[Effect]) -> usize {
    let starts = effects.iter();
    starts
        .filter(|effect| matches!(effect, Effect::StartGossip(_)))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_start_of_gossip_is_under_way_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut founder = founder(&dir).await;
    let node = &mut founder.agent.node;
    node.effects.clear();
    node.restart_gossip(0);
    node.restart_gossip(9);
    assert_eq!(starts(&node.effects), 1);
    node.effects.clear();
    let result = Err(ApiError::new(ErrorCode::PortInUse, "taken"));
    node.on_gossip_started(Started {
        epoch: Some(3),
        generation: 0,
        result,
    });
    let above: Vec<u64> = node
        .effects
        .iter()
        .filter_map(|effect| {
            if let Effect::StartGossip(start) = effect {
                Some(start.above)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(above, [9], "what was wanted meanwhile follows");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_disk_is_decided_by_nothing_that_is_heard_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut founder = founder(&dir).await;
    let node = &mut founder.agent.node;
    let membership = node.membership.as_mut().unwrap();
    membership.machine.depart();
    membership.saving = Some(Saving::Departure(Ticket(7)));
    node.effects.clear();
    node.on_heard(Heard {
        entries: Vec::new(),
        own_version_ahead: None,
        speaks: true,
    });
    node.go_on_leaving();
    assert!(node.effects.is_empty());
    assert!(node.is_leaving() && !node.may_leave());
    // It is on disk: who has asked is answered, once.
    node.on_durable_stored(Ok(()));
    assert!(node.may_leave());
    let answered = |effect: &&Effect| matches!(effect, Effect::Answer(Ticket(7), Ok(_)));
    assert_eq!(node.effects.iter().filter(answered).count(), 1);
}
