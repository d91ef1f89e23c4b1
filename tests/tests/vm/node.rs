//! A machine as a node: commands on it that have to succeed, and what they show.

use std::time::Duration;

use podnet_lab::command::Output;
use podnet_lab::{LabError, patiently};
use serde_json::Value;

use crate::driver::{FOLDER, Machine};

/// How long anything may take that has to happen: minutes, since three emulated machines on two
/// cores need that where a real one needs seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// A machine of a cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node<'c> {
    machine: &'c Machine,
}

impl<'c> Node<'c> {
    /// The node that a machine is.
    pub(crate) fn of(machine: &'c Machine) -> Self {
        Self { machine }
    }

    /// The machine.
    pub(crate) fn machine(&self) -> &'c Machine {
        self.machine
    }

    /// Its number in its cluster, from 1.
    pub(crate) fn number(&self) -> u8 {
        self.machine.number() % 10
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        format!("node{}", self.number())
    }

    /// Its address on the LAN.
    pub(crate) fn address(&self) -> String {
        format!("192.168.56.{}", 10 + self.machine.number())
    }

    /// The name of its pod.
    pub(crate) fn pod(&self) -> String {
        format!("pod{}", self.number())
    }

    /// Runs a script, whatever comes of it.
    #[track_caller]
    pub(crate) fn try_sh(&self, script: &str) -> Output {
        self.machine.guest().exec(script, LIMIT).unwrap()
    }

    /// Runs a script that has to succeed, and returns what it printed.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        assert!(output.ok(), "{}: {script}: {output}", self.name());
        output.stdout.trim_end().to_owned()
    }

    /// Waits until a script succeeds.
    #[track_caller]
    pub(crate) fn wait_sh(&self, script: &str) -> String {
        let what = format!("{}: {script}", self.name());
        let output = patiently(LIMIT, &what, || {
            let output = self.machine.guest().exec(script, LIMIT)?;
            output.success(script)
        });
        output.unwrap().stdout.trim_end().to_owned()
    }

    /// Asks `podnetctl`, whatever it answers.
    #[track_caller]
    pub(crate) fn try_ctl(&self, words: &str) -> Output {
        self.try_sh(&format!("podnetctl -o json --timeout 120s {words}"))
    }

    /// Asks `podnetctl`, which has to answer with a document.
    #[track_caller]
    pub(crate) fn ctl(&self, words: &str) -> Value {
        let output = self.try_ctl(words);
        assert!(output.ok(), "{}: {words}: {output}", self.name());
        output.json().unwrap()
    }

    /// Waits until the status is as a condition wants it.
    #[track_caller]
    pub(crate) fn wait_status(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let status = patiently(LIMIT, &format!("{}: {what}", self.name()), || {
            let output = self
                .machine
                .guest()
                .exec("podnetctl -o json status", LIMIT)
                .map_err(|e| e.to_string())?;
            let status = output.json().map_err(|_| output.to_string())?;
            if holds(&status) {
                Ok(status)
            } else {
                Err(status.to_string())
            }
        });
        status.unwrap()
    }

    /// Waits until it is a member with nothing to complain of, and `peers` live peers.
    #[track_caller]
    pub(crate) fn wait_ready(&self, peers: u64) -> Value {
        self.wait_status(&format!("ready with {peers} live peers"), |status| {
            status["phase"] == "ready"
                && status["problems"].as_array().is_some_and(Vec::is_empty)
                && status["cluster"]["live_nodes"] == peers + 1
        })
    }

    /// The address of its pod, without prefix.
    #[track_caller]
    pub(crate) fn pod_address(&self) -> String {
        let pod = self.ctl(&format!("pod show {}", self.pod()));
        let address = pod["addresses"][0].as_str().unwrap();
        address.split('/').next().unwrap().to_owned()
    }

    /// The address that a responder at `address` sees, when asked from this node's pod.
    #[track_caller]
    pub(crate) fn pod_seen_as(&self, address: &str) -> String {
        self.wait_sh(&format!(
            "podnetctl pod exec {} -- {FOLDER}/podnet-lab __whoami ask {address}",
            self.pod()
        ))
    }

    /// The address that a responder at `address` sees, when asked from the node itself.
    #[track_caller]
    pub(crate) fn seen_as(&self, address: &str) -> String {
        self.wait_sh(&format!("{FOLDER}/podnet-lab __whoami ask {address}"))
    }

    /// Starts a responder in its pod, which lasts as long as the machine is on.
    #[track_caller]
    pub(crate) fn respond_in_pod(&self) {
        let pod = self.pod();
        self.sh(&format!(
            "systemctl -q stop whoami 2>/dev/null
             systemd-run -q --unit=whoami --collect sh -c \
             'sleep infinity | podnetctl pod exec {pod} -- {FOLDER}/podnet-lab __whoami serve'"
        ));
    }

    /// Joins the cluster of another node, whatever comes of it.
    #[track_caller]
    pub(crate) fn try_join(&self, founder: Node<'_>) -> Output {
        let token = founder.ctl("token show");
        let token = token["token"].as_str().unwrap();
        self.sh(&format!("printf %s {token} > /run/token"));
        let seed = founder.address();
        self.try_ctl(&format!("join {seed} --token-file /run/token"))
    }

    /// Joins the cluster of another node, which has to succeed.
    #[track_caller]
    pub(crate) fn rejoin(&self, founder: Node<'_>) {
        let joined = self.try_join(founder);
        assert!(joined.ok(), "{}: {joined}", self.name());
    }

    /// Restarts the machine in order, and waits until it has booted.
    #[track_caller]
    pub(crate) fn reboot(&self) {
        let boot = self.sh("cat /proc/sys/kernel/random/boot_id");
        // Later, so that the guest agent can still answer.
        self.sh("systemd-run -q --on-active=1 systemctl reboot");
        self.wait_sh(&format!("! grep -q {boot} /proc/sys/kernel/random/boot_id"));
    }

    /// Adds its pod, with a responder in it.
    #[track_caller]
    pub(crate) fn add_pod(&self) {
        self.ctl(&format!("pod add {}", self.pod()));
        self.respond_in_pod();
    }

    /// The number of the agent's process.
    #[track_caller]
    pub(crate) fn agent(&self) -> u32 {
        let pid = self.sh("systemctl show -P MainPID podnetd");
        pid.parse().unwrap()
    }

    /// The gateway of its pods, without prefix.
    #[track_caller]
    pub(crate) fn gateway(&self) -> String {
        let status = self.ctl("status");
        let gateway = status["gateways"][0].as_str().unwrap();
        gateway.split('/').next().unwrap().to_owned()
    }

    /// The block.
    #[track_caller]
    pub(crate) fn block(&self) -> String {
        let status = self.ctl("status");
        status["blocks"][0].as_str().unwrap().to_owned()
    }

    /// What tells why something failed.
    pub(crate) fn report(&self) -> Result<String, LabError> {
        let script = "set -x; podnetctl status; podnetctl nodes; podnetctl routes; \
            podnetctl pod list; systemctl status --no-pager podnetd; ip address; ip route; \
            iptables-save; journalctl --no-pager -b; dmesg | tail -50";
        let output = self
            .machine
            .guest()
            .exec(&format!("({script}) 2>&1"), Duration::from_secs(60))?;
        Ok(output.stdout)
    }
}
