//! Which changes go to one object together.

use podnet_core::kernel::{
    Op, bridge, connections, firewall, forwarding, holding, neighbour, pod, route,
};

/// Changes of one object that follow one another. Which of them go to the kernel together is its own affair.
#[derive(Debug, PartialEq)]
pub(super) enum Batch<'a> {
    Bridge(Vec<&'a bridge::Op>),
    Holding(Vec<&'a holding::Op>),
    Pod(Vec<&'a pod::Op>),
    Neighbour(Vec<&'a neighbour::Op>),
    Firewall(Vec<&'a firewall::Op>),
    Forwarding(Vec<&'a forwarding::Op>),
    Route(Vec<&'a route::Op>),
    Connections(Vec<&'a connections::Op>),
}

impl<'a> Batch<'a> {
    fn of(op: &'a Op) -> Self {
        match op {
            Op::Bridge(op) => Self::Bridge(vec![op]),
            Op::Holding(op) => Self::Holding(vec![op]),
            Op::Pod(op) => Self::Pod(vec![op]),
            Op::Neighbour(op) => Self::Neighbour(vec![op]),
            Op::Firewall(op) => Self::Firewall(vec![op]),
            Op::Forwarding(op) => Self::Forwarding(vec![op]),
            Op::Route(op) => Self::Route(vec![op]),
            Op::Connections(op) => Self::Connections(vec![op]),
        }
    }

    /// Takes another change in; returns whether the two are of one object.
    fn takes(&mut self, op: &'a Op) -> bool {
        match (self, op) {
            (Self::Bridge(ops), Op::Bridge(op)) => ops.push(op),
            (Self::Holding(ops), Op::Holding(op)) => ops.push(op),
            (Self::Pod(ops), Op::Pod(op)) => ops.push(op),
            (Self::Neighbour(ops), Op::Neighbour(op)) => ops.push(op),
            (Self::Firewall(ops), Op::Firewall(op)) => ops.push(op),
            (Self::Forwarding(ops), Op::Forwarding(op)) => ops.push(op),
            (Self::Route(ops), Op::Route(op)) => ops.push(op),
            (Self::Connections(ops), Op::Connections(op)) => ops.push(op),
            (_, _) => return false,
        }
        true
    }
}

/// Cuts changes into batches, in order: each batch's results are those of as many changes.
pub(super) fn batches(ops: &[Op]) -> Vec<Batch<'_>> {
    let mut batches: Vec<Batch<'_>> = Vec::new();
    for op in ops {
        if !batches.last_mut().is_some_and(|last| last.takes(op)) {
            batches.push(Batch::of(op));
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use podnet_core::kernel::RouteKey;

    use super::*;

    #[test]
    fn only_neighbours_in_the_list_go_together() {
        let delete = |text: &str| {
            let key = RouteKey::to(text.parse().unwrap());
            Op::from(route::Op::Delete(key))
        };
        let detach = |name: &str| {
            Op::from(pod::Op::Detach {
                host_ifname: name.parse().unwrap(),
                netns: None,
            })
        };
        let ops = [
            delete("10.1.0.0/24"),
            delete("10.2.0.0/24"),
            detach("pna"),
            detach("pnb"),
            delete("10.3.0.0/24"),
            Op::Firewall(firewall::Op::Remove),
        ];
        let batches = batches(&ops);
        assert!(
            matches!(
                batches.as_slice(),
                [
                    Batch::Route(two),
                    Batch::Pod(pods),
                    Batch::Route(one),
                    Batch::Firewall(_),
                ] if two.len() == 2 && pods.len() == 2 && one.len() == 1
            ),
            "{batches:?}"
        );
    }
}
