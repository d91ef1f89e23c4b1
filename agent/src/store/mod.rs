//! What the agent keeps on disk.
//!
//! ```text
//! /var/lib/podnet  identity  the node's key                      made once
//!                  epoch     how often gossip was started        outlives a membership
//!                  ledger    what the claim protocol must keep   written before `cluster`
//!                  cluster   name, keys, networks                its presence makes a member
//!                  peers     where members were last reached
//! /run/podnet      boot, pods/NAME, freed, sysctls               dies with the boot
//! ```
//!
//! Each file is replaced as a whole: written beside, fsynced, renamed, its folder fsynced. A file
//! that is damaged, of another version, or of another node is an error; there is never a silent
//! fresh start.

mod boot;
mod content;
mod dir;
mod file;
#[cfg(test)]
mod fuzz;
mod identity;
mod kind;
mod lock;
mod member;
mod run;

pub use boot::{new_boot, read_boot};
pub use dir::{make_run_dir, make_state_dir, require_possible_dir};
pub use file::StoreError;
pub use identity::{Identity, reset_identity};
pub use kind::Kind;
pub use lock::StateLock;
pub use member::StateDir;
pub use run::RunDir;
