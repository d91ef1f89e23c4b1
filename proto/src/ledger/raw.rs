//! JSON as its author wrote it: what this version does not know stays as it is, to the letter.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// A JSON value, as it was written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Raw(Box<RawValue>);

impl Raw {
    /// The JSON of a value. Whatever a ledger holds has one.
    pub(super) fn of<T: Serialize>(value: &T) -> Self {
        Self(to_raw_value(value).unwrap_or_default())
    }

    pub(super) fn text(&self) -> &str {
        self.0.get()
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.text())
    }
}

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Raw {}

/// The fields of a JSON object, by name.
pub(super) type Fields = BTreeMap<String, Raw>;

/// Sets a field to a value. One that says so already stays as it is written: it may say more than
/// this version reads.
pub(super) fn put<T: Serialize + DeserializeOwned + PartialEq>(
    fields: &mut Fields,
    name: &str,
    value: &T,
) {
    let written = fields.get(name).and_then(|raw| raw.read::<T>().ok());
    if written.as_ref() != Some(value) {
        fields.insert(name.to_owned(), Raw::of(value));
    }
}
