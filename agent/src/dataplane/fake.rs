//! A data plane without a kernel: the model of one, whose calls can be made to fail.
//!
//! It is for tests, of the agent and of whole clusters in one process. The suite that holds the
//! Linux data plane to its promises holds this one to them as well.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use podnet_core::kernel::model::Kernel;
use podnet_core::kernel::{Change, Kind, Kinds, Made, ObserveError, Observed, Op, OpError};
use tokio::sync::mpsc;
use tokio::time;

use super::Dataplane;

/// How many changes wait for the watcher; more are reported as one.
const WAITING_CHANGES: usize = 64;

/// A data plane around the model of a kernel. Clones share it.
#[derive(Clone, Default)]
pub struct Fake {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    kernel: Kernel,
    faults: Vec<Fault>,
    attempts: Vec<Op>,
    observe_fault: Option<ObserveFault>,
    observations: Vec<Kinds>,
    watcher: Option<mpsc::Sender<Change>>,
    missed: bool,
}

/// Which changes a fault befalls.
pub type Predicate = dyn Fn(&Op) -> bool + Send;

/// Something that goes wrong with changes.
pub struct Fault {
    hits: Box<Predicate>,
    /// How many that fit are let pass first.
    skip: usize,
    /// How many it befalls then.
    times: usize,
    effect: Effect,
}

/// What goes wrong with a change.
#[derive(Debug, Clone)]
pub enum Effect {
    /// It is refused: nothing happens.
    Refuse(OpError),
    /// It happens, but an error is reported, as if the answer came after the deadline.
    Lose(OpError),
    /// It happens so much later.
    Delay(Duration),
}

/// What goes wrong with looking at the kernel.
pub type ObserveFault = Box<dyn FnMut(&Kinds) -> Option<ObserveError> + Send>;

impl Fault {
    /// A fault that befalls all changes that fit.
    pub fn always(fits: impl Fn(&Op) -> bool + Send + 'static, effect: Effect) -> Self {
        Self {
            hits: Box::new(fits),
            skip: 0,
            times: usize::MAX,
            effect,
        }
    }

    /// A fault that befalls the first change that fits.
    pub fn once(fits: impl Fn(&Op) -> bool + Send + 'static, effect: Effect) -> Self {
        Self {
            times: 1,
            ..Self::always(fits, effect)
        }
    }

    /// A fault that befalls one change, after so many other changes from now on.
    #[must_use]
    pub fn after(others: usize, effect: Effect) -> Self {
        Self {
            skip: others,
            ..Self::once(|_| true, effect)
        }
    }

    fn befall(&mut self, op: &Op) -> Option<Effect> {
        if self.times == 0 || !(self.hits)(op) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times = self.times.saturating_sub(1);
        Some(self.effect.clone())
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hits: _,
            skip,
            times,
            effect,
        } = self;
        f.debug_struct("Fault")
            .field("skip", skip)
            .field("times", times)
            .field("effect", effect)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake")
            .field("kernel", &self.state().kernel)
            .finish_non_exhaustive()
    }
}

impl Fake {
    /// A data plane on this kernel.
    #[must_use]
    pub fn new(kernel: Kernel) -> Self {
        let fake = Self::default();
        fake.state().kernel = kernel;
        fake
    }

    /// The kernel as it is now.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.state().kernel.clone()
    }

    /// Changes the kernel behind podnet's back; the watcher hears what to look at.
    pub fn tamper<R>(&self, kind: Kind, tamper: impl FnOnce(&mut Kernel) -> R) -> R {
        let mut state = self.state();
        let result = tamper(&mut state.kernel);
        state.tell(kind);
        result
    }

    /// Changes the kernel behind podnet's back, without a word to the watcher.
    pub fn tamper_silently<R>(&self, tamper: impl FnOnce(&mut Kernel) -> R) -> R {
        tamper(&mut self.state().kernel)
    }

    /// Lets changes go wrong. Where several faults befall a change, the first one counts.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Lets looking at the kernel go wrong where `fault` says so.
    pub fn inject_on_observe(
        &self,
        fault: impl FnMut(&Kinds) -> Option<ObserveError> + Send + 'static,
    ) {
        self.state().observe_fault = Some(Box::new(fault));
    }

    /// Lets nothing go wrong any more.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.observe_fault = None;
    }

    /// The changes that were tried since the last call, in order.
    #[must_use]
    pub fn take_attempts(&self) -> Vec<Op> {
        std::mem::take(&mut self.state().attempts)
    }

    /// What was looked at since the last call, in order.
    #[must_use]
    pub fn take_observations(&self) -> Vec<Kinds> {
        std::mem::take(&mut self.state().observations)
    }

    async fn apply_one(&self, op: &Op) -> Result<Made, OpError> {
        let effect = {
            let mut state = self.state();
            state.attempts.push(op.clone());
            state.faults.iter_mut().find_map(|fault| fault.befall(op))
        };
        match effect {
            None => self.state().kernel.apply(op),
            Some(Effect::Refuse(error)) => Err(error),
            Some(Effect::Lose(error)) => {
                // Whether the kernel did it is not reported.
                let _ = self.state().kernel.apply(op);
                Err(error)
            }
            Some(Effect::Delay(delay)) => {
                time::sleep(delay).await;
                self.state().kernel.apply(op)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere reports itself what went wrong.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self, kind: Kind) {
        let Some(watcher) = &self.watcher else { return };
        let kind = if self.missed { Kind::Everything } else { kind };
        let change = Change {
            kind,
            what: "a test changed it".to_owned(),
            by: BTreeSet::new(),
        };
        self.missed = watcher.try_send(change).is_err();
    }
}

#[async_trait]
impl Dataplane for Fake {
    async fn observe(&self, kinds: &Kinds) -> Result<Observed, ObserveError> {
        let mut state = self.state();
        state.observations.push(kinds.clone());
        if let Some(error) = state.observe_fault.as_mut().and_then(|fault| fault(kinds)) {
            return Err(error);
        }
        Ok(state.kernel.observe(kinds))
    }

    async fn apply(&self, ops: &[Op]) -> Vec<Result<Made, OpError>> {
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(self.apply_one(op).await);
        }
        results
    }

    /// A model has no namespaces to do anything in.
    async fn inside(
        &self,
        _netns: &Path,
        _inode: u64,
        work: Box<dyn FnOnce() + Send>,
    ) -> Result<(), ObserveError> {
        drop(work);
        Ok(())
    }

    async fn watch(&self) -> Result<mpsc::Receiver<Change>, ObserveError> {
        let (watcher, changes) = mpsc::channel(WAITING_CHANGES);
        self.state().watcher = Some(watcher);
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use podnet_core::kernel::{IfName, Mtu, OpErrorKind, RouteKey, firewall, route};

    use super::*;

    fn busy() -> OpError {
        OpError::new(OpErrorKind::Busy, "busy")
    }

    fn ops() -> [Op; 3] {
        let key = RouteKey::to("10.244.1.0/24".parse().unwrap());
        [
            Op::Route(route::Op::Delete(key)),
            Op::Firewall(firewall::Op::Remove),
            Op::Route(route::Op::Delete(key)),
        ]
    }

    #[tokio::test]
    async fn faults_befall_what_they_are_told_to() {
        let fake = Fake::default();
        let is_route = |op: &Op| matches!(op, Op::Route(route::Op::Delete(_)));
        fake.inject(Fault::once(is_route, Effect::Refuse(busy())));
        assert_eq!(
            fake.apply(&ops()).await,
            [Err(busy()), Ok(Made::Nothing), Ok(Made::Nothing)]
        );
        fake.inject(Fault::after(1, Effect::Lose(busy())));
        assert_eq!(
            fake.apply(&ops()).await,
            [Ok(Made::Nothing), Err(busy()), Ok(Made::Nothing)]
        );
        fake.inject(Fault::always(is_route, Effect::Refuse(busy())));
        assert_eq!(
            fake.apply(&ops()).await,
            [Err(busy()), Ok(Made::Nothing), Err(busy())]
        );
        fake.heal();
        assert_eq!(
            fake.apply(&ops()).await,
            [Ok(Made::Nothing), Ok(Made::Nothing), Ok(Made::Nothing)]
        );
        assert_eq!(fake.take_attempts().len(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_change_runs_into_the_deadline() {
        let fake = Fake::default();
        fake.inject(Fault::after(0, Effect::Delay(Duration::from_secs(60))));
        let ops = ops();
        let slow = time::timeout(Duration::from_secs(5), fake.apply(&ops));
        assert!(slow.await.is_err());
    }

    #[tokio::test]
    async fn the_watcher_hears_what_to_look_at() {
        let fake = Fake::default();
        let mut changes = fake.watch().await.unwrap();
        let eth0: IfName = "eth0".parse().unwrap();
        fake.tamper(Kind::Underlay, |kernel| kernel.add_link(&eth0, Mtu(1500)));
        assert_eq!(changes.recv().await.unwrap().kind, Kind::Underlay);
        for _ in 0..=WAITING_CHANGES {
            fake.tamper(Kind::Routes, |_| ());
        }
        while changes.try_recv().is_ok() {}
        fake.tamper(Kind::Routes, |_| ());
        assert_eq!(changes.recv().await.unwrap().kind, Kind::Everything);
    }

    #[tokio::test]
    async fn a_look_that_fails_tells_nothing() {
        let fake = Fake::default();
        fake.inject_on_observe(|kinds| {
            let asked = kinds.has(&Kind::Firewall);
            asked.then_some(ObserveError::Timeout { what: "firewall" })
        });
        let firewall = Kinds::from([Kind::Firewall]);
        assert!(fake.observe(&firewall).await.is_err());
        let bridge = Kinds::from([Kind::Bridge]);
        assert!(fake.observe(&bridge).await.is_ok());
    }
}
