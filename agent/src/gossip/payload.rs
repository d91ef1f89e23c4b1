//! The content of a sealed message.

use std::net::SocketAddrV4;

use podnet_proto::gossip::{Hello, Welcome};
use serde::de::DeserializeOwned;

use super::header::{MessageId, SenderInstance};

const CHITCHAT: u8 = 1;
/// 2 and 3 were those of the first version of the protocol, which this one does not understand.
const HELLO: u8 = 4;
const WELCOME: u8 = 5;

/// A message between agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A message of chitchat.
    Chitchat {
        /// Where the sender is reached. The answer goes there, wherever the datagram came from: a host
        /// that repeats a datagram that it has seen gets nothing.
        sender: SocketAddrV4,
        /// The message, in chitchat's encoding.
        message: Vec<u8>,
    },
    /// A question of a node that has no state yet.
    Hello {
        /// The address that is asked. Only the node there answers, so that the question is of no use elsewhere.
        target: SocketAddrV4,
        /// Who asks.
        hello: Hello,
    },
    /// The answer to such a question.
    Welcome {
        /// The question, so that an old answer that is repeated does not pass for a new one.
        answers: MessageId,
        /// What the member answers.
        welcome: Welcome,
    },
}

/// A message cannot be read.
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
            Self::Chitchat { sender, message } => {
                bytes.push(CHITCHAT);
                bytes.extend(address_to_bytes(*sender));
                bytes.extend(message);
            }
            Self::Hello { target, hello } => {
                bytes.push(HELLO);
                bytes.extend(address_to_bytes(*target));
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

    /// Reads plain bytes. A kind that is not known is an error.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (&kind, body) = bytes.split_first().ok_or(Malformed)?;
        match kind {
            CHITCHAT => {
                let (sender, message) = split_address(body)?;
                let message = message.to_vec();
                Ok(Self::Chitchat { sender, message })
            }
            HELLO => {
                let (target, body) = split_address(body)?;
                let hello = json(body)?;
                Ok(Self::Hello { target, hello })
            }
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

/// An address and its port, in network order.
fn address_to_bytes(address: SocketAddrV4) -> impl Iterator<Item = u8> {
    let port = address.port().to_be_bytes();
    address.ip().octets().into_iter().chain(port)
}

fn split_address(bytes: &[u8]) -> Result<(SocketAddrV4, &[u8]), Malformed> {
    let (&address, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed)?;
    let (&port, rest) = rest.split_first_chunk().ok_or(Malformed)?;
    let address = SocketAddrV4::new(address.into(), u16::from_be_bytes(port));
    Ok((address, rest))
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(bytes).map_err(|_| Malformed)
}
