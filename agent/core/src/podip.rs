//! Addresses of pods in the node's block.

use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

/// No address of the block is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all {capacity} pod addresses of {block} are in use")]
pub struct BlockFull {
    /// The block.
    pub block: Ipv4Network,
    /// How many pods it holds.
    pub capacity: usize,
}

/// The addresses of a block, and which pods hold them. Never gives out the network address, the
/// gateway or the broadcast address. An address that a pod gave back rests as long as possible:
/// first the lowest that was never used, then the one that was freed longest ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    block: Ipv4Network,
    used: BTreeSet<Ipv4Addr>,
    freed: VecDeque<Ipv4Addr>,
    /// The lowest address that no pod ever had; the broadcast address once there is none.
    fresh: Ipv4Addr,
}

/// An address from [`Pool::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The address.
    pub address: Ipv4Addr,
    /// Whether another pod had it before: then its old connections must be forgotten.
    pub reused: bool,
}

impl Pool {
    /// The pool of a block with these addresses in use, and those freed, the earliest first. What
    /// is outside of the block, or both used and freed, does not count.
    #[must_use]
    pub fn new(
        block: Ipv4Network,
        used: impl IntoIterator<Item = Ipv4Addr>,
        freed: impl IntoIterator<Item = Ipv4Addr>,
    ) -> Self {
        let mut pool = Self {
            block,
            used: BTreeSet::new(),
            freed: VecDeque::new(),
            fresh: Self::first(block),
        };
        pool.used = used
            .into_iter()
            .filter(|address| pool.gives(*address))
            .collect();
        for address in freed {
            if pool.gives(address)
                && !pool.used.contains(&address)
                && !pool.freed.contains(&address)
            {
                pool.freed.push_back(address);
            }
        }
        pool.pass_known();
        pool
    }

    /// The block.
    #[must_use]
    pub const fn block(&self) -> Ipv4Network {
        self.block
    }

    /// The freed addresses, the earliest first.
    pub fn freed(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.freed.iter().copied()
    }

    /// Takes an address for a pod.
    ///
    /// # Errors
    /// When none is free.
    pub fn take(&mut self) -> Result<Taken, BlockFull> {
        let taken = if self.gives(self.fresh) {
            Taken {
                address: self.fresh,
                reused: false,
            }
        } else {
            let address = self.freed.pop_front().ok_or(BlockFull {
                block: self.block,
                capacity: self.used.len(),
            })?;
            Taken {
                address,
                reused: true,
            }
        };
        self.used.insert(taken.address);
        self.pass_known();
        Ok(taken)
    }

    /// Gives an address back. One that was not taken changes nothing.
    pub fn free(&mut self, address: Ipv4Addr) {
        if self.used.remove(&address) {
            self.freed.push_back(address);
        }
    }

    /// Takes back what was taken last for a pod that did not come to be: as if it had not been taken.
    pub fn undo(&mut self, taken: Taken) {
        if !self.used.remove(&taken.address) {
            return;
        }
        if taken.reused {
            self.freed.push_front(taken.address);
        } else {
            self.fresh = self.fresh.min(taken.address);
        }
    }

    /// Moves on to the next address that no pod ever had.
    fn pass_known(&mut self) {
        while self.used.contains(&self.fresh) || self.freed.contains(&self.fresh) {
            self.fresh = Ipv4Addr::from(u32::from(self.fresh).saturating_add(1));
        }
    }

    /// The first address behind network and gateway.
    fn first(block: Ipv4Network) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(block.network()).saturating_add(2))
    }

    /// Whether pods may have an address: all of the block but network, gateway and broadcast.
    fn gives(&self, address: Ipv4Addr) -> bool {
        (Self::first(self.block)..self.block.broadcast()).contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn pool(block: &str) -> Pool {
        Pool::new(block.parse().unwrap(), [], [])
    }

    fn last(address: Ipv4Addr) -> u8 {
        address.octets()[3]
    }

    #[test]
    fn the_lowest_unused_comes_first_and_the_longest_freed_last() {
        let mut pool = pool("10.244.0.0/29");
        let taken: Vec<_> = (0..5).map(|_| last(pool.take().unwrap().address)).collect();
        assert_eq!(taken, [2, 3, 4, 5, 6]);
        assert_eq!(
            pool.take().unwrap_err().to_string(),
            "all 5 pod addresses of 10.244.0.0/29 are in use"
        );
        pool.free(Ipv4Addr::new(10, 244, 0, 5));
        pool.free(Ipv4Addr::new(10, 244, 0, 3));
        let again = pool.take().unwrap();
        assert_eq!((last(again.address), again.reused), (5, true));
        assert_eq!(last(pool.take().unwrap().address), 3);
    }

    #[test]
    fn a_freed_address_rests_while_others_were_never_used() {
        let mut pool = pool("10.244.0.0/24");
        let first = pool.take().unwrap().address;
        pool.free(first);
        assert_eq!(last(pool.take().unwrap().address), 3);
    }

    #[test]
    fn the_smallest_block_holds_one_pod() {
        let mut pool = pool("10.0.0.4/30");
        assert_eq!(last(pool.take().unwrap().address), 6);
        assert!(pool.take().is_err());
    }

    #[test]
    fn addresses_of_elsewhere_do_not_count() {
        let block = "10.244.0.0/30".parse().unwrap();
        let elsewhere = [
            Ipv4Addr::new(10, 244, 0, 1),
            Ipv4Addr::new(10, 244, 0, 3),
            Ipv4Addr::new(10, 9, 9, 9),
        ];
        let pool = Pool::new(block, elsewhere, elsewhere);
        assert_eq!(pool, Pool::new(block, [], []));
    }

    #[test]
    fn what_is_undone_was_never_taken() {
        let mut pool = Pool::new("10.0.0.0/29".parse().unwrap(), [], []);
        let fresh = pool.clone();
        let taken = pool.take().unwrap();
        pool.undo(taken);
        assert_eq!(pool, fresh);
        let all: Vec<Taken> = std::iter::from_fn(|| pool.take().ok()).collect();
        for taken in &all {
            pool.free(taken.address);
        }
        let freed = pool.clone();
        let again = pool.take().unwrap();
        assert!(again.reused);
        pool.undo(again);
        assert_eq!(pool, freed);
    }

    proptest! {
        /// Against a model: no address twice, none of the reserved ones, the pool is full only
        /// when every address is used, and of two freed ones the earlier comes back first.
        #[test]
        fn no_address_is_given_twice(steps in prop::collection::vec((any::<bool>(), 0u32..16), 1..200)) {
            let block: Ipv4Network = "10.244.7.0/28".parse().unwrap();
            let mut pool = Pool::new(block, [], []);
            let mut freed_at: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
            let mut used = BTreeSet::new();
            for (step, (take, host)) in steps.into_iter().enumerate() {
                if take {
                    match pool.take() {
                        Ok(taken) => {
                            prop_assert!(used.insert(taken.address), "given twice");
                            prop_assert!((2..15).contains(&last(taken.address)));
                            let freed = freed_at.remove(&taken.address);
                            prop_assert_eq!(freed.is_some(), taken.reused);
                            prop_assert!(freed.is_none_or(|at| freed_at.values().all(|other| *other > at)));
                        }
                        Err(_) => prop_assert_eq!(used.len(), 13),
                    }
                } else {
                    let address = Ipv4Addr::from(u32::from(block.network()) + host);
                    pool.free(address);
                    if used.remove(&address) {
                        freed_at.insert(address, step);
                    }
                }
                let again = Pool::new(block, used.iter().copied(), pool.freed());
                prop_assert_eq!(&again, &pool, "the pool survives a restart of the agent");
            }
        }
    }
}
