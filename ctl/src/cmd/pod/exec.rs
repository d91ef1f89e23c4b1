//! `pod exec`: becomes the command, inside of the pod's network namespace.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use podnet_proto::api::{Pod, PodState};
use podnet_proto::{ApiError, ErrorCode, PodName};

use super::super::join::TOKEN_VARIABLE;
use super::super::{Context, block_on};
use super::namespace;
use crate::check;
use crate::cli::PodExecArgs;
use crate::failure::Failure;

/// podnet failed; the command was not started. This and the next two are what env(1), nohup(1) and
/// container tools use.
const PODNET_FAILED: u8 = 125;

/// The command was found and cannot be executed.
const NOT_EXECUTABLE: u8 = 126;

/// The command was not found.
const NOT_FOUND: u8 = 127;

/// Becomes the command: its exit code, signals and streams are those of this process. Returns only
/// where that fails.
pub(crate) fn run(context: &Context, args: &PodExecArgs) -> Failure {
    if let Err(failure) = enter(context, &args.name) {
        return failure.exit(PODNET_FAILED);
    }
    let Some((program, arguments)) = args.command.split_first() else {
        let error = ApiError::new(ErrorCode::Usage, "pod exec: the command is missing");
        return Failure::from(error).exit(PODNET_FAILED);
    };
    // The cluster's secret may be there for podnetctl; it is none of a pod's business.
    let error = Command::new(program)
        .args(arguments)
        .env_remove(TOKEN_VARIABLE)
        .exec();
    not_started(&program.display().to_string(), &error)
}

fn enter(context: &Context, name: &str) -> Result<(), Failure> {
    let name = check::pod_name(name)?;
    let pod = ready(context, &name)?;
    let warnings = namespace::enter(&pod).map_err(ApiError::from)?;
    for warning in warnings {
        context.output.warn(&warning.to_string());
    }
    Ok(())
}

fn ready(context: &Context, name: &PodName) -> Result<Pod, Failure> {
    let pod = block_on(async { Ok(context.client.pod(name).await?) })?;
    match pod.state {
        PodState::Ready | PodState::Fenced => Ok(pod),
        PodState::Gone => Err(ApiError::new(
            ErrorCode::NotFound,
            format!("pod {name}: gone, its namespace {} has vanished", pod.netns),
        )
        .hint(format!(
            "`podnetctl pod add {name}` makes it anew, `podnetctl pod rm {name}` forgets it"
        ))
        .into()),
    }
}

fn not_started(program: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        let why = format!("{program}: no such command");
        Failure::from(ApiError::new(ErrorCode::MissingBinary, why)).exit(NOT_FOUND)
    } else {
        let why = format!("{program}: {error}");
        Failure::from(ApiError::new(ErrorCode::NotPermitted, why)).exit(NOT_EXECUTABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_started_has_codes_of_its_own() {
        let failure = |kind| not_started("cmd", &io::Error::from(kind));
        assert_eq!(failure(io::ErrorKind::NotFound).exit, NOT_FOUND);
        assert_eq!(
            failure(io::ErrorKind::PermissionDenied).exit,
            NOT_EXECUTABLE
        );
        assert_eq!(failure(io::ErrorKind::InvalidInput).exit, NOT_EXECUTABLE);
    }
}
