//! What goes between hosts: gossip, and questions before a host joins.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddrV4};
use std::time::Duration;

use podnet_core::kernel::Change;
use podnet_core::node::{
    Event, Generation, Heard, Input, Question, Start, Started, Ticket, Welcomed,
};
use podnet_lab::model::gossip::{Board, Message};
use podnet_lab::model::signing::{key_text, voice_with};
use podnet_proto::gossip::{Hello, Key, NodeRecord, Welcome, encode};
use podnet_proto::{ApiError, ClusterId, ErrorCode};

use crate::process::Speech;
use crate::verdict::Failure;
use crate::world::{Happening, MILLI, OfProcess, SECOND, World};

/// How long gossip keeps a dead entry.
const GRACE: Duration = Duration::from_secs(3600);

/// How long to wait before members are asked once more.
const HELLO: u64 = 250 * MILLI;

/// What one host sends to another, sealed for a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    cluster: ClusterId,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Gossip(Message),
    Hello(Ticket, Hello),
    Welcome(Ticket, Welcome),
}

impl World {
    /// Changes a host's gossip.
    pub(crate) fn speaking(&mut self, host: usize, change: impl FnOnce(&mut Option<Speech>)) {
        if let Some(process) = &mut self.hosts[host].process {
            change(&mut process.speech);
        }
    }

    /// Gossip starts under this epoch.
    pub(crate) fn speak(
        &mut self,
        host: usize,
        start: &Start,
        epoch: Result<u64, ApiError>,
    ) -> Event {
        let generation = match start.generation {
            Generation::Known(generation) => generation,
            Generation::Fresh => self.rng.u64(..),
        };
        let (node, key) = (self.hosts[host].node, self.hosts[host].key);
        let drawn = epoch.as_ref().ok().copied();
        let result = epoch.map(|epoch| {
            let member = &start.member;
            let mut values = start.values.clone();
            let record = NodeRecord {
                name: member.name.clone(),
                public_key: key_text(&key),
                endpoints: vec![member.advertise],
                counter: epoch,
                agent_version: "0.0.0".to_owned(),
            };
            values.insert(Key::Node, encode(&record).expect("short"));
            let mut voice = voice_with(key, member.cluster, node, member.advertise, epoch);
            let known = start.peers.values();
            let known = known.filter_map(|record| record.endpoints.first().copied());
            let own = (node, member.advertise);
            let speech = Speech {
                board: Board::new(own, epoch, GRACE, &voice.say_all(&values)),
                voice,
                cluster: member.cluster,
                address: member.advertise,
                seeds: member.seeds.iter().copied().chain(known).collect(),
                live: 0,
            };
            self.speaking(host, |running| *running = Some(speech));
            values
        });
        Event::GossipStarted(Box::new(Started {
            epoch: drawn,
            generation,
            result,
        }))
    }

    /// What gossip has heard, while it runs.
    pub(crate) fn listen(&mut self, host: usize) -> Option<Event> {
        let now = self.now;
        let listening = &mut self.hosts[host];
        let endpoint = listening.endpoint();
        let process = listening.process.as_mut()?;
        let local = process.local(now);
        let speech = process.speech.as_mut()?;
        Some(Event::Heard(Heard {
            entries: speech.board.read(local),
            own_version_ahead: speech.board.ahead(),
            speaks: speech.address == endpoint,
        }))
    }

    pub(crate) fn publish(&mut self, host: usize, values: &BTreeMap<Key, String>) {
        self.speaking(host, |speech| {
            // With values that are newer than its own it is about to be started again.
            if let Some(speech) = speech
                .as_mut()
                .filter(|speech| speech.board.ahead().is_none())
            {
                speech.board.set(speech.voice.say(values));
            }
        });
    }

    pub(crate) fn nudge(
        &mut self,
        host: usize,
        urgent: Vec<SocketAddrV4>,
        idly: Vec<SocketAddrV4>,
    ) {
        let mut peers = urgent;
        let now = self.now;
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        // Others come first, and wait for nobody.
        let granted = process.nudges(now, idly.len());
        peers.extend(idly.into_iter().take(granted));
        self.greet(host, &peers);
    }

    /// Starts handshakes with these addresses.
    fn greet(&mut self, host: usize, peers: &[SocketAddrV4]) {
        let now = self.now;
        let Some(process) = &self.hosts[host].process else {
            return;
        };
        let Some(speech) = &process.speech else {
            return;
        };
        let syn = speech.board.syn(process.local(now));
        let (cluster, from) = (speech.cluster, speech.address);
        for to in peers {
            let content = Content::Gossip(syn.clone());
            self.send(host, from, *to, &Datagram { cluster, content });
        }
    }

    /// A round of gossip.
    pub(crate) fn round(&mut self, host: usize) -> Result<(), Failure> {
        let now = self.now;
        self.push_to(now + SECOND, host, OfProcess::Round);
        let Some(process) = &mut self.hosts[host].process else {
            return Ok(());
        };
        let local = process.local(now);
        let Some(speech) = &mut process.speech else {
            return Ok(());
        };
        speech.board.tick(local);
        let live = speech.board.live(local);
        let changed = live != speech.live;
        speech.live = live;
        let mut known = speech.board.addresses(|_| true);
        if known.is_empty() || self.rng.u8(0..3) == 0 {
            known.extend(speech.seeds.iter().copied());
        }
        let peers = self.rng.choose_multiple(known, 3);
        self.greet(host, &peers);
        if changed {
            self.turn(host, Input::GossipNews)
        } else {
            Ok(())
        }
    }

    /// Sends a datagram, unless the host does not have the address that it is to come from.
    fn send(&mut self, host: usize, from: SocketAddrV4, to: SocketAddrV4, datagram: &Datagram) {
        let Some(receiver) = self.host_at(*to.ip()) else {
            return;
        };
        if receiver == host || from != self.hosts[host].endpoint() {
            return;
        }
        for delay in self.network.arrivals(host, receiver, &mut self.rng) {
            let datagram = datagram.clone();
            // Not in step with anything else.
            let at = self.now + delay * MILLI - self.rng.u64(0..MILLI);
            self.push(at, Happening::Deliver { from, to, datagram });
        }
    }

    pub(crate) fn host_at(&self, address: impl Into<IpAddr>) -> Option<usize> {
        let address = address.into();
        self.hosts
            .iter()
            .position(|host| IpAddr::V4(host.address) == address)
    }

    pub(crate) fn deliver(
        &mut self,
        from: SocketAddrV4,
        to: SocketAddrV4,
        datagram: Datagram,
    ) -> Result<(), Failure> {
        let Some(host) = self.host_at(*to.ip()) else {
            return Ok(());
        };
        let (now, room) = (self.now, self.network.weather.room);
        let node = self.hosts[host].node;
        let Some(process) = &mut self.hosts[host].process else {
            return Ok(());
        };
        if process.frozen_until > now {
            let later = process.frozen_until;
            self.push(later, Happening::Deliver { from, to, datagram });
            return Ok(());
        }
        let local = process.local(now);
        let cluster = datagram.cluster;
        let speaks = |speech: &&mut Speech| speech.cluster == cluster;
        let (answer, changed) = match datagram.content {
            Content::Welcome(attempt, welcome) => {
                let asking = process.asking.as_ref();
                if asking.is_none_or(|question| question.attempt != attempt) {
                    return Ok(());
                }
                process.asking = None;
                let welcomed = Welcomed {
                    target: from,
                    welcome,
                    source: *to.ip(),
                };
                let event = Event::Asked(attempt, Box::new(Ok(welcomed)));
                return self.turn(host, Input::Event(event));
            }
            Content::Gossip(message) => {
                let Some(speech) = process.speech.as_mut().filter(speaks) else {
                    return Ok(());
                };
                let (answer, changed) = speech.board.receive(local, message, room, &mut self.rng);
                (answer.map(Content::Gossip), changed)
            }
            Content::Hello(attempt, hello) => {
                if process.speech.as_mut().filter(speaks).is_none() {
                    return Ok(());
                }
                let taken = process.roster.names.get(&hello.name).copied();
                let welcome = Welcome {
                    node,
                    name_taken_by: taken.filter(|taken| *taken != hello.node),
                    slot: process.roster.slot,
                };
                (Some(Content::Welcome(attempt, welcome)), false)
            }
        };
        if let Some(content) = answer {
            self.send(host, to, from, &Datagram { cluster, content });
        }
        if changed {
            self.turn(host, Input::GossipNews)
        } else {
            Ok(())
        }
    }

    pub(crate) fn ask_members(&mut self, host: usize, question: Box<Question>) {
        let until = self.now + u64::try_from(question.patience.as_micros()).unwrap_or(SECOND);
        if let Some(process) = &mut self.hosts[host].process {
            process.asking = Some(question);
        }
        self.hello(host, until);
    }

    /// Members are asked once more, or it is given up.
    pub(crate) fn hello(&mut self, host: usize, until: u64) {
        let endpoint = self.hosts[host].endpoint();
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        let Some(question) = &process.asking else {
            return;
        };
        let (attempt, targets) = (question.attempt, question.targets.clone());
        let content = Content::Hello(attempt, question.hello.clone());
        if self.now >= until {
            process.asking = None;
            let silent = ApiError::new(ErrorCode::Unreachable, "join: no member answered");
            self.later(host, 1, Event::Asked(attempt, Box::new(Err(silent))));
            return;
        }
        let Some((_, token)) = &self.token else {
            return;
        };
        let Ok(token) = token.parse::<podnet_proto::token::JoinToken>() else {
            return;
        };
        for to in targets {
            let datagram = Datagram {
                cluster: token.cluster,
                content: content.clone(),
            };
            self.send(host, endpoint, to, &datagram);
        }
        self.push_to(self.now + HELLO, host, OfProcess::Hello { until });
    }

    /// The agent hears of what others have changed in the kernel.
    pub(crate) fn hear_changes(&mut self, host: usize) -> Result<(), Failure> {
        loop {
            let Some(process) = &mut self.hosts[host].process else {
                return Ok(());
            };
            let changes = process.changes.as_mut();
            let Some(change) = changes.and_then(|changes| changes.try_recv().ok()) else {
                return Ok(());
            };
            if self.mutant.hears_changes() {
                let input: Box<Input> = Box::new(Input::Change(Change { ..change }));
                self.push_to(self.now + 1, host, OfProcess::Input(input));
            }
        }
    }
}
