//! `token`.

use super::Context;
use crate::failure::Failure;

/// Prints the join token: alone on standard output, so that it can be piped to
/// `podnetctl join --token-file -` on another node.
pub(crate) async fn show(context: &Context) -> Result<(), Failure> {
    let token = context.client.token().await?;
    context
        .output
        .result(&token, || format!("{}\n", token.token))?;
    context.output.note_with_table(&format!(
        "to join a node, run on it: {}",
        token.join_command
    ));
    Ok(())
}
