//! Gossip: how it is started and ended, and what the node publishes by it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use podnet_core::node::{Event, Generation, Heard, Member, Roster, Start, Started};
use podnet_core::signed::Voice;
use podnet_proto::gossip::{Hello, Key, NodeRecord, Speaker, Welcome, encode};
use podnet_proto::{ApiError, ErrorCode, NodeId};

use crate::config::Timing as AgentTiming;
use crate::daemon::error;
use crate::gossip::{Counters, Gossip, GossipConfig, Keyring, Timing};
use crate::store::Identity;

/// The gossip of the node.
pub(super) struct Speech {
    /// Gossip, while it runs, and the voice that signs what the node publishes.
    running: Option<(Gossip, Voice)>,
    base: Arc<Base>,
}

/// What every start of gossip has in common.
pub(super) struct Base {
    pub(super) gossip_port: u16,
    pub(super) timing: AgentTiming,
    pub(super) identity: Arc<Identity>,
    /// The agent's start, from which every moment counts.
    pub(super) start: Instant,
    pub(super) counters: Arc<Counters>,
    pub(super) roster: Arc<RwLock<Roster>>,
}

/// The outcome of a start of gossip, which is not used yet.
pub(in crate::daemon) struct Voiced {
    started: Started,
    running: Option<(Gossip, Voice)>,
}

impl Speech {
    pub(super) const fn new(base: Arc<Base>) -> Self {
        Self {
            running: None,
            base,
        }
    }

    pub(super) fn gossip(&self) -> Option<&Gossip> {
        self.running.as_ref().map(|(gossip, _)| gossip)
    }

    pub(super) fn base(&self) -> Arc<Base> {
        Arc::clone(&self.base)
    }

    /// Takes over gossip that was started.
    pub(super) fn take_over(&mut self, voiced: Voiced) -> Event {
        self.running = voiced.running;
        Event::GossipStarted(Box::new(voiced.started))
    }

    pub(super) async fn stop(&mut self) {
        if let Some((gossip, _)) = self.running.take() {
            gossip.shutdown().await;
        }
    }

    /// What gossip has heard, while it runs.
    pub(super) async fn listen(&self) -> Option<Event> {
        let gossip = self.gossip()?;
        let speaks = gossip.speaks();
        let snapshot = gossip.snapshot().await;
        Some(Event::Heard(Heard {
            entries: snapshot.entries,
            own_version_ahead: snapshot.own_version_ahead,
            speaks,
        }))
    }

    /// Publishes values. Returns their keys if gossip did not take them.
    pub(super) async fn publish(&mut self, values: BTreeMap<Key, String>) -> Option<Event> {
        let (gossip, voice) = self.running.as_mut()?;
        let refused = gossip.set(voice.say(&values)).await.err()?;
        let error = error::chain(&refused);
        tracing::error!(error, "values of this node cannot be published");
        Some(Event::Unpublished(values.into_keys().collect()))
    }

    pub(super) fn nudge(&self, urgent: Vec<SocketAddrV4>, idly: Vec<SocketAddrV4>) {
        if let Some(gossip) = self.gossip() {
            gossip.nudge(urgent);
            gossip.nudge_idly(idly);
        }
    }

    pub(super) fn show_roster(&self, roster: Roster) {
        let shown = self.base.roster.write();
        *shown.unwrap_or_else(PoisonError::into_inner) = roster;
    }
}

impl Base {
    /// Starts gossip under this epoch.
    pub(super) async fn start(&self, start: Start, epoch: Result<u64, ApiError>) -> Voiced {
        let generation = match start.generation {
            Generation::Known(generation) => generation,
            Generation::Fresh => rand::random(),
        };
        let drawn = epoch.as_ref().ok().copied();
        let result = match epoch {
            Ok(epoch) => self.try_start(start, epoch, generation).await,
            Err(api_error) => Err(api_error),
        };
        let (result, running) = match result {
            Ok((values, running)) => (Ok(values), Some(running)),
            Err(api_error) => (Err(api_error), None),
        };
        Voiced {
            started: Started {
                epoch: drawn,
                generation,
                result,
            },
            running,
        }
    }

    async fn try_start(
        &self,
        start: Start,
        epoch: u64,
        generation: u64,
    ) -> Result<(BTreeMap<Key, String>, (Gossip, Voice)), ApiError> {
        let mut values = start.values.clone();
        let record = node_value(&start.member, &self.identity, epoch)?;
        values.insert(Key::Node, record);
        let speaker = Speaker {
            cluster: start.member.cluster,
            node: self.identity.node(),
            address: start.member.advertise,
        };
        let mut voice = Voice::new(speaker, epoch, self.identity.signer());
        let config = self.config(&start, epoch, generation);
        let gossip = Gossip::spawn(config, voice.say_all(&values))
            .await
            .map_err(|e| error::gossip(&e))?;
        Ok((values, (gossip, voice)))
    }

    fn config(&self, start: &Start, epoch: u64, generation: u64) -> GossipConfig {
        let member = &start.member;
        let node = self.identity.node();
        let known = start.peers.values();
        let known = known.filter_map(|record| record.endpoints.first().copied());
        let mut seeds: Vec<SocketAddrV4> = member.seeds.iter().copied().chain(known).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let roster = Arc::clone(&self.roster);
        let timing = &self.timing;
        GossipConfig {
            node,
            advertise: member.advertise,
            listen: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.gossip_port),
            cluster: member.cluster,
            networks: member.networks.clone(),
            epoch,
            generation,
            timing: Timing {
                interval: timing.gossip_interval,
                initial_interval: timing.gossip_interval,
                dead_grace: timing.dead_grace,
                ..Timing::default()
            },
            keyring: Keyring::new(member.gossip_key.clone()),
            seeds,
            start: self.start,
            welcomer: Arc::new(move |hello| Some(welcome(&roster, node, hello))),
            counters: Arc::clone(&self.counters),
        }
    }
}

/// What a node says of itself, as a gossip value.
fn node_value(member: &Member, own: &Identity, epoch: u64) -> Result<String, ApiError> {
    let record = NodeRecord {
        name: member.name.clone(),
        public_key: own.public_key(),
        endpoints: vec![member.advertise],
        counter: epoch,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    encode(&record).map_err(|why| {
        let message = format!("what this node says of itself: {}", error::chain(&why));
        ApiError::new(ErrorCode::Internal, message)
    })
}

/// What a member answers to a node that asks before it joins.
fn welcome(roster: &RwLock<Roster>, own: NodeId, hello: &Hello) -> Welcome {
    let roster = roster.read().unwrap_or_else(PoisonError::into_inner);
    let taken_by = roster.names.get(&hello.name).copied();
    Welcome {
        node: own,
        name_taken_by: taken_by.filter(|node| *node != hello.node),
        slot: roster.slot,
    }
}
