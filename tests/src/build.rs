//! Building a lab, step by step.

use std::time::Duration;

use crate::agent::started;
use crate::command::run;
use crate::error::LabError;
use crate::interrupt;
use crate::lab::Lab;
use crate::mtu::Mtu;
use crate::name::Member;
use crate::node::Node;
use crate::parallel::for_each;
use crate::process::ProcessId;
use crate::record::save;

/// How long the making of one member's namespaces may take.
const HOLD_LIMIT: Duration = Duration::from_secs(90);

/// Builds what the lab's record asks for.
///
/// # Errors
/// The first failure; what was built until then is left for the caller to take down.
pub(crate) fn build(lab: &Lab) -> Result<(), LabError> {
    if lab.plan().agents {
        for program in ["podnetd", "podnetctl"] {
            lab.programs().path(program)?;
        }
    }
    let members: Vec<Member> = [Member::Router, Member::Internet]
        .into_iter()
        .chain(Member::nodes(lab.plan().nodes))
        .collect();
    let holders = for_each(members.iter(), |member| hold(lab, *member))?;
    interrupt::check()?;

    let underlay = lab.underlay();
    let plugs = members
        .iter()
        .zip(&holders)
        .map(|(member, holder)| underlay.plug_batch(*member, Mtu::default(), holder.pid));
    let batch: String = [underlay.router_batch()].into_iter().chain(plugs).collect();
    lab.router().ip_batch(&batch)?;
    for_each(members.iter(), |member| {
        Node::new(lab, *member).ip_batch(&underlay.member_batch(*member))
    })?;
    interrupt::check()?;

    for_each(lab.nodes().into_iter(), |node| node.prepare())?;
    if lab.plan().agents {
        for_each(lab.nodes().into_iter(), |node| node.start())?;
        interrupt::check()?;
    }
    if lab.plan().join {
        lab.init_join_all()?;
    }
    Ok(())
}

/// Makes the namespaces of a member, and returns the process that holds them.
///
/// # Errors
/// [`LabError::Command`] with what failed.
pub(crate) fn hold(lab: &Lab, member: Member) -> Result<ProcessId, LabError> {
    let mut command = lab.programs().command()?;
    command
        .args(["__hold", "--member", &member.to_string()])
        .args(["--marker", &lab.dir().marker()])
        .arg("--lab-dir")
        .arg(lab.dir().path())
        .arg("--bin-dir")
        .arg(lab.programs().dir());
    if lab.plan().mirrors {
        command.arg("--mirrors");
    }
    let what = format!("starting {member}");
    let output = run(&mut command, "", HOLD_LIMIT)?.success(&what)?;
    let holder = started(&output.stdout, &what)?;
    save(&lab.dir().member(member).holder(), &holder)?;
    Ok(holder)
}
