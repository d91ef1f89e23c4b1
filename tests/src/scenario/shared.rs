//! What several tests of one program have in common.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Something that tests share, each of which leaves it as it found it: most of what a short test takes
/// is the making of its cluster. It is made for the first test, and goes with the last of those that run
/// at the same time.
pub struct Shared<T> {
    make: fn() -> T,
    made: Mutex<Weak<T>>,
}

impl<T> Shared<T> {
    /// Something that is made like this, once a test wants it.
    #[must_use]
    pub const fn new(make: fn() -> T) -> Self {
        Self {
            make,
            made: Mutex::new(Weak::new()),
        }
    }

    /// It, for as long as the test keeps this.
    #[must_use]
    #[track_caller]
    pub fn get(&self) -> Arc<T> {
        // A making that failed has left nothing behind.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.upgrade().unwrap_or_else(|| {
            let new = Arc::new((self.make)());
            *made = Arc::downgrade(&new);
            new
        })
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_for_all_that_have_it_and_anew_for_the_next() {
        static SHARED: Shared<String> = Shared::new(|| "made".to_owned());
        let first = SHARED.get();
        assert!(Arc::ptr_eq(&first, &SHARED.get()));
        let gone = Arc::downgrade(&first);
        drop(first);
        assert!(gone.upgrade().is_none());
        assert_eq!(*SHARED.get(), "made");
    }
}
