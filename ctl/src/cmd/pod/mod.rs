//! `pod`.

mod exec;
mod namespace;

use std::path::{Path, PathBuf};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use podnet_client::{Client, ClientError};
use podnet_proto::api::{Pod, PodRequest};
use podnet_proto::{ApiError, ErrorCode, PodName};

use super::{Context, block_on};
use crate::check;
use crate::cli::{PodAddArgs, PodCommand};
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::render;

/// How many requests `pod rm` has under way at once.
const PARALLEL: usize = 16;

/// Runs a command about pods.
pub(crate) fn run(context: &Context, command: PodCommand) -> Result<(), Failure> {
    match command {
        PodCommand::Add(args) => block_on(add(context, args)),
        PodCommand::Rm { names } => block_on(remove(context, &names)),
        PodCommand::List => block_on(list(context)),
        PodCommand::Show { name } => block_on(show(context, &name)),
        PodCommand::Exec(args) => Err(exec::run(context, &args)),
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let pods = context.client.pods().await?;
    let verbose = context.output.is_verbose();
    context
        .output
        .list(&pods, "no pods", || render::pods(&pods, verbose))
}

async fn show(context: &Context, name: &str) -> Result<(), Failure> {
    let pod = context.client.pod(&check::pod_name(name)?).await?;
    context.output.result(&pod, || render::pod(&pod))
}

async fn add(context: &Context, args: PodAddArgs) -> Result<(), Failure> {
    let request = PodRequest {
        name: check::pod_name(&args.name)?.into(),
        netns: args.netns.map(|path| netns(&path)).transpose()?,
        pid: args.pid,
        trusted: args.trusted,
    };
    let pod = context.client.add_pod(&request).await?;
    context.output.result(&pod, || render::pod(&pod))
}

/// The path as the agent must see it: it has another working directory, and it is another process.
fn netns(path: &Path) -> Result<String, ApiError> {
    let absolute = match path.strip_prefix("/proc/self") {
        Ok(rest) => PathBuf::from(format!("/proc/{}", std::process::id())).join(rest),
        Err(_) => std::path::absolute(path).map_err(|error| {
            let why = format!("--netns {}: {error}", path.display());
            ApiError::new(ErrorCode::Usage, why)
        })?,
    };
    absolute.into_os_string().into_string().map_err(|path| {
        let why = format!("--netns {}: not UTF-8", path.display());
        ApiError::new(ErrorCode::Usage, why)
    })
}

/// Removes pods: all or, where one does not exist, none.
async fn remove(context: &Context, names: &[String]) -> Result<(), Failure> {
    let deadline = Deadline::after(context.timeout);
    let client = deadline.limit(&context.client);
    let mut names = names
        .iter()
        .map(|name| check::pod_name(name))
        .collect::<Result<Vec<_>, _>>()?;
    names.sort();
    names.dedup();

    let pods: Vec<Pod> = stream::iter(&names)
        .map(|name| client.pod(name))
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    let client = deadline.limit(&context.client);
    let outcomes: Vec<_> = stream::iter(&names)
        .map(|name| remove_one(&client, name))
        .buffered(PARALLEL)
        .collect()
        .await;
    outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
    context.output.result(&pods, || {
        names
            .iter()
            .map(|name| format!("pod {name} removed\n"))
            .collect()
    })
}

/// Removes a pod that was there a moment ago; someone else may have been faster.
async fn remove_one(client: &Client, name: &PodName) -> Result<(), ClientError> {
    match client.remove_pod(name).await {
        Err(ClientError::Api(error)) if error.code == ErrorCode::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_gets_paths_that_mean_the_same_to_it() {
        assert_eq!(
            netns(Path::new("/run/netns/red")).unwrap(),
            "/run/netns/red"
        );
        let relative = netns(Path::new("red")).unwrap();
        assert!(relative.starts_with('/') && relative.ends_with("/red"));
        let own = netns(Path::new("/proc/self/ns/net")).unwrap();
        assert_eq!(own, format!("/proc/{}/ns/net", std::process::id()));
    }
}
