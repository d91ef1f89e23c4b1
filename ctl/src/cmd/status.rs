//! `status`.

use super::Context;
use crate::failure::Failure;
use crate::render;

/// Shows where the node stands.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let status = context.client.status().await?;
    let verbose = context.output.is_verbose();
    context
        .output
        .result(&status, || render::status(&status, verbose))
}
