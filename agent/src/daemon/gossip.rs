//! Gossip, and with it the membership: started, ended, started again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, PoisonError, RwLock};

use podnet_core::advertise::Follower;
use podnet_core::claim::{ClaimState, Identity as ClaimIdentity, Machine, Quorum};
use podnet_core::peer::is_plausible_start;
use podnet_core::signed::{Ear, Voice};
use podnet_core::view::{Reader, View};
use podnet_proto::gossip::{Hello, Key, NodeRecord, Speaker, Welcome, encode};
use podnet_proto::{ApiError, ErrorCode, NodeId};

use super::agent::Agent;
use super::error;
use super::membership::{Membership, RETRY, Roster};
use crate::gossip::{Counters, Gossip, Keyring, Settings, Timing};
use crate::store::{Identity, Joined, Member, PeerBook};

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

/// The voice of a node whose gossip starts.
fn voice(member: &Member, own: &Identity, epoch: u64) -> Voice {
    let speaker = Speaker {
        cluster: member.cluster,
        node: own.node(),
        address: member.advertise,
    };
    Voice::new(speaker, epoch, own.signer())
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

impl Agent {
    /// Starts gossip and the claim machine with what is on disk.
    pub(super) async fn start_membership(&mut self, joined: Joined) -> Result<(), ApiError> {
        let Joined {
            member,
            mut durable,
            peers,
        } = joined;
        let epoch = self
            .state_dir
            .next_epoch(durable.epoch)
            .map_err(|e| error::store(&e))?;
        let is_new = durable.epoch == 0;
        durable.epoch = epoch;
        let node = self.identity.node();
        let keyring = Keyring::new(member.gossip_key.clone());
        let counters = Arc::new(Counters::default());
        let roster = Arc::new(RwLock::new(Roster::default()));
        let record = node_value(&member, &self.identity, epoch)?;
        let values = BTreeMap::from([(Key::Node, record)]);
        let mut voice = voice(&member, &self.identity, epoch);
        let settings =
            self.gossip_settings(&member, &peers, (epoch, 0), &keyring, &counters, &roster);
        let gossip = Gossip::spawn(settings, voice.say_all(&values))
            .await
            .map_err(|e| error::gossip(&e))?;
        let identity = ClaimIdentity {
            node,
            boot: self.boot,
            instance: self.instance,
        };
        let machine = if is_new {
            Machine::of_new_member(identity, durable, rand::random())
        } else {
            Machine::new(identity, durable, rand::random())
        };
        self.membership = Some(Membership {
            machine: machine.listening_for(self.config.timing.listen),
            voice,
            ear: Ear::new(member.cluster),
            member,
            peers,
            gossip: Some(gossip),
            keyring,
            counters,
            roster,
            reader: Reader::default(),
            view: View::default(),
            learned: None,
            epoch,
            unused_epoch: None,
            generation: 0,
            silenced: None,
            unsaid: BTreeMap::new(),
            state: ClaimState::New,
            using: None,
            quorum: Quorum::default(),
            muted: None,
            refused: BTreeSet::new(),
            unknown: Vec::new(),
            listening_since: self.now(),
            wake: self.now(),
            search_due: self.now(),
            published: values,
            values: BTreeMap::new(),
            unsaved: true,
            disk_error: None,
            // Whatever the last process left of the data path goes first, unless it is used.
            stopping: true,
            closing: false,
            follower: Follower::default(),
            seat: None,
        });
        Ok(())
    }

    /// The gossip task has died. The next step starts another: not at once, or one that dies at its
    /// start would keep the agent busy.
    pub(super) async fn gossip_ended(&mut self) {
        let later = self.now() + RETRY;
        let Some(membership) = &mut self.membership else {
            return;
        };
        membership.wake = later;
        if let Some(gossip) = membership.gossip.take() {
            gossip.shutdown().await;
        }
    }

    /// Starts gossip again, with values that are newer than all before: its task has died, the
    /// node's address has changed, or its disk was rolled back. Where it cannot be started, the
    /// next step tries again.
    pub(super) async fn restart_gossip(&mut self, epoch_seen: u64) {
        self.gossip_ended().await;
        let failure = self.try_restart_gossip(epoch_seen).await.err();
        let Some(membership) = &mut self.membership else {
            return;
        };
        if let Some(api_error) = failure.as_ref().filter(|_| membership.silenced != failure) {
            tracing::error!(error = %api_error, "gossip cannot be started again");
        }
        membership.silenced = failure;
    }

    async fn try_restart_gossip(&mut self, epoch_seen: u64) -> Result<(), ApiError> {
        let Some(membership) = &self.membership else {
            return Ok(());
        };
        // What somebody has made up is not outdone, and least of all on disk: the node speaks under
        // another of its ids instead.
        let (epoch_seen, generation) = if is_plausible_start(membership.epoch, epoch_seen) {
            (epoch_seen, membership.generation)
        } else {
            tracing::error!(
                epoch = epoch_seen,
                "somebody who has the token speaks in this node's name"
            );
            (0, rand::random())
        };
        let unused = membership.unused_epoch.filter(|epoch| *epoch > epoch_seen);
        let epoch = match unused {
            Some(epoch) => epoch,
            None => self
                .state_dir
                .next_epoch(epoch_seen)
                .map_err(|e| error::store(&e))?,
        };
        if let Some(membership) = &mut self.membership {
            membership.unused_epoch = Some(epoch);
        }
        let Some(membership) = &self.membership else {
            return Ok(());
        };
        let settings = self.gossip_settings(
            &membership.member,
            &membership.peers,
            (epoch, generation),
            &membership.keyring,
            &membership.counters,
            &membership.roster,
        );
        let record = node_value(&membership.member, &self.identity, epoch)?;
        let mut values = membership.published.clone();
        values.insert(Key::Node, record);
        let mut voice = voice(&membership.member, &self.identity, epoch);
        let gossip = Gossip::spawn(settings, voice.say_all(&values))
            .await
            .map_err(|e| error::gossip(&e))?;
        tracing::warn!(epoch, "gossip was started again");
        let now = self.now();
        if let Some(membership) = &mut self.membership {
            membership.listening_since = now;
            membership.gossip = Some(gossip);
            membership.voice = voice;
            membership.published = values;
            membership.epoch = epoch;
            membership.unused_epoch = None;
            membership.generation = generation;
            membership.reader = Reader::default();
        }
        Ok(())
    }

    fn gossip_settings(
        &self,
        member: &Member,
        peers: &PeerBook,
        (epoch, generation): (u64, u64),
        keyring: &Keyring,
        counters: &Arc<Counters>,
        roster: &Arc<RwLock<Roster>>,
    ) -> Settings {
        let node = self.identity.node();
        let known = peers
            .values()
            .filter_map(|record| record.endpoints.first().copied());
        let mut seeds: Vec<SocketAddrV4> = member.seeds.iter().copied().chain(known).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let roster = Arc::clone(roster);
        Settings {
            node,
            advertise: member.advertise,
            listen: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.config.gossip_port),
            cluster: member.cluster,
            networks: member.networks.clone(),
            epoch,
            generation,
            timing: Timing {
                interval: self.config.timing.gossip_interval,
                initial_interval: self.config.timing.gossip_interval,
                dead_grace: self.config.timing.dead_grace,
                ..Timing::default()
            },
            keyring: keyring.clone(),
            seeds,
            start: self.start,
            welcomer: Arc::new(move |hello| Some(welcome(&roster, node, hello))),
            counters: Arc::clone(counters),
        }
    }
}

#[cfg(test)]
mod tests;
