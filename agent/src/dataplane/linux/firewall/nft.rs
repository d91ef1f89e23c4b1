//! Chains of nftables that other programs keep, as `nft -j` shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use podnet_core::nft::{
    Base, ChainName, Condition, Hook, Names, NftChain, NftRule, NftVerdict, Ranges, Ruleset,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::nft;
use super::iptables::ProgramError;

/// How much of a table is read, in bytes: one with more rules is not judged.
const MOST: usize = 1 << 20;

/// Looks at the tables with chains that forwarded packets pass; `None` if `nft` cannot read them.
pub(super) async fn observe() -> Option<Ruleset> {
    match read().await {
        Ok(ruleset) => Some(ruleset),
        Err(error) => {
            tracing::debug!(%error, "chains of other programs are not looked at");
            None
        }
    }
}

async fn read() -> Result<Ruleset, ProgramError> {
    let chains = nft::show(&["list", "chains"]).await?;
    let tables: BTreeSet<(String, String)> = parse(&chains)
        .chains
        .into_iter()
        .filter(|(_, chain)| chain.base.is_some())
        .map(|(name, _)| (name.family, name.table))
        .collect();
    let mut ruleset = Ruleset::default();
    for (family, table) in tables {
        // Without the elements of sets.
        match nft::show(&["-t", "list", "table", &family, &table]).await {
            Ok(shown) if shown.len() <= MOST => ruleset.chains.extend(parse(&shown).chains),
            Ok(_) => tracing::debug!(family, table, "too long to be judged"),
            // It may be gone by now.
            Err(error) => tracing::debug!(family, table, %error, "not judged"),
        }
    }
    Ok(ruleset)
}

#[derive(Deserialize)]
struct Document {
    nftables: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    chain: Option<Chain>,
    rule: Option<Rule>,
}

#[derive(Deserialize)]
struct Chain {
    family: String,
    table: String,
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    hook: Option<String>,
    policy: Option<String>,
}

#[derive(Deserialize)]
struct Rule {
    family: String,
    table: String,
    chain: String,
    handle: u64,
    expr: Vec<Map<String, Value>>,
}

/// Reads the output of `nft -j`; what is not understood is left out, or unknown.
pub(super) fn parse(shown: &str) -> Ruleset {
    let document: Document = match serde_json::from_str(shown) {
        Ok(document) => document,
        Err(error) => {
            tracing::debug!(%error, "nft shows what is not understood");
            return Ruleset::default();
        }
    };
    let mut chains: BTreeMap<ChainName, NftChain> = BTreeMap::new();
    for object in document.nftables {
        if let Some(found) = object.chain.filter(|found| sees_ipv4(&found.family)) {
            let base = base(&found);
            let name = ChainName {
                family: found.family,
                table: found.table,
                chain: found.name,
            };
            chains.entry(name).or_default().base = base;
        } else if let Some(found) = object.rule.filter(|found| sees_ipv4(&found.family)) {
            let rule = rule(&found.expr, found.handle);
            let name = ChainName {
                family: found.family,
                table: found.table,
                chain: found.chain,
            };
            chains.entry(name).or_default().rules.push(rule);
        }
    }
    Ruleset { chains }
}

/// Whether chains of a family are called for packets of IPv4 that are routed.
fn sees_ipv4(family: &str) -> bool {
    matches!(family, "ip" | "inet")
}

fn base(chain: &Chain) -> Option<Base> {
    let hook = match (chain.kind.as_deref()?, chain.hook.as_deref()?) {
        ("filter", "forward") => Hook::Forward,
        ("nat", "postrouting") => Hook::SourceNat,
        _ => return None,
    };
    Some(Base {
        hook,
        drops: chain.policy.as_deref() == Some("drop"),
    })
}

fn rule(statements: &[Map<String, Value>], handle: u64) -> NftRule {
    let mut rule = NftRule {
        conditions: Vec::new(),
        verdict: NftVerdict::None,
        handle,
    };
    for (name, value) in statements.iter().flatten() {
        match name.as_str() {
            "match" => rule.conditions.push(condition(value)),
            "counter" | "log" | "comment" | "mangle" | "notrack" => {}
            "xt" => of_iptables(value, &mut rule),
            "accept" => rule.verdict = NftVerdict::Accept,
            "drop" | "reject" => rule.verdict = NftVerdict::Drop,
            "return" => rule.verdict = NftVerdict::Return,
            "masquerade" | "snat" => rule.verdict = NftVerdict::Translate,
            "jump" => rule.verdict = led_to(value, NftVerdict::Jump),
            "goto" => rule.verdict = led_to(value, NftVerdict::Goto),
            // A condition like a limit, or a verdict like that of a map.
            _ => {
                rule.conditions.push(Condition::Unknown);
                rule.verdict = NftVerdict::Unknown;
            }
        }
    }
    rule
}

/// What only iptables can read, but for its name.
fn of_iptables(value: &Value, rule: &mut NftRule) {
    match (value["type"].as_str(), value["name"].as_str()) {
        (Some("match"), Some("comment")) | (Some("target"), Some("LOG")) => {}
        (Some("match"), _) => rule.conditions.push(Condition::Unknown),
        (_, Some("MASQUERADE" | "SNAT")) => rule.verdict = NftVerdict::Translate,
        (_, Some("REJECT")) => rule.verdict = NftVerdict::Drop,
        _ => rule.verdict = NftVerdict::Unknown,
    }
}

fn led_to(value: &Value, verdict: impl Fn(String) -> NftVerdict) -> NftVerdict {
    let target = value["target"].as_str();
    target.map_or(NftVerdict::Unknown, |target| verdict(target.to_owned()))
}

fn condition(value: &Value) -> Condition {
    known_condition(value).unwrap_or(Condition::Unknown)
}

fn known_condition(value: &Value) -> Option<Condition> {
    let all_but = match value["op"].as_str()? {
        "==" | "in" => false,
        "!=" => true,
        _ => return None,
    };
    let (left, right) = (&value["left"], &value["right"]);
    if let Some(key) = left["meta"]["key"].as_str() {
        let of_ipv4 = |protocol| Condition::Ipv4((text(right) == Some(protocol)) != all_but);
        return match key {
            "iifname" | "iif" => Some(Condition::Input(names(right, all_but)?)),
            "oifname" | "oif" => Some(Condition::Output(names(right, all_but)?)),
            "nfproto" => text(right).map(|_| of_ipv4("ipv4")),
            "protocol" => text(right).map(|_| of_ipv4("ip")),
            _ => None,
        };
    }
    if left["ct"]["key"] == "state" {
        let states: Option<Vec<&str>> = listed(right)?.iter().map(|state| text(state)).collect();
        return Some(Condition::Opens(states?.contains(&"new") != all_but));
    }
    let field = &left["payload"];
    match (field["protocol"].as_str()?, field["field"].as_str()?) {
        ("ip", "saddr") => Some(Condition::Source(ranges(right, all_but)?)),
        ("ip", "daddr") => Some(Condition::Destination(ranges(right, all_but)?)),
        ("ip6", _) => Some(Condition::Ipv4(false)),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

/// The values of a set that stands in a rule, or a single one.
fn listed(value: &Value) -> Option<Vec<&Value>> {
    match value {
        Value::Array(values) => Some(values.iter().collect()),
        Value::Object(object) => match object.get("set") {
            Some(Value::Array(values)) => Some(values.iter().collect()),
            Some(_) => None,
            None => Some(vec![value]),
        },
        // The name of a set, whose elements are not known.
        Value::String(name) if name.starts_with('@') => None,
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => Some(vec![value]),
    }
}

fn names(value: &Value, all_but: bool) -> Option<Names> {
    let names: Option<Vec<String>> = listed(value)?
        .into_iter()
        .map(|name| text(name).map(str::to_owned))
        .collect();
    let names = names?;
    Some(Names { names, all_but })
}

fn ranges(value: &Value, all_but: bool) -> Option<Ranges> {
    let ranges: Option<Vec<_>> = listed(value)?.into_iter().map(range).collect();
    let ranges = ranges?;
    Some(Ranges { ranges, all_but })
}

fn range(value: &Value) -> Option<(Ipv4Addr, Ipv4Addr)> {
    if let Some(address) = text(value) {
        let address = address.parse().ok()?;
        return Some((address, address));
    }
    if let Some([from, to]) = value["range"].as_array().map(Vec::as_slice) {
        return Some((text(from)?.parse().ok()?, text(to)?.parse().ok()?));
    }
    let prefix = &value["prefix"];
    let len = u8::try_from(prefix["len"].as_u64()?).ok()?;
    let network = Ipv4Network::new(text(&prefix["addr"])?.parse().ok()?, len).ok()?;
    Some((network.network(), network.broadcast()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use podnet_core::nft::{Flow, suspects};

    use super::*;

    /// What `nft -j list table inet fw` shows (nft 1.0.6) of rules of many kinds.
    const SHOWN: &str = include_str!("nft/shown.json");

    #[test]
    fn what_decides_about_pods_is_read() {
        let ruleset = parse(SHOWN);
        let chain = |name: &str| {
            let mut found = ruleset.chains.iter();
            found.find(|(chain, _)| chain.chain == name).unwrap().1
        };
        let forward = chain("forward");
        let drops = Some(Base {
            hook: Hook::Forward,
            drops: true,
        });
        assert_eq!(forward.base, drops);
        let between = |from: [u8; 4], to: [u8; 4]| Ranges {
            ranges: vec![(from.into(), to.into())],
            all_but: false,
        };
        let names = |names: &[&str], all_but| Names {
            names: names.iter().map(ToString::to_string).collect(),
            all_but,
        };
        assert_eq!(forward.rules[0].conditions, [Condition::Opens(false)]);
        assert_eq!(
            forward.rules[1].conditions,
            [
                Condition::Input(names(&["podnet0"], false)),
                Condition::Output(names(&["lo"], true)),
                Condition::Source(between([10, 0, 0, 0], [10, 255, 255, 255])),
                Condition::Destination(between([10, 244, 0, 0], [10, 244, 9, 255])),
            ]
        );
        assert_eq!(forward.rules[2].conditions, [Condition::Unknown]);
        assert_eq!(forward.rules[3].verdict, NftVerdict::Jump("sub".to_owned()));
        let web = &forward.rules[4];
        assert_eq!(web.conditions, [Condition::Ipv4(true), Condition::Unknown]);
        assert_eq!(
            forward.rules[5].conditions,
            [Condition::Input(names(&["eth0", "vpn*"], false))]
        );
        assert_eq!(forward.rules[6].verdict, NftVerdict::Drop);
        assert_eq!(chain("p").rules[0].verdict, NftVerdict::Translate);
        assert_eq!(chain("sub").base, None);
        let flow = Flow {
            input: "podnet0".parse().unwrap(),
            output: "eth0".parse().unwrap(),
            source: "10.244.0.0/24".parse().unwrap(),
            destination: "10.244.1.0/24".parse().unwrap(),
        };
        let found = suspects(&ruleset, &[flow]);
        let found: BTreeSet<_> = found
            .iter()
            .map(|found| (found.chain.chain.as_str(), found.certain))
            .collect();
        assert_eq!(found, [("p", true)].into());
    }

    #[test]
    fn no_text_makes_the_parser_fail() {
        for text in ["", "{}", "null", "{\"nftables\":[{\"rule\":{}}]}"] {
            assert_eq!(parse(text), Ruleset::default());
        }
    }
}
