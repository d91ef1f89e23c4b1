//! Making a cluster of a lab's nodes.

use std::time::Duration;

use podnet_proto::ApiError;
use serde::Deserialize;

use crate::command::Output;
use crate::error::LabError;
use crate::lab::Lab;
use crate::node::Node;
use crate::parallel::for_each;

/// The pod network of a lab's cluster.
pub const POD_CIDR: &str = "10.244.0.0/16";

/// How long one node may take to become a member. Joins are decided one after the other, so the
/// last of many waits for all others.
const JOIN_LIMIT: Duration = Duration::from_secs(120);
/// What the client's own deadline leaves to the process around it.
const CLIENT_MARGIN: Duration = Duration::from_secs(5);

/// What the founder of a cluster tells the others.
#[derive(Clone, Deserialize)]
pub struct Invitation {
    /// The secret that admits a node.
    pub token: String,
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Invitation(..)")
    }
}

impl Lab {
    /// Founds a cluster on the first node and lets all others join it at once.
    ///
    /// # Errors
    /// The first failure, with what `podnetctl` said.
    pub fn init_join_all(&self) -> Result<Invitation, LabError> {
        let nodes = self.nodes();
        let Some((founder, others)) = nodes.split_first() else {
            return Err(LabError::Unsupported {
                what: "a lab without nodes".to_owned(),
            });
        };
        let invitation = founder.init(self.plan().encapsulation.as_deref())?;
        for_each(others.iter(), |node| node.join(&invitation, *founder))?;
        Ok(invitation)
    }
}

impl Node<'_> {
    /// Founds a cluster on this node.
    ///
    /// # Errors
    /// [`LabError::Refused`] with what the agent said.
    pub fn init(&self, encapsulation: Option<&str>) -> Result<Invitation, LabError> {
        let mut words = vec!["-o", "json", "init", "--pod-cidr", POD_CIDR];
        if let Some(encapsulation) = encapsulation {
            words.extend(["--encapsulation", encapsulation]);
        }
        let what = format!("{}# podnetctl init", self.name());
        let answer = said(self.ctl(words)?, &what)?.json()?;
        serde_json::from_value(answer).map_err(|e| LabError::Command {
            what,
            reason: e.to_string(),
        })
    }

    /// Makes this node a member of the cluster of another.
    ///
    /// # Errors
    /// [`LabError::Refused`] with what the agent said.
    pub fn join(&self, invitation: &Invitation, seed: Node<'_>) -> Result<(), LabError> {
        let limit = format!("{}s", JOIN_LIMIT.as_secs());
        let seed = seed.address().to_string();
        let output = self.ctl_with(
            ["-o", "json", "--timeout", &limit, "join", &seed],
            // A command line is for everybody to read.
            &[("PODNET_TOKEN", &invitation.token)],
            JOIN_LIMIT + CLIENT_MARGIN,
        )?;
        said(output, &format!("{}# podnetctl join", self.name())).map(drop)
    }
}

/// The output, if the client succeeded; else the error that its JSON document tells.
fn said(output: Output, what: &str) -> Result<Output, LabError> {
    #[derive(Deserialize)]
    struct Failure {
        error: ApiError,
    }
    if output.ok() {
        return Ok(output);
    }
    match serde_json::from_str::<Failure>(&output.stdout) {
        Ok(Failure { error }) => Err(LabError::Refused {
            what: what.to_owned(),
            error,
        }),
        // It did not come as far as to write one.
        Err(_) => output.success(what),
    }
}
