//! Doing the same for many members at once.

use std::sync::Mutex;
use std::thread;

use crate::error::LabError;

/// How many at once: they wait for processes most of the time, so more than there are processors,
/// but 250 at once would only stand in each other's way.
const WIDTH: usize = 16;

/// Does something for each item and returns the results in the order of the items.
///
/// # Errors
/// The first error; the items that were begun by then are finished.
pub(crate) fn for_each<I: Send, T: Send>(
    items: impl Iterator<Item = I> + Send,
    work: impl Fn(I) -> Result<T, LabError> + Sync,
) -> Result<Vec<T>, LabError> {
    let queue = Mutex::new(items.enumerate());
    let done = Mutex::new(Vec::new());
    let failed = Mutex::new(None);
    let worker = || {
        while lock(&failed).is_none() {
            let Some((index, item)) = lock(&queue).next() else {
                return;
            };
            match work(item) {
                Ok(value) => lock(&done).push((index, value)),
                Err(error) => {
                    lock(&failed).get_or_insert(error);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..WIDTH {
            scope.spawn(worker);
        }
    });
    if let Some(error) = lock(&failed).take() {
        return Err(error);
    }
    let mut done = std::mem::take(&mut *lock(&done));
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, value)| value).collect())
}

/// A worker that panics takes the scope with it, so nobody sees what it left half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_an_error_ends_the_work() {
        let doubled = for_each(0..100, |n| Ok(n * 2)).unwrap();
        assert_eq!(doubled, (0..100).map(|n| n * 2).collect::<Vec<_>>());
        let failed = for_each(0..100, |n| {
            if n == 7 {
                Err(LabError::Interrupted)
            } else {
                Ok(n)
            }
        });
        assert!(matches!(failed, Err(LabError::Interrupted)));
    }
}
