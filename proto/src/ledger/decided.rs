//! A ledger as it was decided: the text is what is stored, hashed, compared and sent on.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use super::raw::{Fields, Raw, put};
use super::{Checkpoint, Ledger, LedgerHash};

/// The version of the ledgers that this program reads and writes.
pub const LEDGER_VERSION: u32 = 1;

/// Why a text is no ledger that this version can read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Not a JSON object.
    #[error("the ledger is no JSON object")]
    NoObject(#[source] serde_json::Error),
    /// Written by a later version.
    #[error("the ledger has version {version}, and this podnet reads {LEDGER_VERSION}")]
    Version {
        /// Its version.
        version: u32,
    },
    /// A field is missing.
    #[error("the ledger has no field '{field}'")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A field says something else than this version expects.
    #[error("the ledger's field '{field}' cannot be read")]
    Field {
        /// Its name.
        field: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
}

/// A ledger as it was decided: its text, and what this version reads in it. What a later version has
/// added to it stays, also in the ledgers that are decided after it.
#[derive(Clone)]
pub struct Decided {
    raw: Arc<Raw>,
    ledger: Arc<Ledger>,
}

impl Decided {
    /// Reads the text of a ledger.
    ///
    /// # Errors
    /// When this version cannot read it.
    pub fn read(text: &str) -> Result<Self, LedgerError> {
        Self::of_raw(serde_json::from_str(text).map_err(LedgerError::NoObject)?)
    }

    fn of_raw(raw: Raw) -> Result<Self, LedgerError> {
        let fields: Fields = raw.read().map_err(LedgerError::NoObject)?;
        let ledger = ledger(&fields)?;
        Ok(Self {
            raw: Arc::new(raw),
            ledger: Arc::new(ledger),
        })
    }

    /// This ledger with a change. What this version does not know stays as it is.
    #[must_use]
    pub fn changed(&self, change: impl FnOnce(&mut Ledger)) -> Self {
        let mut ledger = Ledger::clone(&self.ledger);
        change(&mut ledger);
        Self::write(self.raw.read().unwrap_or_default(), ledger)
    }

    fn write(mut fields: Fields, ledger: Ledger) -> Self {
        write(&mut fields, &ledger);
        Self {
            raw: Arc::new(Raw::of(&fields)),
            ledger: Arc::new(ledger),
        }
    }

    /// The ledger as it was decided.
    #[must_use]
    pub fn text(&self) -> &str {
        self.raw.text()
    }

    /// The hash of this ledger: SHA-256 of its text.
    #[must_use]
    pub fn hash(&self) -> LedgerHash {
        LedgerHash(Sha256::digest(self.text()).into())
    }

    /// What a newcomer learns about the ledger before it has seen one.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            recovery: self.recovery,
            slot: self.slot,
            hash: self.hash(),
        }
    }
}

impl From<Ledger> for Decided {
    fn from(ledger: Ledger) -> Self {
        Self::write(Fields::new(), ledger)
    }
}

impl Deref for Decided {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.ledger
    }
}

impl PartialEq for Decided {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Decided {}

impl fmt::Debug for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Serialize for Decided {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Decided {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        Self::of_raw(raw).map_err(de::Error::custom)
    }
}

fn ledger(fields: &Fields) -> Result<Ledger, LedgerError> {
    let version = read(fields, "v")?;
    if version != LEDGER_VERSION {
        return Err(LedgerError::Version { version });
    }
    Ok(Ledger {
        recovery: read(fields, "recovery")?,
        slot: read(fields, "slot")?,
        previous: read(fields, "previous")?,
        cluster: read(fields, "cluster")?,
        networks: read(fields, "networks")?,
        settings: read(fields, "settings")?,
        voters: read(fields, "voters")?,
        blocks: read(fields, "blocks")?,
        boots: read(fields, "boots")?,
        freed: read(fields, "freed")?,
        released: read(fields, "released")?,
        key_epoch: read(fields, "key_epoch")?,
    })
}

fn read<T: DeserializeOwned>(fields: &Fields, field: &'static str) -> Result<T, LedgerError> {
    let raw = fields.get(field).ok_or(LedgerError::Missing { field })?;
    raw.read()
        .map_err(|source| LedgerError::Field { field, source })
}

/// Writes what this version knows. A later version writes a field of its own only once it says
/// something: so nodes of both versions decide the same text.
fn write(fields: &mut Fields, ledger: &Ledger) {
    put(fields, "v", &LEDGER_VERSION);
    put(fields, "recovery", &ledger.recovery);
    put(fields, "slot", &ledger.slot);
    put(fields, "previous", &ledger.previous);
    put(fields, "cluster", &ledger.cluster);
    put(fields, "networks", &ledger.networks);
    put(fields, "settings", &ledger.settings);
    put(fields, "voters", &ledger.voters);
    put(fields, "blocks", &ledger.blocks);
    put(fields, "boots", &ledger.boots);
    put(fields, "freed", &ledger.freed);
    put(fields, "released", &ledger.released);
    put(fields, "key_epoch", &ledger.key_epoch);
}

#[cfg(test)]
mod tests;
