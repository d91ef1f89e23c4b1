//! An agent whose gossip cannot be started again for a while.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use podnet_core::kernel::model::Kernel;
use podnet_core::kernel::{IfName, Mtu};
use podnet_core::node::{Kept, Node, Request};
use podnet_proto::api::{InitRequest, ProblemEntry};
use podnet_proto::{Boot, ErrorCode};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::agent::{Agent, Parts, Wake};
use super::edge::News;
use crate::config::{Config, Options};
use crate::control::Asked;
use crate::dataplane::fake::Fake;
use crate::probe::Prober;
use crate::store::{Identity, RunDir};

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
        let turn = async {
            while !is_so(&self.agent.node) {
                let wake = tokio::select! {
                    Some(news) = self.news.recv() => Wake::News(news),
                    () = self.agent.due() => Wake::Time,
                };
                self.agent.turn(wake).await;
            }
        };
        timeout(DEADLINE, turn).await.unwrap();
    }
}

/// The agent of a founder.
async fn founder(dir: &TempDir, port: u16) -> Loop {
    let config = Config {
        state_dir: dir.path().to_owned(),
        run_dir: dir.path().to_owned(),
        gossip_port: port,
        ..Config::load(Options::default()).unwrap()
    };
    let identity = Identity::load_or_create(dir.path(), None).unwrap();
    let run_dir = RunDir::open(dir.path().to_owned(), identity.node()).unwrap();
    let mut kernel = Kernel::default();
    let lo: IfName = "lo".parse().unwrap();
    kernel.add_link(&lo, Mtu(1500));
    kernel.add_address(&lo, "127.0.0.1/8".parse().unwrap());
    let (sender, news) = mpsc::channel(8);
    let parts = Parts {
        config,
        identity,
        boot: Boot(1),
        run_dir,
        dataplane: Arc::new(Fake::new(kernel)),
        prober: Prober::start(mpsc::channel(1).0).unwrap(),
        news: sender,
    };
    let agent = Agent::new(parts, Kept::default());
    let mut founder = Loop { agent, news };
    let (answer, _answered) = oneshot::channel();
    let request = Request::Init(Box::new(InitRequest {
        pod_cidrs: vec!["10.244.0.0/16".to_owned()],
        advertise: Some("127.0.0.1".to_owned()),
        ..InitRequest::default()
    }));
    let asked = Asked { request, answer };
    founder.agent.turn(Wake::Asked(asked)).await;
    let is_member = |node: &Node| node.status().cluster.is_some();
    founder.turn_until(is_member).await;
    founder
}

fn free_port() -> u16 {
    let free = UdpSocket::bind("0.0.0.0:0").unwrap();
    free.local_addr().unwrap().port()
}

/// What is wrong with gossip.
fn problem(node: &Node) -> Option<ProblemEntry> {
    let mut problems = node.status().problems.into_iter();
    problems.find(|problem| problem.message.starts_with("gossip"))
}

fn epoch_file(dir: &TempDir) -> Vec<u8> {
    std::fs::read(dir.path().join("epoch")).unwrap()
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_until_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut founder = founder(&dir, port).await;
    let begun = epoch_file(&dir);
    founder.agent.turn(Wake::GossipEnded).await;
    assert_eq!(
        problem(&founder.agent.node).unwrap().code,
        ErrorCode::Internal
    );

    let other = UdpSocket::bind(("0.0.0.0", port)).unwrap();
    let is_taken = |node: &Node| problem(node).is_some_and(|it| it.code == ErrorCode::PortInUse);
    founder.turn_until(is_taken).await;
    let named = problem(&founder.agent.node).unwrap();
    assert!(named.message.contains(&port.to_string()), "{named:?}");
    let tried = epoch_file(&dir);
    assert_ne!(tried, begun);

    drop(other);
    founder.turn_until(|node| problem(node).is_none()).await;
    assert_eq!(epoch_file(&dir), tried, "the number that was drawn is used");
}

#[tokio::test]
async fn another_reason_than_the_port_is_named_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut founder = founder(&dir, free_port()).await;
    founder.agent.turn(Wake::GossipEnded).await;
    std::fs::write(dir.path().join("epoch"), "damaged").unwrap();
    let is_damaged =
        |node: &Node| problem(node).is_some_and(|it| it.code == ErrorCode::StateCorrupt);
    founder.turn_until(is_damaged).await;
    let damaged = problem(&founder.agent.node).unwrap();
    assert!(damaged.message.contains("/epoch "), "{damaged:?}");
    assert!(damaged.hint.is_some(), "{damaged:?}");
}
