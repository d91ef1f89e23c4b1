//! Waiting, and doing the same for many at once.

use std::fmt::Debug;
use std::thread;
use std::time::Duration;

use crate::wait::eventually;

/// How long anything may take that has to happen.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits until something that is looked at again and again is as it should be.
#[track_caller]
pub fn until<T: PartialEq + Debug>(what: &str, wanted: &T, mut look: impl FnMut() -> T) {
    let found = eventually(LIMIT, what, || {
        let found = look();
        if found == *wanted {
            Ok(())
        } else {
            Err(format!("{found:?} instead of {wanted:?}"))
        }
    });
    if let Err(error) = found {
        panic!("{error}");
    }
}

/// Does the same for many at once, and returns the results in their order.
pub fn at_once<I: Send, T: Send>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> T + Sync,
) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .into_iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}
