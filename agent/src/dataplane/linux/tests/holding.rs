use podnet_core::kernel::{Holding, Kind, Kinds, ObservedHolding, Op, PodLink, holding};

use super::harness::{apply, look, on_a_host, pod, run};
use crate::dataplane::linux::Linux;

async fn observed(linux: &Linux) -> ObservedHolding {
    let kinds = Kinds::from([Kind::Holding]);
    look(linux, kinds).await.holding.unwrap()
}

fn table(holding: Holding) -> ObservedHolding {
    ObservedHolding::Table {
        ruled: true,
        holding,
    }
}

fn hold(pod: &PodLink) -> Op {
    Op::Holding(holding::Op::Hold {
        host_ifname: pod.host_ifname.clone(),
        holding: Holding::of(pod),
    })
}

fn release(pod: &PodLink) -> Op {
    Op::Holding(holding::Op::Release {
        host_ifname: pod.host_ifname.clone(),
        holding: Holding::of(pod),
    })
}

#[test]
fn whoever_comes_or_goes_while_the_table_is_judged_counts() {
    on_a_host(async |linux| {
        let [red, green, blue] = [pod("red", 2), pod("green", 3), pod("blue", 4)];
        assert_eq!(observed(&linux).await, ObservedHolding::Absent);
        // Before there is a table, and after another has looked as well.
        apply(&linux, hold(&blue)).await.unwrap();
        let knows = Op::Holding(holding::Op::Set(Holding::of_all([&red, &green])));
        assert_eq!(observed(&linux).await, ObservedHolding::Absent);
        apply(&linux, release(&green)).await.unwrap();
        apply(&linux, knows).await.unwrap();
        let right = table(Holding::of_all([&red, &blue]));
        assert_eq!(observed(&linux).await, right);
        // It goes without a program, and what came meanwhile is forgotten.
        apply(&linux, Op::Holding(holding::Op::Remove))
            .await
            .unwrap();
        assert!(!run("nft list tables").contains("podnet"));
        apply(&linux, Op::Holding(holding::Op::Set(Holding::of(&red))))
            .await
            .unwrap();
        assert_eq!(observed(&linux).await, table(Holding::of(&red)));
    });
}
