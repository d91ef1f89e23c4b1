//! nftables: the program that changes tables as a whole and shows them, and single elements of sets by messages
//! to the kernel, which takes a hundredth of the time.

mod elements;
mod holding;
mod program;

pub(super) use self::holding::{Held, hold, release};
pub(super) use self::program::show;
