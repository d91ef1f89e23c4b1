//! A ping every 10 ms, and which of them had no answer.

use crate::node::Node;

/// A running ping from a node's pod.
#[derive(Debug)]
pub(crate) struct Flow<'c> {
    node: Node<'c>,
    unit: String,
}

impl<'c> Flow<'c> {
    /// Starts it, and waits for its first answer.
    #[track_caller]
    pub(crate) fn start(node: Node<'c>, target: &str) -> Self {
        let unit = format!("flow-{target}");
        let pod = node.pod();
        // Not by `podnetctl`: it goes on while no agent is there.
        node.sh(&format!(
            "systemd-run -q --unit={unit} --collect -p StandardOutput=truncate:/run/{unit} \
             ip netns exec {pod} ping -n -i 0.01 {target}"
        ));
        node.wait_sh(&format!("grep -q 'icmp_seq=' /run/{unit}"));
        Self { node, unit }
    }

    /// Waits for so many more answers.
    #[track_caller]
    pub(crate) fn go_on(&self, answers: u32) {
        let file = format!("/run/{}", self.unit);
        let before: u32 = self.node.sh(&format!("wc -l < {file}")).parse().unwrap();
        let least = before + answers;
        self.node
            .wait_sh(&format!("test $(wc -l < {file}) -ge {least}"));
    }

    /// Ends it, and returns how many pings it sent up to its last answer, and how many of these
    /// had none.
    #[track_caller]
    pub(crate) fn end(self) -> Count {
        let unit = &self.unit;
        self.node.sh(&format!("systemctl stop {unit}"));
        count(&self.node.sh(&format!("cat /run/{unit}")))
    }
}

/// How many pings there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// With or without an answer.
    pub(crate) sent: usize,
    /// Without one.
    pub(crate) lost: usize,
}

/// Reads the output of `ping`: `64 bytes from 10.244.1.2: icmp_seq=7 ttl=62 time=0.9 ms`. Numbers
/// begin at 1, and begin again after 65535.
fn count(output: &str) -> Count {
    let numbers = output
        .lines()
        .filter(|line| line.contains("bytes from") && !line.contains("DUP!"))
        .filter_map(|line| {
            line.split_once("icmp_seq=")?
                .1
                .split_once(' ')?
                .0
                .parse()
                .ok()
        });
    let (mut sent, mut answered, mut last) = (0_usize, 0_usize, 0_u16);
    for number in numbers {
        let number: u16 = number;
        // An answer that came late is behind the last one.
        let step = number.wrapping_sub(last);
        if step < u16::MAX / 2 {
            sent += usize::from(step);
            last = number;
        }
        answered += 1;
    }
    Count {
        sent,
        lost: sent - answered,
    }
}
