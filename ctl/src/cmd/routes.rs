//! `routes`.

use super::Context;
use crate::failure::Failure;
use crate::render;

/// Lists podnet's routes on this host.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let routes = context.client.routes().await?;
    context
        .output
        .list(&routes, "no routes", || render::routes(&routes))
}
