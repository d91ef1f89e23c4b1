//! `version`.

use std::time::Duration;

use podnet_proto::ApiError;
use podnet_proto::api::Version;

use super::Context;
use crate::failure::Failure;

/// How long to wait for the agent at most: what is asked for is first of all the version of this
/// program.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shows the versions of this program and of the agent. That no agent answers is no failure.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let client = context.client.within(PATIENCE.min(context.timeout));
    let (podnetd, why) = match client.status().await {
        Ok(status) => (Some(status.node.version), String::new()),
        Err(error) => (None, ApiError::from(error).message),
    };
    let version = Version {
        podnetctl: env!("CARGO_PKG_VERSION").to_owned(),
        podnetd,
    };
    context.output.result(&version, || {
        let podnetd = match &version.podnetd {
            Some(podnetd) => podnetd.clone(),
            None => format!("unknown ({why})"),
        };
        crate::render::versions(&version.podnetctl, &podnetd)
    })
}
