//! Settings of the cluster that this version cannot carry out. A node that has met one follows the
//! ledger and decides nothing: it does not know what follows from the setting.

use podnet_proto::ledger::{EncapsulationMode, Settings};

/// The longest value of a setting that is shown, in characters.
const MAX_SHOWN: usize = 60;

/// A setting that this version does not know, or whose value it cannot carry out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownSetting {
    /// Its name.
    pub name: String,
    /// Its value as JSON, shortened.
    pub value: String,
}

/// The settings that this version cannot carry out, by name.
pub(super) fn unknown_settings(settings: &Settings) -> Vec<UnknownSetting> {
    let unknown = settings.unknown();
    let mut unknown: Vec<UnknownSetting> = unknown
        .map(|(name, value)| UnknownSetting {
            name: shown(name),
            value: shown(value),
        })
        .collect();
    if !carries(settings.encapsulation) {
        unknown.push(UnknownSetting {
            name: "encapsulation".to_owned(),
            value: format!("\"{}\"", settings.encapsulation),
        });
    }
    unknown
}

/// Whether this version can carry out all settings.
pub(super) fn knows_all(settings: &Settings) -> bool {
    settings.unknown().next().is_none() && carries(settings.encapsulation)
}

/// There are no tunnels in this version.
const fn carries(mode: EncapsulationMode) -> bool {
    match mode {
        EncapsulationMode::Direct => true,
        EncapsulationMode::Auto | EncapsulationMode::Wireguard => false,
    }
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str("..");
    }
    shown
}

#[cfg(test)]
mod tests;
