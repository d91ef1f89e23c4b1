//! `nodes`.

use super::Context;
use crate::failure::Failure;
use crate::render;

/// Lists the nodes of the cluster.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let nodes = context.client.nodes().await?;
    let verbose = context.output.is_verbose();
    context.output.list(
        &nodes,
        "no nodes: this node is not a member of a cluster",
        || render::nodes(&nodes, verbose),
    )
}
