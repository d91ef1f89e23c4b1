//! The step: learn, vote, propose, and say what follows.

use std::collections::BTreeSet;
use std::time::Duration;

use podnet_proto::NodeId;
use podnet_proto::gossip::{PropRecord, WantKind};
use podnet_proto::ledger::{Batch, Decided, Ledger};

use super::acceptor::hear;
use super::batch::{next_batch, wishes};
use super::durable::Durable;
use super::learn::{shown_by_members, snapshots};
use super::ledger::apply;
use super::mute::{LISTENING, Muted, has_forgetful_voter, muted};
use super::outcome::{Outcome, Quorum};
use super::proposer::Proposer;
use super::publish::Publisher;
use super::standing::{Identity, Standing};
use super::unknown::{knows_all, unknown_settings};
use super::votes::Votes;
use crate::time::Moment;
use crate::view::{Entry, View};

/// The longest pause between two steps.
const TICK: Duration = Duration::from_millis(250);

/// How long a node that leaves without a claim waits for one: the voters may be granting an earlier
/// wish of its own, and then it is released from that. Five gossip rounds.
const FAREWELL: Duration = Duration::from_secs(5);

/// The most rounds of one step. The only voter of a cluster decides a slot in three.
const MAX_ROUNDS: usize = 64;

/// The claim machine of one node.
#[derive(Debug)]
pub struct Machine {
    identity: Identity,
    durable: Durable,
    /// The durable state has changed, and no step has asked for a write of it yet.
    dirty: bool,
    /// The durable state or the open proposal has changed: what is published is out of date.
    stale: bool,
    refused: BTreeSet<NodeId>,
    muted: Option<Muted>,
    /// Whether a member has to show its ledger to a voter that has forgotten it.
    shows: bool,
    /// When this process began to listen.
    started: Option<Moment>,
    /// How long it listens.
    listening: Duration,
    /// Whether this process made the durable state.
    made_now: bool,
    /// Since when this process asks for a release.
    leaving_since: Option<Moment>,
    proposer: Proposer,
    publisher: Publisher,
}

impl Machine {
    /// The machine of a process that starts with this state. `seed` is drawn at random for each
    /// process; a simulator gives its own.
    #[must_use]
    pub fn new(identity: Identity, durable: Durable, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            identity,
            durable,
            dirty: false,
            stale: true,
            refused: BTreeSet::new(),
            muted: None,
            shows: false,
            started: None,
            listening: LISTENING,
            made_now: false,
            leaving_since: None,
            proposer: Proposer::new(identity.node, identity.instance, rng.fork()),
            publisher: Publisher::new(rng),
        }
    }

    /// The machine of a process that has just made this state, by founding or joining a cluster: it has
    /// forgotten nothing.
    #[must_use]
    pub fn of_new_member(identity: Identity, durable: Durable, seed: u64) -> Self {
        Self {
            made_now: true,
            ..Self::new(identity, durable, seed)
        }
    }

    /// The machine with another time of listening than three seconds.
    #[must_use]
    pub const fn listening_for(mut self, listening: Duration) -> Self {
        self.listening = listening;
        self
    }

    /// The state that has to be on disk once [`Outcome::persist`] asks for it.
    #[must_use]
    pub const fn durable(&self) -> &Durable {
        &self.durable
    }

    /// The ledger, as far as this node knows it.
    #[must_use]
    pub const fn ledger(&self) -> Option<&Decided> {
        self.durable.ledger.as_ref()
    }

    /// Notes that the node is to leave once its pods are gone. It goes on using its block; but the
    /// only member of a cluster takes nobody in any more.
    pub fn depart(&mut self) {
        self.dirty |= !self.durable.departing;
        self.durable.departing = true;
    }

    /// Takes [`Self::depart`] back, and what an earlier boot asked for. Once this one gives the
    /// block back, that has no effect.
    pub fn stay(&mut self) {
        if self.durable.leaving != Some(self.identity.boot) {
            self.dirty |= self.durable.is_departing();
            self.durable.departing = false;
            self.durable.leaving = None;
        }
    }

    /// Gives the node's block back. From the next step on the node does not use it, and asks for
    /// its release; this cannot be taken back.
    ///
    /// It holds for this boot. After a reboot the node wants its block again, unless this is called
    /// again: [`Durable::leaving`] shows that it was.
    pub fn leave(&mut self) {
        if self.durable.leaving != Some(self.identity.boot) {
            self.durable.leaving = Some(self.identity.boot);
            self.durable.released = false;
            self.dirty = true;
            self.stale = true;
        }
    }

    /// Notes that this process cannot be heard, and hears no other: it has not listened until now.
    pub const fn note_deaf(&mut self, now: Moment) {
        self.started = Some(now);
    }

    /// Whether the cluster would stay without a voter if this node left: it is the only one, and
    /// there are other members. Then the voters do not release it.
    #[must_use]
    pub fn is_last_voter(&self) -> bool {
        self.ledger().is_some_and(|ledger| {
            ledger.voters == [self.identity.node]
                && ledger
                    .boots
                    .keys()
                    .any(|member| *member != self.identity.node)
        })
    }

    /// How many of the voters are in reach.
    #[must_use]
    pub fn quorum(&self, view: &View) -> Quorum {
        let voters = self.ledger().map_or(&[][..], |ledger| &ledger.voters);
        let count = |is: fn(&Entry) -> bool| {
            let among = |voter: &NodeId| view.of(*voter).iter().any(is);
            let counted = voters
                .iter()
                .filter(|voter| **voter == self.identity.node || among(voter));
            counted.count()
        };
        Quorum {
            voters: voters.len(),
            reachable: count(|entry| entry.present),
            live: count(|entry| entry.live),
        }
    }

    /// Takes in what gossip shows, and returns what follows.
    pub fn step(&mut self, now: Moment, view: &View) -> Outcome {
        self.started.get_or_insert(now);
        let settled = (0..MAX_ROUNDS).any(|_| !self.round(now, view));
        let node = self.standing();
        let forgotten = |ledger: &Decided| has_forgetful_voter(ledger, view);
        let shows = node.member().is_some_and(forgotten);
        self.stale |= std::mem::replace(&mut self.shows, shows) != shows;
        let node = standing(self.identity, &self.durable, self.muted);
        if std::mem::take(&mut self.stale) {
            self.publisher.renew(node, self.proposer.open(), shows);
        }
        let (keys, nudge) = self.publisher.publish(now, node, view);
        if node.gives_block_back() {
            self.leaving_since.get_or_insert(now);
        }
        let waited = self
            .leaving_since
            .is_some_and(|since| now.since(since) >= FAREWELL);
        let turn = node
            .proposing()
            .and_then(|ledger| self.proposer.turn(rank(self.identity.node, ledger, view)));
        let tick = if settled { now + TICK } else { now };
        Outcome {
            persist: std::mem::take(&mut self.dirty),
            using: node.using(),
            state: node.state(
                view,
                self.quorum(view).ok(),
                self.durable.released || waited,
            ),
            keys,
            unsaid: self.publisher.unsaid().clone(),
            nudge,
            wake: turn.map_or(tick, |turn| turn.clamp(now, tick)),
            refused: self.refused.clone(),
            muted: self.muted,
            unknown: node
                .durable
                .ledger
                .as_ref()
                .map_or_else(Vec::new, |ledger| unknown_settings(&ledger.settings)),
        }
    }

    /// One round of learning, proposing and voting. Returns whether anything changed.
    fn round(&mut self, now: Moment, view: &View) -> bool {
        let learnt = self.learn(view);
        let judged = self.listen(now, view);
        let proposed = self.propose(now, view);
        let voted = self.vote(view);
        let changed = learnt || judged || proposed || voted;
        self.stale |= changed;
        changed
    }

    /// Takes over the newest ledger that it is shown, or what a majority has accepted.
    fn learn(&mut self, view: &View) -> bool {
        let snapshots = snapshots(&self.durable, view);
        self.refused = snapshots.refused;
        let by_members = || match self.muted {
            Some(Muted::Behind { .. }) => shown_by_members(self.identity.node, &self.durable, view),
            Some(Muted::Listening | Muted::Twin { .. }) | None => None,
        };
        let newer = snapshots.newest.or_else(by_members).cloned().or_else(|| {
            let ledger = self.durable.ledger.as_ref()?;
            // Else a later version may decide something else by the same batch.
            if !knows_all(&ledger.settings) {
                return None;
            }
            let own = &self.durable.acceptor;
            let votes = Votes::gather(self.identity.node, own, ledger, view);
            votes.decided().and_then(|batch| apply(ledger, batch))
        });
        let Some(newer) = newer else { return false };
        let before = self.durable.registered(self.identity.node);
        let after = newer.boots.get(&self.identity.node);
        let own_boot = self.identity.boot;
        if before == Some(own_boot) {
            self.durable.released |= after.is_none() && self.durable.leaving == Some(own_boot);
            self.durable.dup |= after.is_some_and(|boot| *boot != own_boot);
        }
        self.durable.adopt(newer);
        self.dirty = true;
        true
    }

    /// Judges whether this node has to keep silent. Returns whether that has changed.
    fn listen(&mut self, now: Moment, view: &View) -> bool {
        let listening = self.is_listening(now);
        let judged = muted(self.standing(), view, listening, self.made_now);
        let muted = judged.or(self
            .muted
            .filter(|before| before.holds_on(self.standing(), view)));
        std::mem::replace(&mut self.muted, muted) != muted
    }

    fn is_listening(&self, now: Moment) -> bool {
        self.started
            .is_none_or(|started| now.since(started) < self.listening)
    }

    const fn standing(&self) -> Standing<'_> {
        standing(self.identity, &self.durable, self.muted)
    }

    /// As a voter, proposes what there is to decide.
    fn propose(&mut self, now: Moment, view: &View) -> bool {
        let node = standing(self.identity, &self.durable, self.muted);
        let listening = self.is_listening(now);
        let Some(ledger) = node.proposing() else {
            return self.proposer.stop();
        };
        let me = self.identity.node;
        let votes = Votes::gather(me, &self.durable.acceptor, ledger, view);
        let work = work(now, node, ledger, view, listening);
        let rank = rank(me, ledger, view);
        self.proposer
            .advance(now, ledger.next_slot(), &votes, &work, rank)
    }

    /// As a voter, hears the voters' proposals, its own too.
    fn vote(&mut self, view: &View) -> bool {
        let Some(ledger) = standing(self.identity, &self.durable, self.muted).voting() else {
            return false;
        };
        let shown: Vec<&PropRecord> = ledger
            .voters
            .iter()
            .filter(|voter| **voter != self.identity.node)
            .flat_map(|voter| view.of(*voter))
            .filter_map(|entry| {
                entry
                    .prop
                    .as_deref()
                    .filter(|prop| prop.ballot.node == entry.node)
            })
            .collect();
        let mut heard = false;
        for proposal in shown.into_iter().chain(self.proposer.open()) {
            heard |= hear(&mut self.durable.acceptor, proposal);
        }
        self.dirty |= heard;
        heard
    }
}

const fn standing(identity: Identity, durable: &Durable, muted: Option<Muted>) -> Standing<'_> {
    Standing {
        identity,
        durable,
        muted,
    }
}

/// What there is to decide: the wishes of other nodes, and this node's own. A voter does not propose its
/// own release.
fn work(now: Moment, node: Standing<'_>, ledger: &Ledger, view: &View, listening: bool) -> Batch {
    let me = node.identity.node;
    let own = node.want().filter(|want| want.want == WantKind::Join);
    let own = own.map(|want| (me, want));
    // The cluster ends with its only member. A node that joined now would be left without a voter.
    let ends = node.durable.is_departing() && ledger.boots.keys().eq([&me]);
    let others = wishes(now, me, ledger, view, listening)
        .into_iter()
        .filter(|_| !ends);
    let wishes: Vec<_> = own.into_iter().chain(others).collect();
    next_batch(ledger, &wishes)
}

/// How many live voters come before this one.
fn rank(me: NodeId, ledger: &Ledger, view: &View) -> usize {
    let before = ledger.voters.iter().filter(|voter| **voter < me);
    before.filter(|voter| view.is_live(**voter)).count()
}
