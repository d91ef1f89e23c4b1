//! The cluster's settings.

use std::fmt;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raw::{Fields, Raw};

const ENCAPSULATION: &str = "encapsulation";
const EXCLUDE_CIDRS: &str = "exclude_cidrs";

/// How pods' packets travel between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncapsulationMode {
    /// Per peer: direct where it is proved to work, else WireGuard.
    Auto,
    /// Host routes by way of the peer's address.
    #[default]
    Direct,
    /// WireGuard tunnels only.
    Wireguard,
}

impl fmt::Display for EncapsulationMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Direct => "direct",
            Self::Wireguard => "wireguard",
        })
    }
}

/// The cluster's settings, which its members agree on. What a later version has added to them, or
/// a value that only a later version knows, stays as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// How packets travel between nodes.
    pub encapsulation: EncapsulationMode,
    /// Destinations outside the pod networks whose traffic keeps the pod's source address.
    pub exclude_cidrs: Vec<Ipv4Network>,
    unknown: Fields,
}

impl Settings {
    /// These settings, and nothing that this version does not know.
    #[must_use]
    pub const fn new(encapsulation: EncapsulationMode, exclude_cidrs: Vec<Ipv4Network>) -> Self {
        Self {
            encapsulation,
            exclude_cidrs,
            unknown: Fields::new(),
        }
    }

    /// The settings that this version does not know, or whose value it cannot read, by name, with
    /// the JSON of their values. In the fields of those that it cannot read is the default.
    pub fn unknown(&self) -> impl Iterator<Item = (&str, &str)> {
        let unknown = self.unknown.iter();
        unknown.map(|(name, value)| (name.as_str(), value.text()))
    }

    /// The name of the encapsulation, also of one that this version does not know.
    #[must_use]
    pub fn encapsulation_name(&self) -> String {
        match self.unknown.get(ENCAPSULATION) {
            Some(raw) => raw
                .read::<String>()
                .unwrap_or_else(|_| raw.text().to_owned()),
            None => self.encapsulation.to_string(),
        }
    }

    fn fields(&self) -> Fields {
        let mut fields = self.unknown.clone();
        let mut add = |name: &str, raw: Raw| _ = fields.entry(name.to_owned()).or_insert(raw);
        add(ENCAPSULATION, Raw::of(&self.encapsulation));
        add(EXCLUDE_CIDRS, Raw::of(&self.exclude_cidrs));
        fields
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut unknown = Fields::deserialize(deserializer)?;
        let mut settings = Self::default();
        if let Some(mode) = known(&mut unknown, ENCAPSULATION) {
            settings.encapsulation = mode;
        }
        if let Some(ranges) = known(&mut unknown, EXCLUDE_CIDRS) {
            settings.exclude_cidrs = ranges;
        }
        settings.unknown = unknown;
        Ok(settings)
    }
}

/// Takes a field out, unless this version cannot read its value.
fn known<T: serde::de::DeserializeOwned>(fields: &mut Fields, name: &str) -> Option<T> {
    let value = fields.get(name)?.read().ok()?;
    fields.remove(name);
    Some(value)
}
