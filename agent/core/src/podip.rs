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
/// first the lowest that was never used, then the one that was freed longest ago. Addresses that are
/// kept for pods which may come back are given to other pods only if there is no other.
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
    /// Whether another pod had it before: then the old connections must be removed.
    pub reused: bool,
    /// Its place among the freed addresses.
    place: usize,
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

    /// Takes an address for a pod; one that is `kept` for another pod only if there is no other.
    ///
    /// # Errors
    /// When none is free.
    pub fn take(&mut self, kept: &BTreeSet<Ipv4Addr>) -> Result<Taken, BlockFull> {
        let taken = if self.gives(self.fresh) {
            Taken {
                address: self.fresh,
                reused: false,
                place: 0,
            }
        } else {
            let free = self.freed.iter().position(|freed| !kept.contains(freed));
            self.take_freed(free.unwrap_or(0)).ok_or(BlockFull {
                block: self.block,
                capacity: self.used.len(),
            })?
        };
        self.used.insert(taken.address);
        self.pass_known();
        Ok(taken)
    }

    /// Takes the address that a pod had before; `None` if another pod has it by now.
    pub fn take_again(&mut self, address: Ipv4Addr) -> Option<Taken> {
        let place = self.freed.iter().position(|freed| *freed == address)?;
        let taken = self.take_freed(place)?;
        self.used.insert(address);
        Some(taken)
    }

    fn take_freed(&mut self, place: usize) -> Option<Taken> {
        Some(Taken {
            address: self.freed.remove(place)?,
            reused: true,
            place,
        })
    }

    /// Gives an address back. If it was not taken, nothing changes.
    pub fn free(&mut self, address: Ipv4Addr) {
        if self.used.remove(&address) {
            self.freed.push_back(address);
        }
    }

    /// Undoes the last taking of an address, for a pod that could not be attached: as if it had not been taken.
    pub fn undo(&mut self, taken: Taken) {
        if !self.used.remove(&taken.address) {
            return;
        }
        if taken.reused {
            let place = taken.place.min(self.freed.len());
            self.freed.insert(place, taken.address);
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
        let taken: Vec<_> = (0..5)
            .map(|_| last(pool.take(&BTreeSet::new()).unwrap().address))
            .collect();
        assert_eq!(taken, [2, 3, 4, 5, 6]);
        assert_eq!(
            pool.take(&BTreeSet::new()).unwrap_err().to_string(),
            "all 5 pod addresses of 10.244.0.0/29 are in use"
        );
        pool.free(Ipv4Addr::new(10, 244, 0, 5));
        pool.free(Ipv4Addr::new(10, 244, 0, 3));
        let again = pool.take(&BTreeSet::new()).unwrap();
        assert_eq!((last(again.address), again.reused), (5, true));
        assert_eq!(last(pool.take(&BTreeSet::new()).unwrap().address), 3);
    }

    #[test]
    fn a_freed_address_rests_while_others_were_never_used() {
        let mut pool = pool("10.244.0.0/24");
        let first = pool.take(&BTreeSet::new()).unwrap().address;
        pool.free(first);
        assert_eq!(last(pool.take(&BTreeSet::new()).unwrap().address), 3);
    }

    /// A pod that comes back gets the address that it had, as long as no other pod needs it.
    #[test]
    fn what_is_kept_is_given_to_others_last() {
        let mut pool = pool("10.244.0.0/29");
        let nothing = BTreeSet::new();
        let all: Vec<Ipv4Addr> = (0..5)
            .map(|_| pool.take(&nothing).unwrap().address)
            .collect();
        for address in &all[..3] {
            pool.free(*address);
        }
        let kept = BTreeSet::from([all[0]]);
        let before = pool.clone();
        // What was taken last is undone first.
        let taken = [pool.take(&kept).unwrap(), pool.take_again(all[2]).unwrap()];
        for taken in taken.into_iter().rev() {
            assert!(taken.reused);
            pool.undo(taken);
        }
        assert_eq!(pool, before, "as if nothing had been taken");
        assert_eq!(pool.take(&kept).unwrap().address, all[1]);
        assert_eq!(pool.take_again(all[0]).unwrap().address, all[0]);
        assert_eq!(pool.take_again(all[0]), None);
        pool.free(all[0]);
        let rest = BTreeSet::from([all[0], all[2]]);
        assert_eq!(pool.take(&rest).unwrap().address, all[2]);
        assert_eq!(pool.take(&rest).unwrap().address, all[0]);
        assert!(pool.take(&rest).is_err());
        assert_eq!(pool.take_again(Ipv4Addr::new(10, 9, 9, 9)), None);
    }

    #[test]
    fn the_smallest_block_holds_one_pod() {
        let mut pool = pool("10.0.0.4/30");
        assert_eq!(last(pool.take(&BTreeSet::new()).unwrap().address), 6);
        assert!(pool.take(&BTreeSet::new()).is_err());
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
        let taken = pool.take(&BTreeSet::new()).unwrap();
        pool.undo(taken);
        assert_eq!(pool, fresh);
        let all: Vec<Taken> = std::iter::from_fn(|| pool.take(&BTreeSet::new()).ok()).collect();
        for taken in &all {
            pool.free(taken.address);
        }
        let freed = pool.clone();
        let again = pool.take(&BTreeSet::new()).unwrap();
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
                    match pool.take(&BTreeSet::new()) {
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
