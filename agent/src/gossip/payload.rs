//! What a sealed message says.

use podnet_proto::gossip::{Hello, Welcome};
use serde::de::DeserializeOwned;

use super::header::{MessageId, SenderInstance};

const CHITCHAT: u8 = 1;
const HELLO: u8 = 2;
const WELCOME: u8 = 3;

/// A message between agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A message of chitchat, in its own encoding.
    Chitchat(Vec<u8>),
    /// A question of a node that has no state yet.
    Hello(Hello),
    /// The answer to it.
    Welcome {
        /// The question, so that an old answer that somebody repeats is told from a new one.
        answers: MessageId,
        /// What it says.
        welcome: Welcome,
    },
}

/// A message that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Payload {
    /// The plain bytes: a kind, and what belongs to it.
    ///
    /// # Errors
    /// When JSON cannot hold it.
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = Vec::new();
        match self {
            Self::Chitchat(message) => {
                bytes.push(CHITCHAT);
                bytes.extend(message);
            }
            Self::Hello(hello) => {
                bytes.push(HELLO);
                serde_json::to_writer(&mut bytes, hello)?;
            }
            Self::Welcome { answers, welcome } => {
                bytes.push(WELCOME);
                bytes.extend(answers.sender.0);
                bytes.extend(answers.counter.to_be_bytes());
                serde_json::to_writer(&mut bytes, welcome)?;
            }
        }
        Ok(bytes)
    }

    /// Reads plain bytes. A kind that is not known does not read.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (&kind, body) = bytes.split_first().ok_or(Malformed)?;
        match kind {
            CHITCHAT => Ok(Self::Chitchat(body.to_vec())),
            HELLO => json(body).map(Self::Hello),
            WELCOME => {
                let (&sender, body) = body.split_first_chunk().ok_or(Malformed)?;
                let (&counter, body) = body.split_first_chunk().ok_or(Malformed)?;
                Ok(Self::Welcome {
                    answers: MessageId {
                        sender: SenderInstance(sender),
                        counter: u64::from_be_bytes(counter),
                    },
                    welcome: json(body)?,
                })
            }
            _ => Err(Malformed),
        }
    }
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(bytes).map_err(|_| Malformed)
}
