//! Users: what they ask, what they are answered, and what they know of pods by that.

use podnet_core::node::{Answer, Request, Response, Ticket};
use podnet_proto::api::{InitRequest, JoinRequest, LeaveRequest, PodRequest, PodState};
use podnet_proto::{ErrorCode, PodName};

use crate::host::{NETNS_DIR, PORT, netns, pod_name};
use crate::plan::Command;
use crate::verdict::Failure;
use crate::world::World;

/// Something that a user asks and is not answered yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) command: Command,
    pub(crate) at: u64,
    /// Nobody waits for the answer any more.
    pub(crate) abandoned: bool,
}

/// What users know of a pod.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fate {
    /// Whether it is there, as far as that is certain.
    pub(crate) there: Option<bool>,
    /// How many requests for it are not answered yet.
    pub(crate) open: u32,
    /// Whether several were open at a time: then nobody knows which came first.
    pub(crate) muddled: bool,
}

impl Fate {
    fn ask(&mut self) {
        self.open += 1;
        self.muddled |= self.open > 1;
    }

    fn answer(&mut self, there: Option<bool>) {
        self.open = self.open.saturating_sub(1);
        self.there = there.filter(|_| !self.muddled);
        self.muddled &= self.open > 0;
    }

    /// Whether it is there, as far as that is certain and nobody is changing it.
    pub(crate) fn certain(&self) -> Option<bool> {
        self.there.filter(|_| self.open == 0)
    }
}

impl Command {
    fn pod(self) -> Option<PodName> {
        match self {
            Self::AddPod { pod, .. } | Self::RemovePod { pod } => Some(pod_name(pod)),
            Self::Init
            | Self::Join
            | Self::Leave { .. }
            | Self::Status
            | Self::Pods
            | Self::Token => None,
        }
    }
}

impl World {
    /// A user asks something of a host's agent, if one runs.
    pub(crate) fn ask(&mut self, host: usize, command: Command) -> Result<(), Failure> {
        let Some(request) = self.request(host, command) else {
            return Ok(());
        };
        if let Command::AddPod { pod, made: false } = command {
            let asked = &mut self.hosts[host];
            let path = netns(pod, false);
            asked
                .kernel
                .fake
                .tamper_silently(|kernel| kernel.add_netns(&path));
            asked.foreign = asked.look(podnet_core::kernel::model::Kernel::foreign);
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let asked = Asked {
            command,
            at: self.now,
            abandoned: false,
        };
        let asked_host = &mut self.hosts[host];
        let Some(process) = &mut asked_host.process else {
            return Ok(());
        };
        process.waiting.insert(ticket, asked);
        if let Some(pod) = command.pod() {
            asked_host.fates.entry(pod).or_default().ask();
        }
        self.note(|| format!("{host} is asked {command:?}"));
        self.turn(host, podnet_core::node::Input::Request(request, ticket))
    }

    fn request(&self, host: usize, command: Command) -> Option<Request> {
        Some(match command {
            Command::Init => Request::Init(Box::new(InitRequest {
                pod_cidrs: vec!["10.244.0.0/24".to_owned()],
                block_prefixes: vec![self.plan.prefix],
                ..InitRequest::default()
            })),
            Command::Join => {
                let (founder, token) = self.token.clone()?;
                let others = [founder, (host + 1) % self.plan.hosts];
                let addresses = others.map(|other| format!("{}:{PORT}", self.hosts[other].address));
                let addresses: std::collections::BTreeSet<String> = addresses.into();
                Request::Join(Box::new(JoinRequest {
                    addresses: addresses.into_iter().collect(),
                    token,
                    ..JoinRequest::default()
                }))
            }
            Command::Leave { remove_pods } => Request::Leave(LeaveRequest { remove_pods }),
            Command::AddPod { pod, made } => {
                let name = pod_name(pod).to_string();
                let path = (!made).then(|| format!("{NETNS_DIR}/of-{name}"));
                Request::AddPod(PodRequest {
                    name,
                    netns: path,
                    ..PodRequest::default()
                })
            }
            Command::RemovePod { pod } => Request::RemovePod(pod_name(pod)),
            Command::Status => Request::Status,
            Command::Pods => Request::Pods,
            Command::Token => Request::Token,
        })
    }

    /// A user is answered.
    pub(crate) fn answered(
        &mut self,
        host: usize,
        ticket: Ticket,
        answer: &Answer,
    ) -> Result<(), Failure> {
        self.summary.answers += 1;
        let answering = &mut self.hosts[host];
        let process = answering.process.as_mut();
        let Some(asked) = process.and_then(|process| process.waiting.remove(&ticket)) else {
            return Err(format!("{host} answers {ticket:?} once more: {answer:?}").into());
        };
        let Asked { command, at, .. } = asked;
        self.note(|| match answer {
            Ok(Response::Pod(pod)) => format!("{host} answers {command:?}: {:?}", pod.addresses),
            Ok(_) => format!("{host} answers {command:?}"),
            Err(why) => format!("{host} refuses {command:?}: {}", why.message),
        });
        match (command, answer) {
            (_, Ok(Response::Founded(founded))) => self.token = Some((host, founded.token.clone())),
            (_, Ok(Response::Token(token))) => self.token = Some((host, token.token.clone())),
            (Command::Leave { .. }, Ok(_)) => self.forget_fates(host),
            (Command::Pods, Ok(Response::Pods(pods))) => {
                let names: Vec<PodName> = pods.iter().map(|pod| pod.name.clone()).collect();
                self.check_list(host, &names)?;
            }
            (Command::AddPod { .. }, Ok(Response::Pod(pod))) => {
                self.summary.pods += 1;
                if pod.state == PodState::Ready {
                    self.check_whole(host, pod, at)?;
                }
            }
            (_, _) => {}
        }
        if let Some(pod) = command.pod() {
            let answering = &mut self.hosts[host];
            // Its pods go, whether it says so to anybody or not.
            let durable = answering.disk.durable.as_ref();
            let leaves = durable.is_some_and(podnet_core::claim::Durable::is_departing);
            let fate = answering.fates.entry(pod).or_default();
            let code = answer.as_ref().err().map(|why| why.code);
            let there = match (command, code) {
                (Command::AddPod { .. }, None) if leaves => None,
                (Command::AddPod { .. }, None) => Some(true),
                // Nothing has come of it.
                (Command::AddPod { .. }, Some(_)) => fate.there,
                (_, None | Some(ErrorCode::NotFound)) => Some(false),
                (_, Some(_)) => None,
            };
            fate.answer(there);
        }
        Ok(())
    }

    /// Who has waited longest for an answer gives up.
    pub(crate) fn give_up(&mut self, host: usize) -> Result<(), Failure> {
        let Some(process) = self.hosts[host].process.as_mut() else {
            return Ok(());
        };
        let waiting = process.waiting.iter_mut();
        let Some((ticket, asked)) = waiting.min_by_key(|(ticket, _)| **ticket) else {
            return Ok(());
        };
        asked.abandoned = true;
        let (ticket, command) = (*ticket, asked.command);
        if let Some(pod) = command.pod() {
            // Nobody hears what has come of it.
            let fate = self.hosts[host].fates.entry(pod).or_default();
            fate.muddled = true;
        }
        self.turn(host, podnet_core::node::Input::Abandoned(ticket))
    }

    /// Nobody knows of any pod of a host whether it is there.
    fn forget_fates(&mut self, host: usize) {
        for fate in self.hosts[host].fates.values_mut() {
            fate.there = None;
        }
    }

    /// Who waited for an answer of a host's agent knows that none will come.
    pub(crate) fn hang_up(&mut self, host: usize) {
        let Some(process) = self.hosts[host].process.as_mut() else {
            return;
        };
        let waiting = std::mem::take(&mut process.waiting);
        for asked in waiting.into_values() {
            if let Command::Leave { .. } = asked.command {
                self.forget_fates(host);
            }
            if let Some(pod) = asked.command.pod() {
                let fate = self.hosts[host].fates.entry(pod).or_default();
                fate.answer(None);
                // Also where others were open: they are closed as well.
                fate.there = None;
            }
        }
    }
}
