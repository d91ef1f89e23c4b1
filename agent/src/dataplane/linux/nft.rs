//! The program `nft`, as a child with a deadline: it changes tables as a whole and shows them.

use std::sync::atomic::{AtomicU32, Ordering};

use super::firewall::iptables::{ProgramError, run};
use crate::fault;

/// The program.
const NFT: &str = "nft";

/// What `nft` shows as JSON.
pub(super) async fn show(arguments: &[&str]) -> Result<String, ProgramError> {
    run(NFT, &[&["-j"], arguments].concat(), "", |_| ()).await
}

/// Applies a script: all of it or nothing. `process` is set to the number of the process that does it.
pub(super) async fn apply(script: &str, process: &AtomicU32) -> Result<(), ProgramError> {
    let started = |number| process.store(number, Ordering::Relaxed);
    let applied = run(NFT, &["-f", "-"], script, started).await;
    fault::point("end of nft");
    applied.map(drop)
}

/// Asks whether a script could be applied.
pub(super) async fn check(script: &str) -> Result<(), ProgramError> {
    run(NFT, &["-c", "-f", "-"], script, |_| ()).await.map(drop)
}
