//! Nodes that the test hands one input after another.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use podnet_proto::api::{InitRequest, ProblemEntry};
use podnet_proto::gossip::{Key, NodeRecord, Speaker, encode};
use podnet_proto::{ApiError, Boot, ClusterId, ErrorCode, GossipKey, Instance, NodeId};

use super::membership::{RETRY, Saving};
use super::*;
use crate::advertise::Range;
use crate::claim::Nudge;
use crate::kernel::model::Kernel;
use crate::kernel::{IfName, Mtu};
use crate::signed::{Ed25519, SignedEntry, Voice};
use crate::time::{Moment, Now};

const PORT: u16 = 7846;

const CLUSTER: ClusterId = ClusterId::from_bytes([9; 16]);

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

/// A node, and what time it is there.
pub(super) struct Run {
    pub(super) node: Node,
    moment: Moment,
}

impl Run {
    fn handle(&mut self, input: Input) -> Vec<Effect> {
        let now = Now {
            moment: self.moment,
            ..Now::default()
        };
        self.node.handle(now, input)
    }

    fn event(&mut self, event: Event) -> Vec<Effect> {
        self.handle(Input::Event(event))
    }

    /// What is wanted so much later.
    fn after(&mut self, later: Duration) -> Vec<Effect> {
        self.moment = self.moment + later;
        self.handle(Input::Time)
    }

    /// Starts gossip as is wanted, or not.
    fn gossip_started(&mut self, epoch: u64, result: Result<(), ApiError>) -> Vec<Effect> {
        self.event(Event::GossipStarted(Box::new(Started {
            epoch: Some(epoch),
            generation: 0,
            result: result.map(|()| BTreeMap::from([(Key::Node, String::new())])),
        })))
    }

    fn heard(&mut self, own_version_ahead: Option<u64>) -> Vec<Effect> {
        self.heard_of(Vec::new(), own_version_ahead)
    }

    fn heard_of(&mut self, entries: Vec<SignedEntry>, ahead: Option<u64>) -> Vec<Effect> {
        self.event(Event::Heard(Heard {
            entries,
            own_version_ahead: ahead,
            speaks: true,
        }))
    }

    /// Everything that is to be on disk is.
    fn stored(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let stores = effects.into_iter().filter_map(|effect| {
            if let Effect::Store(write) = effect {
                Some(write)
            } else {
                None
            }
        });
        let stores: Vec<Write> = stores.collect();
        stores
            .into_iter()
            .flat_map(|write| self.event(Event::Stored(write, Ok(()))))
            .collect()
    }

    /// What is wrong with gossip.
    fn problem(&self) -> Option<ProblemEntry> {
        let mut problems = self.node.status().problems.into_iter();
        problems.find(|problem| problem.message.starts_with("gossip"))
    }
}

/// A founder whose gossip runs, and that uses its block.
pub(super) fn founder() -> Run {
    let mut kernel = Kernel::default();
    let eth0: IfName = "eth0".parse().unwrap();
    kernel.add_link(&eth0, Mtu(1500));
    kernel.add_address(&eth0, "192.0.2.9/24".parse().unwrap());
    let setup = Setup {
        own: NodeId::of_public_key(key().verifying_key().as_bytes()),
        boot: Boot(1),
        instance: Instance(1),
        on_known_machine: true,
        hostname: "Host.example".to_owned(),
        version: "0.0.0",
        advertise: Range::default(),
        gossip_port: PORT,
        netns_dir: "/run/netns".into(),
        resync: Duration::from_secs(60),
        listen: Duration::ZERO,
        seed: 1,
        verify: &Ed25519,
    };
    let mut run = Run {
        node: Node::new(setup, Kept::default()),
        moment: Moment::START,
    };
    let request = InitRequest {
        pod_cidrs: vec!["10.244.0.0/16".to_owned()],
        ..InitRequest::default()
    };
    let request = Request::Init(Box::new(request));
    let effects = run.handle(Input::Request(request, Ticket(0)));
    let [Effect::LookAtHost(kinds)] = &effects[..] else {
        panic!("{effects:?}");
    };
    let effects = run.event(Event::HostSeen(Box::new(HostSeen {
        observed: Ok(kernel.observe(kinds)),
        hostname: "Host.example".to_owned(),
        fresh: Fresh {
            cluster: CLUSTER,
            gossip_key: GossipKey::from_bytes([1; 32]),
        },
    })));
    let effects = run.stored(effects);
    assert_eq!(starts(&effects), [(0, None)]);
    let effects = run.gossip_started(1, Ok(()));
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Listen))
    );
    let effects = run.heard(None);
    run.stored(effects);
    assert_eq!(run.node.status().node.name.as_str(), "host");
    run
}

/// The starts of gossip that are wanted: above which epoch, and under which that was drawn before.
fn starts(effects: &[Effect]) -> Vec<(u64, Option<u64>)> {
    let starts = effects.iter().filter_map(|effect| {
        if let Effect::StartGossip(start) = effect {
            Some((start.above, start.unused))
        } else {
            None
        }
    });
    starts.collect()
}

fn port_in_use() -> Result<(), ApiError> {
    Err(ApiError::new(ErrorCode::PortInUse, "the port is taken"))
}

#[test]
fn gossip_that_cannot_be_started_again_is_named_and_costs_the_disk_one_write() {
    let mut run = founder();
    run.handle(Input::GossipEnded);
    assert_eq!(run.problem().unwrap().code, ErrorCode::Internal);
    assert_eq!(starts(&run.after(RETRY)), [(0, None)]);
    for _ in 0..3 {
        run.gossip_started(2, port_in_use());
        assert_eq!(run.problem().unwrap().code, ErrorCode::PortInUse);
        let effects = run.after(RETRY);
        assert_eq!(starts(&effects), [(0, Some(2))], "one start is one number");
    }
    run.gossip_started(2, Ok(()));
    assert_eq!(run.problem(), None);
    // The next start is another one.
    assert_eq!(starts(&run.heard(Some(5))), [(5, None)]);
}

#[test]
fn what_gossip_does_not_take_is_not_taken_for_published() {
    let mut run = founder();
    let membership = run.node.life.member_mut().unwrap();
    membership.stopping = false;
    let values = BTreeMap::from([(Key::Want, "{}".to_owned())]);
    let published = |run: &mut Run| {
        run.node.publish(values.clone(), &Nudge::default());
        let effects = std::mem::take(&mut run.node.effects);
        effects.into_iter().any(
            |effect| matches!(effect, Effect::Publish(values) if values.contains_key(&Key::Want)),
        )
    };
    assert!(published(&mut run));
    assert!(!published(&mut run), "it is published");
    run.event(Event::Unpublished(vec![Key::Want]));
    assert!(published(&mut run));
}

#[test]
fn one_start_of_gossip_is_under_way_at_a_time() {
    let mut run = founder();
    assert_eq!(starts(&run.heard(Some(3))), [(3, None)]);
    run.node.restart_gossip(9);
    assert_eq!(starts(&run.after(Duration::ZERO)), []);
    let effects = run.gossip_started(4, port_in_use());
    assert_eq!(
        starts(&effects),
        [(9, None)],
        "what was wanted meanwhile follows"
    );
}

/// Somebody who has the token has raised the versions of its values beyond all that can be outdone; and its disk was
/// rolled back, so that peers remember what it has signed since, and hear nothing older.
#[test]
fn a_node_outdoes_what_it_has_signed_itself_and_not_what_others_have_made_up() {
    let mut run = founder();
    let own = run.node.status().node;
    let speaker = Speaker {
        cluster: CLUSTER,
        node: own.id,
        address: SocketAddrV4::new([192, 0, 2, 9].into(), PORT),
    };
    let record = encode(&NodeRecord {
        name: own.name,
        public_key: STANDARD.encode(key().verifying_key().as_bytes()),
        endpoints: vec![speaker.address],
        counter: 7,
        agent_version: String::new(),
    });
    let sign = Box::new(|payload: &[u8]| key().sign(payload).to_bytes());
    let values = BTreeMap::from([(Key::Node, record.unwrap())]);
    let said = Voice::new(speaker, 7, sign).say_all(&values);
    let entry = SignedEntry {
        node: own.id,
        address: speaker.address,
        live: true,
        last_seen: None,
        values: Arc::new(said),
    };
    let effects = run.heard_of(vec![entry], Some(u64::from(u32::MAX)));
    assert_eq!(starts(&effects), [(7, None)]);
    let fresh = |effect: &Effect| matches!(effect, Effect::StartGossip(start) if start.generation == Generation::Fresh);
    assert!(effects.iter().any(fresh));
}

#[test]
fn what_waits_for_the_disk_is_decided_by_nothing_that_is_heard_meanwhile() {
    let mut run = founder();
    let membership = run.node.life.member_mut().unwrap();
    membership.machine.depart();
    membership.saving = Some(Saving::Departure(Ticket(7)));
    run.node.effects.clear();
    run.node.on_heard(Heard {
        entries: Vec::new(),
        own_version_ahead: None,
        speaks: true,
    });
    run.node.go_on_leaving();
    assert!(run.node.effects.is_empty());
    assert!(run.node.is_departing() && !run.node.may_leave());
    // It is on disk: who has asked is answered, once.
    run.node.on_durable_stored(Ok(()));
    assert!(run.node.may_leave());
    let answered = |effect: &&Effect| matches!(effect, Effect::Answer(Ticket(7), Ok(_)));
    assert_eq!(run.node.effects.iter().filter(answered).count(), 1);
}

#[test]
fn who_waits_for_a_cluster_to_be_founded_is_answered_when_the_node_leaves_instead() {
    let mut run = founder();
    let membership = run.node.life.member_mut().unwrap();
    // Asked again while the node gives its block back.
    membership.awaiting_init.push(Ticket(8));
    let effects = run.event(Event::Ended(Ok(Some(Boot(2)))));
    let answered = |effect: &&Effect| matches!(effect, Effect::Answer(Ticket(8), Err(_)));
    assert_eq!(effects.iter().filter(answered).count(), 1);
}
