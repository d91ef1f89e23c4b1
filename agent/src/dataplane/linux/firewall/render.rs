//! Rules as text for `iptables-restore`, and back from what `iptables-save` shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ipnetwork::IpNetwork;
use podnet_core::firewall::{Chain, Rule, RuleSet, Verdict};

/// What names the owner of a jump to those who read the built-in chains.
const COMMENT: &str = "podnet";

/// What one table holds of podnet's, and the jumps to it as `iptables-save` writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Saved {
    /// Podnet's chains. A rule that podnet never makes is `None`.
    pub(super) chains: BTreeMap<Chain, Vec<Option<Rule>>>,
    /// The jumps to each chain from the built-in one, without the leading `-A`.
    pub(super) jumps: BTreeMap<Chain, Vec<String>>,
    /// Whether the filter table has the chain that forwarded packets pass.
    pub(super) filters_forwarded: bool,
}

/// Reads the output of `iptables-save`.
pub(super) fn parse(saved: &str) -> Saved {
    let mut found = Saved::default();
    let mut table = "";
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim_end();
        } else if let Some(chain) = line.strip_prefix(':') {
            let name = chain.split(' ').next().unwrap_or_default();
            if let Some(chain) = chain_named(table, name) {
                found.chains.entry(chain).or_default();
            }
            found.filters_forwarded |=
                table == Chain::Forward.table() && name == Chain::Forward.hook();
        } else if let Some(rule) = line.strip_prefix("-A ") {
            parse_rule(table, rule, &mut found);
        }
    }
    found
}

fn parse_rule(table: &str, rule: &str, found: &mut Saved) {
    let (holder, matches) = rule.split_once(' ').unwrap_or((rule, ""));
    if let Some(chain) = chain_named(table, holder) {
        found
            .chains
            .entry(chain)
            .or_default()
            .push(parse_match(matches));
    }
    let mut words = matches
        .split(' ')
        .skip_while(|word| !matches!(*word, "-j" | "-g"))
        .skip(1);
    let Some(chain) = words.next().and_then(|target| chain_named(table, target)) else {
        return;
    };
    if holder == chain.hook() {
        found
            .jumps
            .entry(chain)
            .or_default()
            .push(rule.trim_end().to_owned());
    }
}

fn chain_named(table: &str, name: &str) -> Option<Chain> {
    Chain::ALL
        .into_iter()
        .find(|chain| chain.table() == table && chain.name() == name)
}

/// Reads a rule of podnet's; `None` for one that podnet never makes.
fn parse_match(matches: &str) -> Option<Rule> {
    let mut rule = Rule {
        source: None,
        destination: None,
        verdict: Verdict::Return,
    };
    let mut words = matches.split_ascii_whitespace();
    while let Some(word) = words.next() {
        match word {
            "-s" if rule.source.is_none() => rule.source = Some(words.next()?.parse().ok()?),
            "-d" if rule.destination.is_none() => {
                rule.destination = Some(words.next()?.parse().ok()?);
            }
            "-j" => {
                let target: Vec<_> = words.collect();
                rule.verdict = match target.as_slice() {
                    ["RETURN"] => Verdict::Return,
                    ["ACCEPT"] => Verdict::Accept,
                    ["MASQUERADE", "--random-fully"] => Verdict::Masquerade,
                    _ => return None,
                };
                return Some(rule);
            }
            _ => return None,
        }
    }
    None
}

/// The input for `iptables-restore --noflush` that makes a back end hold exactly these rules:
/// each table changes at once. `None` where there is nothing to change.
pub(super) fn script(found: &Saved, wanted: &RuleSet) -> Option<String> {
    let mut script = String::new();
    for chain in Chain::ALL {
        let commands = match wanted.chains.get(&chain) {
            Some(rules) => fill(chain, rules, found),
            None => remove(chain, found),
        };
        if !commands.is_empty() {
            let _infallible = writeln!(script, "*{}\n{}COMMIT", chain.table(), commands);
        }
    }
    (!script.is_empty()).then_some(script)
}

/// Fills a chain; to name a chain empties it first. One jump leads to it, from the first place of
/// the built-in chain where there is none yet.
fn fill(chain: Chain, rules: &[Rule], found: &Saved) -> String {
    let jump = jump(chain);
    let mut script = format!(":{} - [0:0]\n", chain.name());
    let written = rules.iter().filter(|rule| is_ipv4(rule));
    for rule in written {
        let _infallible = writeln!(script, "-A {}{}", chain.name(), render(rule));
    }
    let jumps = found
        .jumps
        .get(&chain)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let kept = jumps.iter().position(|found| *found == jump);
    for (position, superfluous) in jumps.iter().enumerate() {
        if Some(position) != kept {
            let _infallible = writeln!(script, "-D {superfluous}");
        }
    }
    if kept.is_none() {
        let _infallible = writeln!(
            script,
            "-I {} 1{}",
            chain.hook(),
            &jump[chain.hook().len()..]
        );
    }
    script
}

fn remove(chain: Chain, found: &Saved) -> String {
    let mut script = String::new();
    for jump in found.jumps.get(&chain).into_iter().flatten() {
        let _infallible = writeln!(script, "-D {jump}");
    }
    if found.chains.contains_key(&chain) {
        let _infallible = writeln!(script, "-F {0}\n-X {0}", chain.name());
    }
    script
}

/// The jump to a chain, as `iptables-save` writes it.
fn jump(chain: Chain) -> String {
    format!(
        "{} -m comment --comment {COMMENT} -j {}",
        chain.hook(),
        chain.name()
    )
}

/// A rule, as `iptables-save` writes it.
fn render(rule: &Rule) -> String {
    let mut text = String::new();
    for (option, network) in [("-s", rule.source), ("-d", rule.destination)] {
        if let Some(network) = network {
            let _infallible = write!(text, " {option} {network}");
        }
    }
    text.push_str(match rule.verdict {
        Verdict::Return => " -j RETURN",
        Verdict::Accept => " -j ACCEPT",
        Verdict::Masquerade => " -j MASQUERADE --random-fully",
    });
    text
}

fn is_ipv4(rule: &Rule) -> bool {
    [rule.source, rule.destination]
        .iter()
        .flatten()
        .all(IpNetwork::is_ipv4)
}
