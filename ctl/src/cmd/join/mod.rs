//! `join`.

mod progress;
mod token;

use std::time::{Duration, Instant};

use podnet_client::ClientError;
use podnet_proto::api::{JoinRequest, JoinResponse, Status};
use podnet_proto::{ApiError, ErrorCode};
use zeroize::Zeroizing;

use self::progress::{Probes, Progress, Step, progress};
use super::Context;
use super::steps::Steps;
use crate::check;
use crate::cli::JoinArgs;
use crate::deadline::{Deadline, Pauses};
use crate::failure::Failure;
use crate::render;

/// The environment variable that may hold the token.
pub(crate) const TOKEN_VARIABLE: &str = "PODNET_TOKEN";

/// How long the agent waits for the first answer of a member, at most.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// How much longer to wait for the agent than it waits for members: who asks must hear its answer
/// rather than run out of time in the same moment.
const GRACE: Duration = Duration::from_secs(2);

/// How long the agent's probes of members that gossip does not know may take.
const PROBES: Duration = Duration::from_secs(3);

/// Joins this node to a cluster: returns when it owns a block and has a path to every live peer.
pub(crate) async fn run(context: &Context, args: JoinArgs) -> Result<(), Failure> {
    let request = request(args, context.timeout)?;
    let deadline = Deadline::after(context.timeout);
    let first_answer = FIRST_ANSWER.min(context.timeout);
    let mut steps = Steps::new(&context.output);

    steps.show(&format!("asking {}", request.addresses.join(", ")));
    let patience = deadline.remaining().max(first_answer + GRACE);
    context.client.within(patience).join(&request).await?;
    steps.show("a member of the cluster has answered");
    let Done {
        status,
        dead,
        unproved,
    } = wait(context, &deadline, &mut steps).await?;
    drop(steps);

    for peer in dead {
        context
            .output
            .warn(&format!("{peer} is dead, and was not waited for"));
    }
    for peer in unproved {
        context.output.warn(&format!(
            "the path to {peer}; `podnetctl status` names the cure"
        ));
    }
    let Some(cluster) = status.cluster else {
        let why = "join: the agent is ready and names no cluster";
        return Err(ApiError::new(ErrorCode::Internal, why).into());
    };
    let joined = JoinResponse {
        node: status.node,
        cluster,
        blocks: status.blocks,
    };
    context.output.result(&joined, || render::join(&joined))
}

/// What to ask the agent for. Reads the token.
fn request(mut args: JoinArgs, timeout: Duration) -> Result<JoinRequest, ApiError> {
    for address in &args.addresses {
        check::address("ADDR", address)?;
    }
    if let Some(advertise) = &args.advertise {
        check::address("--advertise", advertise)?;
    }
    check::node_name("--node-name", args.node_name.as_deref())?;
    check::node_name("--replace", args.replace.as_deref())?;
    let environment = std::env::var_os(TOKEN_VARIABLE);
    let source = token::source(args.token.take(), args.token_file.take(), environment)?;
    let token: Zeroizing<String> = token::read(source, timeout)?;
    Ok(JoinRequest {
        addresses: args.addresses,
        token: token.to_string(),
        node_name: args.node_name,
        advertise: args.advertise,
        replace: args.replace,
        allow_overlap: args.allow_overlap,
        timeout_seconds: Some(FIRST_ANSWER.min(timeout).as_secs_f64()),
    })
}

/// A join that is done.
struct Done {
    /// The last status.
    status: Status,
    /// The dead peers.
    dead: Vec<String>,
    /// The peers that only gossip knows of.
    unproved: Vec<String>,
}

/// Looks until the join is done. Once a member has
/// answered, the agent goes on by itself, also through a restart: that it is out of reach for a
/// while ends nothing.
async fn wait(
    context: &Context,
    deadline: &Deadline,
    steps: &mut Steps<'_>,
) -> Result<Done, Failure> {
    let mut pauses = Pauses::new();
    let mut ready_since = None;
    loop {
        let step = match deadline.limit(&context.client).status().await {
            Ok(status) => match progress(&status, probes(&status, &mut ready_since)) {
                Progress::Done { dead, unproved } => {
                    return Ok(Done {
                        status,
                        dead,
                        unproved,
                    });
                }
                Progress::Stopped(error) => return Err(error.into()),
                Progress::Waiting(step) => step,
            },
            Err(error @ ClientError::Malformed { .. }) => return Err(error.into()),
            Err(error) => Step::Agent(ApiError::from(error).message),
        };
        steps.show(&step.brief());
        if deadline.passed() {
            return Err(ApiError::new(ErrorCode::Timeout, format!("join: {step}"))
                .hint("the agent goes on by itself; `podnetctl status` shows how far it is")
                .into());
        }
        pauses.pause(deadline).await;
    }
}

/// Whether the probes may still run: they start when the node has its block.
fn probes(status: &Status, ready_since: &mut Option<Instant>) -> Probes {
    if status.blocks.is_empty() {
        return Probes::Running;
    }
    if ready_since.get_or_insert_with(Instant::now).elapsed() < PROBES {
        Probes::Running
    } else {
        Probes::Over
    }
}
