//! The join token: the cluster's shared secret in one line of text.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::id::ClusterId;
use crate::ledger::Checkpoint;
use crate::network::PodNetwork;
use crate::secret::GossipKey;

/// What every token begins with; the digit is the version.
const PREFIX: &str = "podnet1.";

/// Bytes of SHA-256 at the end, against typing and copying errors.
const CHECKSUM_LEN: usize = 4;

/// The longest token, in bytes; a real one has a few hundred.
const MAX_LEN: usize = 4096;

/// Why a token is refused. The token itself is never in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin as a token does.
    #[error("a join token begins with '{PREFIX}'")]
    Prefix,
    /// A character is none of a token's, or it is cut short.
    #[error("the join token is cut short or has foreign characters in it")]
    Encoding,
    /// A character is wrong.
    #[error("the checksum of the join token is wrong: a character is missing or changed")]
    Checksum,
    /// The checksum is right, the content is not.
    #[error("the join token holds no valid content")]
    Content,
}

/// What a node needs to join a cluster. Its `Debug` is redacted; its text is only given out by
/// [`JoinToken::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The cluster.
    pub cluster: ClusterId,
    /// The key that seals its gossip.
    pub gossip_key: GossipKey,
    /// Its pod networks.
    pub networks: Vec<PodNetwork>,
    /// The first ledger that the newcomer may adopt.
    pub checkpoint: Checkpoint,
}

#[derive(Serialize, Deserialize)]
struct Content {
    cluster: ClusterId,
    key: String,
    networks: Vec<PodNetwork>,
    checkpoint: Checkpoint,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl JoinToken {
    /// The token as text: a secret. For the user's eyes, never for a log.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let content = Content {
            cluster: self.cluster,
            key: URL_SAFE_NO_PAD.encode(self.gossip_key.expose()),
            networks: self.networks.clone(),
            checkpoint: self.checkpoint,
        };
        let mut bytes = Zeroizing::new(serde_json::to_vec(&content).unwrap_or_default());
        let digest = Sha256::digest(bytes.as_slice());
        bytes.extend_from_slice(&digest[..CHECKSUM_LEN]);
        let mut text = Zeroizing::new(PREFIX.to_owned());
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        text
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let body = text.strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        if text.len() > MAX_LEN {
            return Err(TokenError::Encoding);
        }
        let bytes = Zeroizing::new(
            URL_SAFE_NO_PAD
                .decode(body)
                .map_err(|_| TokenError::Encoding)?,
        );
        let (json, checksum) = bytes
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or(TokenError::Encoding)?;
        if Sha256::digest(json)[..CHECKSUM_LEN] != *checksum {
            return Err(TokenError::Checksum);
        }
        let content: Content = serde_json::from_slice(json).map_err(|_| TokenError::Content)?;
        let key = Zeroizing::new(
            URL_SAFE_NO_PAD
                .decode(&content.key)
                .map_err(|_| TokenError::Content)?,
        );
        let key: [u8; 32] = key.as_slice().try_into().map_err(|_| TokenError::Content)?;
        if content.networks.is_empty() {
            return Err(TokenError::Content);
        }
        Ok(Self {
            cluster: content.cluster,
            gossip_key: GossipKey::from_bytes(key),
            networks: content.networks.clone(),
            checkpoint: content.checkpoint,
        })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// A text for an error, without the tokens in it: what was typed in the wrong place is quoted there.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    if !text.contains(PREFIX) {
        return Cow::Borrowed(text);
    }
    let of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut parts = text.split(PREFIX);
    let mut redacted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        redacted.push_str(PREFIX);
        redacted.push_str("..");
        redacted.push_str(part.trim_start_matches(of_token));
    }
    Cow::Owned(redacted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Boot, NodeId};
    use crate::ledger::{Ledger, Settings};

    fn token() -> JoinToken {
        let networks = vec![PodNetwork::parse("10.244.0.0/16", 24).unwrap()];
        let cluster = ClusterId::from_bytes([9; 16]);
        let founder = NodeId::from_bytes([1; 16]);
        let ledger = Ledger::genesis(
            cluster,
            networks.clone(),
            Settings::default(),
            founder,
            Boot(1),
        );
        JoinToken {
            cluster,
            gossip_key: GossipKey::from_bytes([0xfb; 32]),
            networks,
            checkpoint: ledger.checkpoint(),
        }
    }

    #[test]
    fn a_token_reads_back_also_with_white_space_around_it() {
        let text = token().expose();
        assert!(text.starts_with("podnet1"));
        assert_eq!(
            format!(" {}\n", text.as_str())
                .parse::<JoinToken>()
                .unwrap(),
            token()
        );
    }

    #[test]
    fn every_changed_or_missing_character_is_noticed() {
        let text = token().expose();
        for index in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            assert!(
                String::from_utf8(bytes)
                    .unwrap()
                    .parse::<JoinToken>()
                    .is_err(),
                "{index}"
            );
            assert!(
                text[..index].parse::<JoinToken>().is_err(),
                "cut at {index}"
            );
        }
    }

    #[test]
    fn a_token_is_taken_out_of_a_text() {
        let token = token().expose();
        let text = format!("'{}': wrong, and {}", token.as_str(), token.as_str());
        assert_eq!(redact(&text), "'podnet1...': wrong, and podnet1...");
        assert_eq!(redact("nothing of it"), "nothing of it");
    }

    #[test]
    fn no_error_and_no_debug_shows_the_secret() {
        let text = token().expose();
        let error = text[..text.len() - 3].parse::<JoinToken>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&text[20..60]));
        assert!(!format!("{:?}", token()).contains("251"));
    }
}
