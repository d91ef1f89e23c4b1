//! Nodes that go down and come up again, as hosts do.

use crate::build::hold;
use crate::census;
use crate::dir::empty_dir;
use crate::error::LabError;
use crate::lab::Lab;
use crate::name::Member;
use crate::node::Node;
use crate::parallel::for_each;
use crate::process::ProcessId;
use crate::record::load;

impl Lab {
    /// Reboots nodes of this lab, all at once, as when their power fails and comes back. See
    /// [`Node::reboot`].
    ///
    /// # Errors
    /// The first failure; the same call again goes on from wherever that was.
    pub fn reboot(&self, nodes: &[Node<'_>]) -> Result<(), LabError> {
        let restarted = {
            let _lock = self.lock()?;
            for_each(nodes.iter().copied(), |node| {
                let restarts = node.restarts()?;
                node.power_off()?;
                node.power_on()?;
                Ok(restarts.then_some(node))
            })?
        };
        for_each(restarted.into_iter().flatten(), |node| node.start()).map(drop)
    }
}

impl Node<'_> {
    /// Reboots the node, as when its power fails and comes back. The agent is killed and started
    /// again; all other processes in the node's namespaces end, and what was in them is gone:
    /// links, addresses, rules, sysctls, pods' namespaces, mounts, and the run directory. Its disk
    /// stays: the directories of the agent's state and configuration, `/etc/cni` and `/etc/netns`;
    /// so do the address, MAC and MTU of `eth0` and the cuts. The boot id is a new one.
    ///
    /// Nodes without agents stay without, unless one was started.
    ///
    /// # Errors
    /// [`LabError::AgentEnded`] with the end of the log when the agent does not come up again,
    /// [`LabError::NoMember`] for what is no node, [`LabError::Inside`] when called in the lab.
    pub fn reboot(&self) -> Result<(), LabError> {
        self.lab().reboot(&[*self])
    }

    /// Ends everything in the node's namespaces and with it the namespaces, whatever is left of
    /// them, and unplugs the node.
    pub(crate) fn power_off(&self) -> Result<(), LabError> {
        self.number()?;
        let lab = self.lab();
        self.kill()?;
        // Without namespaces the kernel would do so too, but in its own time, and the name is
        // wanted again. When it is not there, there is nothing to do.
        lab.router().exec(["ip", "link", "delete", &self.name()])?;
        let holder: Option<ProcessId> = load(&self.dir().holder())?;
        census::kill_member(&lab.dir().marker(), self.member(), holder)?;
        if self.run_dir().is_dir() {
            empty_dir(&self.run_dir())?;
        }
        Ok(())
    }

    /// Makes the namespaces of a node that has none, and plugs it in.
    pub(crate) fn power_on(&self) -> Result<(), LabError> {
        let lab = self.lab();
        let underlay = lab.underlay();
        self.renew_boot_id()?;
        let holder = hold(lab, self.member())?;
        let plug = underlay.plug_batch(self.member(), self.mtu()?, holder.pid);
        lab.router().ip_batch(&plug)?;
        self.ip_batch(&underlay.member_batch(self.member()))
    }

    /// The node's number.
    ///
    /// # Errors
    /// [`LabError::NoMember`] for the router and the internet.
    pub(crate) fn number(&self) -> Result<u8, LabError> {
        match self.member() {
            Member::Node(number) => Ok(number),
            Member::Router | Member::Internet => Err(LabError::NoMember {
                lab: self.lab().name().clone(),
                member: self.name(),
            }),
        }
    }
}
