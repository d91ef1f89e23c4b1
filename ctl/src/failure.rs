//! How a command fails.

use podnet_client::ClientError;
use podnet_proto::ApiError;

/// A failed command: what is printed, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What is printed.
    pub(crate) error: ApiError,
    /// The exit code: that of the error's code, unless the command has codes of its own.
    pub(crate) exit: u8,
}

impl Failure {
    /// The same failure with another exit code.
    pub(crate) fn exit(self, exit: u8) -> Self {
        Self { exit, ..self }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let exit = error.code.exit_code();
        Self { error, exit }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        ApiError::from(error).into()
    }
}
