//! `init`.

use podnet_proto::ApiError;
use podnet_proto::api::InitRequest;

use super::Context;
use crate::check;
use crate::cli::InitArgs;
use crate::failure::Failure;
use crate::render;

/// Founds a cluster.
pub(crate) async fn run(context: &Context, args: InitArgs) -> Result<(), Failure> {
    let request = request(args)?;
    let founded = context.client.init(&request).await?;
    context.output.result(&founded, || {
        render::init(&founded, context.output.is_quiet())
    })
}

/// What to ask the agent for. What the agent alone can know (this host's addresses and routes,
/// which encapsulations work), it checks.
fn request(args: InitArgs) -> Result<InitRequest, ApiError> {
    let block_prefixes = check::pod_networks(&args.pod_cidr, &args.block_prefix)?;
    check::node_name("--node-name", args.node_name.as_deref())?;
    if let Some(advertise) = &args.advertise {
        check::address("--advertise", advertise)?;
    }
    for cidr in &args.exclude_cidr {
        check::exclude_cidr(cidr)?;
    }
    Ok(InitRequest {
        pod_cidrs: args.pod_cidr,
        block_prefixes,
        node_name: args.node_name,
        advertise: args.advertise,
        encapsulation: args.encapsulation.map(|mode| mode.as_str().to_owned()),
        exclude_cidrs: args.exclude_cidr,
        allow_overlap: args.allow_overlap,
    })
}
