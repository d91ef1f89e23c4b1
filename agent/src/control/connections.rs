//! The connections that are served at a time: never more than there is room for, and never all of
//! them by clients that ask nothing, or that ask without end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Whether the agent is at work for a connection, and whether another waits for its place.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    under_way: Arc<AtomicBool>,
    done: Arc<Notify>,
    others_wait: Arc<AtomicBool>,
}

impl Work {
    /// Says so until the guard is dropped.
    pub(super) fn begin(&self) -> WorkGuard<'_> {
        self.under_way.store(true, Ordering::Relaxed);
        WorkGuard(self)
    }

    /// Whether another client waits for a place. Then a connection has one answer more: its client may
    /// have sent thousands of requests at once.
    pub(super) fn others_wait(&self) -> bool {
        self.others_wait.load(Ordering::Relaxed)
    }
}

/// The agent is at work for a connection.
pub(super) struct WorkGuard<'a>(&'a Work);

impl Drop for WorkGuard<'_> {
    fn drop(&mut self) {
        self.0.under_way.store(false, Ordering::Relaxed);
        self.0.done.notify_one();
    }
}

#[derive(Debug)]
struct Connection {
    task: AbortHandle,
    work: Work,
    since: Instant,
}

impl Connection {
    fn waits(&self) -> bool {
        !self.work.under_way.load(Ordering::Relaxed)
    }
}

/// The connections, the first that came in front. Those that are left end with this.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    patience: Duration,
    tasks: JoinSet<()>,
    open: VecDeque<Connection>,
    done: Arc<Notify>,
    others_wait: Arc<AtomicBool>,
}

impl Connections {
    /// None yet, and at most so many. Each has as long to ask something as `patience` says, however
    /// many more there are.
    pub(super) fn at_most(most: usize, patience: Duration) -> Self {
        Self {
            most,
            patience,
            tasks: JoinSet::new(),
            open: VecDeque::new(),
            done: Arc::default(),
            others_wait: Arc::default(),
        }
    }

    /// Makes room for one more. If there is none, the first that came goes, of those that had
    /// time to ask something and that the agent is not at work for: they are waited for, or wait
    /// themselves. While there is none of these, this waits.
    pub(super) async fn make_room(&mut self) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.open
                .retain(|connection| !connection.task.is_finished());
            if self.open.len() < self.most {
                self.others_wait.store(false, Ordering::Relaxed);
                return;
            }
            self.others_wait.store(true, Ordering::Relaxed);
            let first = self.open.iter().position(Connection::waits);
            let due = first.map(|first| self.open[first].since + self.patience);
            if due.is_some_and(|due| due <= Instant::now()) {
                if let Some(connection) = first.and_then(|first| self.open.remove(first)) {
                    tracing::debug!("control socket: a connection makes room for another");
                    connection.task.abort();
                }
                continue;
            }
            let overdue = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.done.notified() => {}
                _ = self.tasks.join_next() => {}
                () = overdue => {}
            }
        }
    }

    /// Lets those go that had time to ask something and that the agent is not at work for. Returns how many.
    pub(super) fn let_idle_go(&mut self) -> usize {
        let before = self.open.len();
        let now = Instant::now();
        self.open.retain(|connection| {
            let idle = connection.waits() && connection.since + self.patience <= now;
            if idle {
                connection.task.abort();
            }
            !idle
        });
        before - self.open.len()
    }

    /// Serves one more.
    pub(super) fn add<F>(&mut self, serve: impl FnOnce(Work) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let work = Work {
            under_way: Arc::default(),
            done: Arc::clone(&self.done),
            others_wait: Arc::clone(&self.others_wait),
        };
        let task = self.tasks.spawn(serve(work.clone()));
        self.open.push_back(Connection {
            task,
            work,
            since: Instant::now(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::task::Poll;

    use tokio::sync::oneshot;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    #[tokio::test]
    async fn the_first_that_waits_makes_room_and_work_is_not_interrupted() {
        let mut connections = Connections::at_most(3, Duration::ZERO);
        let mut ended = Vec::new();
        let (finish, finished) = oneshot::channel::<()>();
        let mut finished = Some(finished);
        for number in 0..3 {
            connections.make_room().await;
            let (alive, end) = oneshot::channel::<()>();
            ended.push(end);
            let finished = if number == 0 { finished.take() } else { None };
            connections.add(move |work| async move {
                let _alive = alive;
                if let Some(finished) = finished {
                    let guard = work.begin();
                    let _ = finished.await;
                    drop(guard);
                }
                pending::<()>().await;
            });
        }
        tokio::task::yield_now().await;
        connections.make_room().await;
        assert!(ended.remove(1).await.is_err(), "the second came first");
        connections.add(|work| async move {
            let _guard = work.begin();
            pending::<()>().await;
        });
        tokio::task::yield_now().await;
        connections.make_room().await;
        assert!(ended.remove(1).await.is_err(), "then the third");
        connections.add(|work| async move {
            let _guard = work.begin();
            pending::<()>().await;
        });
        tokio::task::yield_now().await;
        {
            let mut room = std::pin::pin!(connections.make_room());
            let first = std::future::poll_fn(|context| Poll::Ready(room.as_mut().poll(context)));
            assert!(first.await.is_pending(), "all are worked for");
            finish.send(()).unwrap();
            room.await;
        }
        assert!(ended.remove(0).await.is_err(), "the first is done");
    }

    #[tokio::test]
    async fn idle_ones_go_together_and_work_is_not_interrupted() {
        for (patience, idle_go) in [(Duration::ZERO, 2), (Duration::from_secs(3600), 0)] {
            let mut connections = Connections::at_most(3, patience);
            let mut ended = Vec::new();
            for works in [false, true, false] {
                let (alive, end) = oneshot::channel::<()>();
                ended.push(end);
                connections.add(move |work| async move {
                    let _alive = alive;
                    let _guard = works.then(|| work.begin());
                    pending::<()>().await;
                });
            }
            tokio::task::yield_now().await;
            assert_eq!(connections.let_idle_go(), idle_go);
            assert_eq!(connections.let_idle_go(), 0, "they are gone");
            tokio::task::yield_now().await;
            let gone = ended.iter_mut().map(oneshot::Receiver::try_recv);
            let gone: Vec<bool> = gone.map(|end| end != Err(TryRecvError::Empty)).collect();
            assert_eq!(gone, [idle_go > 0, false, idle_go > 0]);
        }
    }

    #[tokio::test]
    async fn whoever_has_just_come_has_time_to_ask() {
        let mut connections = Connections::at_most(1, Duration::from_secs(3600));
        let (close, closed) = oneshot::channel::<()>();
        connections.add(|_| async move { drop(closed.await) });
        tokio::task::yield_now().await;
        let mut room = std::pin::pin!(connections.make_room());
        let first = std::future::poll_fn(|context| Poll::Ready(room.as_mut().poll(context)));
        assert!(first.await.is_pending(), "it has not asked yet");
        close.send(()).unwrap();
        room.await;
    }
}
