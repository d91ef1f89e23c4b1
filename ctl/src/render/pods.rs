//! Pods as text.

use podnet_proto::api::{Pod, PodState};

use super::table::{Column, facts, table};
use super::text::{NOTHING, joined};

const COLUMNS: [Column<Pod>; 8] = [
    Column::new("NAME", |pod| pod.name.to_string()),
    Column::new("STATE", |pod| state(pod.state).to_owned()),
    Column::new("ADDRESS", |pod| joined(&pod.addresses)),
    Column::wide("MAC", |pod| or_nothing(&pod.mac)),
    Column::wide("MTU", |pod| pod.mtu.to_string()),
    Column::wide("INTERFACE", |pod| or_nothing(&pod.host_ifname)),
    Column::new("NETNS", |pod| or_nothing(&pod.netns)),
    Column::wide("CREATED", |pod| or_nothing(&pod.created_at)),
];

/// The list of pods.
pub(crate) fn pods(pods: &[Pod], wide: bool) -> String {
    table(&COLUMNS, pods, wide)
}

/// One pod.
pub(crate) fn pod(pod: &Pod) -> String {
    let labels: Vec<String> = pod
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    facts(&[
        ("Name", pod.name.to_string()),
        ("Node", pod.node.to_string()),
        ("State", state(pod.state).to_owned()),
        ("Address", joined(&pod.addresses)),
        ("Gateway", joined(&pod.gateways)),
        ("MAC", or_nothing(&pod.mac)),
        ("MTU", pod.mtu.to_string()),
        ("Namespace", or_nothing(&pod.netns)),
        ("Interface", or_nothing(&pod.ifname)),
        ("Host interface", or_nothing(&pod.host_ifname)),
        ("Created", or_nothing(&pod.created_at)),
        ("Labels", joined(&labels)),
        ("Trusted", if pod.trusted { "yes" } else { "no" }.to_owned()),
    ])
}

fn or_nothing(text: &str) -> String {
    if text.is_empty() { NOTHING } else { text }.to_owned()
}

const fn state(state: PodState) -> &'static str {
    match state {
        PodState::Ready => "ready",
        PodState::Gone => "gone",
        PodState::Fenced => "fenced",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn red() -> Pod {
        serde_json::from_str(
            r#"{"name":"red","node":"node1","state":"ready","addresses":["10.244.0.2/24"],
            "gateways":["10.244.0.1"],"mac":"0a:58:0a:f4:00:02","mtu":1500,
            "netns":"/run/netns/red","ifname":"eth0","host_ifname":"pn0a1b2c3d",
            "created_at":"2026-01-02T03:04:05Z","labels":{},"trusted":true}"#,
        )
        .unwrap()
    }

    #[test]
    fn the_list_has_one_line_for_each_pod() {
        let gone = Pod {
            state: PodState::Gone,
            addresses: vec![],
            ..red()
        };
        assert_eq!(
            pods(&[red(), gone], false),
            "NAME  STATE  ADDRESS        NETNS\n\
             red   ready  10.244.0.2/24  /run/netns/red\n\
             red   gone   -              /run/netns/red\n"
        );
        assert!(pods(&[red()], true).contains("0a:58:0a:f4:00:02"));
    }

    #[test]
    fn one_pod_shows_all_there_is() {
        let text = pod(&red());
        for line in [
            "Name:            red",
            "Gateway:         10.244.0.1",
            "Labels:          -",
            "Trusted:         yes",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} not in {text}");
        }
    }
}
