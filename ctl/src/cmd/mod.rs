//! What the commands do: one file for each noun.

mod completion;
mod init;
mod join;
mod leave;
mod manual;
mod nodes;
mod pod;
mod routes;
mod status;
mod steps;
mod token;
mod version;

use std::time::Duration;

use podnet_client::Client;
use podnet_proto::{ApiError, ErrorCode};

use crate::cli::{Command, Global, TokenCommand};
use crate::failure::Failure;
use crate::output::Output;

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Context {
    /// The agent; each request has the whole of `timeout`. A command with several requests makes a
    /// deadline of it.
    client: Client,
    output: Output,
    timeout: Duration,
    yes: bool,
}

impl Context {
    /// What the global flags ask for.
    pub(crate) fn new(global: &Global, output: Output) -> Self {
        Self {
            client: Client::new(&global.socket, global.timeout),
            output,
            timeout: global.timeout,
            yes: global.yes,
        }
    }
}

/// Runs a command to its end.
pub(crate) fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Init(args) => block_on(init::run(context, args)),
        Command::Join(args) => block_on(join::run(context, args)),
        Command::Leave => block_on(leave::run(context)),
        Command::Status => block_on(status::run(context)),
        Command::Nodes => block_on(nodes::run(context)),
        Command::Routes => block_on(routes::run(context)),
        Command::Token(TokenCommand::Show) => block_on(token::show(context)),
        Command::Pod(command) => pod::run(context, command),
        Command::Version => block_on(version::run(context)),
        Command::Completion { shell } => completion::run(context, shell),
        Command::Man { dir } => manual::run(&dir),
    }
}

/// Runs a future on a runtime of its own, on this thread, and ends the runtime: nothing of it is
/// left when `pod exec` becomes the command that it runs.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ApiError::new(ErrorCode::Internal, format!("runtime: {error}")))?
        .block_on(future)
}
