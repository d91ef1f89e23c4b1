//! `leave`.

use std::io::{self, IsTerminal as _};

use podnet_client::ClientError;
use podnet_proto::api::{LeaveRequest, Phase, Severity, Status};
use podnet_proto::{ApiError, ErrorCode};

use super::Context;
use super::steps::Steps;
use crate::deadline::{Deadline, Pauses};
use crate::failure::Failure;
use crate::render::joined;

/// Leaves the cluster. Prints the status that the node then has.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let asks = !context.yes;
    if asks && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(
            ApiError::new(ErrorCode::Usage, "leave: there is no terminal to ask on")
                .hint("say --yes; it removes the pods of this node too")
                .into(),
        );
    }
    let status = context.client.status().await?;
    if status.phase == Phase::Idle {
        return done(
            context,
            &status,
            "nothing to do: this node is not a member of a cluster",
        );
    }
    if asks && !context.output.confirm(&question(&status)) {
        return Err(ApiError::new(ErrorCode::Usage, "leave: not confirmed").into());
    }
    let deadline = Deadline::after(context.timeout);
    let request = LeaveRequest {
        remove_pods: context.yes,
    };
    deadline.limit(&context.client).leave(&request).await?;
    let idle = wait(context, &deadline).await?;
    done(context, &idle, "this node has left the cluster")
}

fn question(status: &Status) -> String {
    format!(
        "Leave the cluster? {} gives {} back and has no pod network any more.",
        status.node.name,
        joined(&status.blocks)
    )
}

fn done(context: &Context, status: &Status, text: &str) -> Result<(), Failure> {
    let left = status.problems.iter();
    let left = left.map(|problem| format!("left: {}\n", problem.message));
    context
        .output
        .result(status, || format!("{text}\n{}", left.collect::<String>()))
}

/// What a leave waits for: what the agent finds broken, as far as it does.
fn missing(status: &Status) -> String {
    let quorum = &status.quorum;
    let what = if !status.blocks.is_empty() {
        format!("it still owns {}", joined(&status.blocks))
    } else if quorum.ok {
        "its block is not released yet".to_owned()
    } else {
        format!(
            "its block is not released, since {} of {} voters can be reached, which is no majority",
            quorum.reachable, quorum.voters
        )
    };
    let mut problems = status.problems.iter();
    match problems.find(|problem| problem.severity == Severity::Error) {
        Some(problem) => format!("{what}: {}", problem.message),
        None => what,
    }
}

/// Looks until the node is idle. The agent may be out of reach for a while: it goes on by itself,
/// also through a restart.
async fn wait(context: &Context, deadline: &Deadline) -> Result<Status, Failure> {
    let mut steps = Steps::new(&context.output);
    let mut pauses = Pauses::new();
    loop {
        let missing = match deadline.limit(&context.client).status().await {
            Ok(status) if status.phase == Phase::Idle => return Ok(status),
            Ok(status) if status.phase != Phase::Leaving => {
                return Err(ApiError::new(
                    ErrorCode::NoQuorum,
                    "leave: this node stays: other nodes have joined meanwhile, and it is the only voter",
                )
                .hint("let the other nodes leave first")
                .into());
            }
            Ok(status) => missing(&status),
            Err(error @ ClientError::Malformed { .. }) => return Err(error.into()),
            Err(error) => ApiError::from(error).message,
        };
        steps.show(&format!("leaving: {missing}"));
        if deadline.passed() {
            return Err(
                ApiError::new(ErrorCode::Timeout, format!("leave: {missing}"))
                    .hint("the agent goes on by itself; `podnetctl status` shows what it waits for")
                    .into(),
            );
        }
        pauses.pause(deadline).await;
    }
}
