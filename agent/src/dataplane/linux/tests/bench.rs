//! Measurements, to be run by hand: `cargo test --release -p podnet-agent bench -- --ignored
//! --nocapture`.

use std::time::{Duration, Instant};

use futures::future::join_all;
use podnet_core::kernel::{Netns, Op, PodLink};

use super::harness::{on_a_host, pod, run, with_bridge};
use crate::dataplane::Dataplane;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn detach(pod: &PodLink) -> Op {
    Op::DetachPod {
        host_ifname: pod.host_ifname.clone(),
        netns: pod.netns.made.then(|| pod.netns.path.clone()),
    }
}

#[test]
#[ignore = "a measurement"]
fn bench_pods() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        let pods: Vec<_> = (2..102).map(|n| pod(&format!("p{n}"), n)).collect();
        for round in ["first", "second"] {
            let mut times = Vec::new();
            for pod in &pods {
                let begin = Instant::now();
                linux.apply(&[Op::AttachPod(pod.clone())]).await[0]
                    .clone()
                    .unwrap();
                times.push(begin.elapsed());
            }
            println!("{round}: attach, one by one: median {:?}", median(times));
            let removals: Vec<_> = pods.iter().map(detach).collect();
            let begin = Instant::now();
            assert!(linux.apply(&removals).await.iter().all(Result::is_ok));
            println!("{round}: detach 100 at once: {:?}", begin.elapsed());
        }
        let theirs: Vec<_> = pods
            .iter()
            .map(|pod| {
                run(&format!("ip netns add {}", pod.pod));
                let netns = Netns {
                    made: false,
                    ..pod.netns.clone()
                };
                PodLink {
                    netns,
                    ..pod.clone()
                }
            })
            .collect();
        let mut times = Vec::new();
        for pod in &theirs {
            let begin = Instant::now();
            linux.apply(&[Op::AttachPod(pod.clone())]).await[0]
                .clone()
                .unwrap();
            times.push(begin.elapsed());
        }
        println!(
            "attach to a namespace that is there: median {:?}",
            median(times)
        );
        let removals: Vec<_> = theirs.iter().map(detach).collect();
        assert!(linux.apply(&removals).await.iter().all(Result::is_ok));
        let attach: Vec<_> = theirs.iter().cloned().map(Op::AttachPod).collect();
        let begin = Instant::now();
        assert!(linux.apply(&attach).await.iter().all(Result::is_ok));
        println!(
            "attach 100 at once to namespaces that are there: {:?}",
            begin.elapsed()
        );
        let removals: Vec<_> = pods.iter().map(detach).collect();
        assert!(linux.apply(&removals).await.iter().all(Result::is_ok));

        let attach: Vec<_> = pods.iter().cloned().map(Op::AttachPod).collect();
        let begin = Instant::now();
        assert!(linux.apply(&attach).await.iter().all(Result::is_ok));
        println!("attach 100 at once: {:?}", begin.elapsed());

        let mut times = Vec::new();
        for number in 0..20 {
            run(&format!("ip netns add by-ip-{number}"));
            let inside = format!("ip -n by-ip-{number}");
            let begin = Instant::now();
            run(&format!(
                "ip link add v{number} type veth peer name eth0 netns by-ip-{number}"
            ));
            run(&format!("ip link set v{number} master podnet0 up"));
            run(&format!("{inside} link set lo up"));
            run(&format!("{inside} address add 10.244.0.250/24 dev eth0"));
            run(&format!("{inside} link set eth0 up"));
            run(&format!("{inside} route add default via 10.244.0.1"));
            times.push(begin.elapsed());
        }
        println!(
            "attach by ip, to a namespace that is there: median {:?}",
            median(times)
        );

        let mut times = Vec::new();
        for pod in &pods[..8] {
            let begin = Instant::now();
            linux.apply(&[detach(pod)]).await[0].clone().unwrap();
            times.push(begin.elapsed());
        }
        println!("detach, one by one: median {:?}", median(times));
        let begin = Instant::now();
        for pod in &pods[8..16] {
            run(&format!("ip link del {}", pod.host_ifname));
            run(&format!("ip netns del {}", pod.pod));
        }
        println!("detach 8 one by one with ip: {:?}", begin.elapsed());
        let calls: Vec<_> = pods[16..24].iter().map(|pod| vec![detach(pod)]).collect();
        let begin = Instant::now();
        join_all(calls.iter().map(|ops| linux.apply(ops))).await;
        println!("detach 8 by 8 calls at once: {:?}", begin.elapsed());
        let removals: Vec<_> = pods[24..32].iter().map(detach).collect();
        let begin = Instant::now();
        assert!(linux.apply(&removals).await.iter().all(Result::is_ok));
        println!("detach 8 by one call: {:?}", begin.elapsed());
    });
}
