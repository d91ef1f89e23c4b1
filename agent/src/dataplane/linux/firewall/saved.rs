//! Reads what `iptables-save` shows.
//!
//! Rules of other programs may hold any text. So the output is read as iptables writes it
//! (`xtables_save_string` in its `libxtables/xtables.c`): a text that is not a plain word stands in double
//! quotes, in which a backslash comes before a quote or a backslash, and line breaks stay as they are. What
//! is not podnet's to the letter is another program's.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::SocketAddr;

use podnet_core::kernel::firewall::{Chain, Device, Mark, Protocol, Rule, Service, Verdict};
use podnet_core::kernel::{BRIDGE, IfName, can_be_guarded};

use super::render::jump;

/// What the names of podnet's chains begin with.
const CHAIN_PREFIX: &str = "PODNET-";

/// What begins the line that adds a rule.
const RULE: &str = "-A ";

/// The longest text that iptables keeps in a rule is far below this; whatever does not end by then is no
/// quoted text.
const LONGEST_TEXT: usize = 4096;

/// What the tables hold of podnet's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Saved {
    /// Podnet's chains. A rule that podnet never makes is `None`.
    pub(super) chains: BTreeMap<Chain, Vec<Option<Rule>>>,
    /// How often podnet's own jump to each chain stands in the built-in one.
    pub(super) jumps: BTreeMap<Chain, usize>,
    /// The chains that rules of other programs jump to.
    pub(super) referenced: BTreeSet<Chain>,
    /// Chains of other programs that bear names like podnet's, as `TABLE/NAME`.
    pub(super) namesakes: BTreeSet<String>,
    /// The chains whose table iptables cannot show.
    pub(super) unreadable: BTreeSet<Chain>,
    /// Rules of other programs before podnet's jump that accept whatever is forwarded, or whatever comes in or leaves
    /// by a device.
    pub(super) ahead: BTreeSet<String>,
    /// Whether the filter table has the chain that forwarded packets pass.
    pub(super) filters_forwarded: bool,
}

/// Reads the output of `iptables-save`.
pub(super) fn parse(saved: &str) -> Saved {
    let mut found = Saved::default();
    let mut table = "";
    for line in Lines(saved) {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim_end();
        } else if let Some(chain) = line.strip_prefix(':') {
            let name = chain.split(' ').next().unwrap_or_default();
            if let Some(chain) = chain_named(table, name) {
                found.chains.entry(chain).or_default();
            } else if name.starts_with(CHAIN_PREFIX) {
                found.namesakes.insert(format!("{table}/{name}"));
            }
            found.filters_forwarded |=
                table == Chain::Forward.table() && name == Chain::Forward.hook();
        } else if let Some(rule) = line.strip_prefix(RULE) {
            parse_rule(table, rule, &mut found);
        } else if let Some(name) = hidden_table(line) {
            let chains = Chain::ALL.into_iter();
            let hidden = chains.filter(|chain| chain.table() == name);
            found.unreadable.extend(hidden);
        }
    }
    found
}

/// The table that the nft variant says it cannot show, as something in it was not made by iptables. It says
/// so in a comment, and exits with success.
fn hidden_table(line: &str) -> Option<&str> {
    let (name, what) = line.strip_prefix("# Table `")?.split_once('\'')?;
    what.starts_with(" is incompatible").then_some(name)
}

/// The lines of the output; a line break in quotes ends none.
struct Lines<'a>(&'a str);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let end = if self.0.starts_with(RULE) {
            words(self.0).last().map_or(0, |word| word.end)
        } else {
            0
        };
        let rest = &self.0[end..];
        let end = end + rest.find('\n').unwrap_or(rest.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix('\n').unwrap_or(rest);
        Some(line)
    }
}

/// A word of a rule, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word<'a> {
    text: &'a str,
    /// Where it ends in what was read.
    end: usize,
}

/// The words of the rule that this begins with.
fn words(rule: &str) -> impl Iterator<Item = Word<'_>> {
    let mut at = 0;
    let mut before = "";
    std::iter::from_fn(move || {
        let start = at + rule[at..].find(|c| c != ' ')?;
        let rest = &rule[start..];
        if rest.starts_with('\n') {
            return None;
        }
        let quoted = if takes_bare_name(before) {
            None
        } else {
            quoted_len(rest)
        };
        let len = quoted.unwrap_or_else(|| rest.find([' ', '\n']).unwrap_or(rest.len()));
        at = start + len;
        before = &rest[..len];
        Some(Word {
            text: before,
            end: at,
        })
    })
}

/// Whether the word after this one is the name of a chain or of a device, which may hold quotes, and which
/// iptables writes down as it is.
fn takes_bare_name(option: &str) -> bool {
    matches!(
        option,
        "-A" | "-i" | "-o" | "-j" | "-g" | "--physdev-in" | "--physdev-out"
    )
}

/// The length of the text in quotes that this begins with, the quotes included.
fn quoted_len(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().take(LONGEST_TEXT) {
        match byte {
            b'"' if at == 0 => {}
            _ if at == 0 => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                let rest = &text[at + 1..];
                return (rest.is_empty() || rest.starts_with([' ', '\n'])).then_some(at + 1);
            }
            _ => {}
        }
    }
    None
}

fn parse_rule(table: &str, rule: &str, found: &mut Saved) {
    let (holder, matches) = rule.split_once(' ').unwrap_or((rule, ""));
    if let Some(chain) = chain_named(table, holder) {
        let rules = found.chains.entry(chain).or_default();
        rules.push(parse_match(matches));
        return;
    }
    let own = |chain: &Chain| chain.table() == table && rule == jump(*chain);
    if let Some(chain) = Chain::ALL.into_iter().find(own) {
        *found.jumps.entry(chain).or_default() += 1;
        return;
    }
    let words: Vec<Word<'_>> = words(matches).collect();
    let leads_to = words.windows(2).find_map(|pair| match pair {
        [option, target] if matches!(option.text, "-j" | "-g") => chain_named(table, target.text),
        _ => None,
    });
    found.referenced.extend(leads_to);
    let hook = (table, holder) == (Chain::Forward.table(), Chain::Forward.hook());
    if hook && !found.jumps.contains_key(&Chain::Forward) && accepts_strangers(&words) {
        found.ahead.insert(format!("{RULE}{rule}"));
    }
}

/// Whether a rule accepts whatever is forwarded, or whatever comes in or leaves by a device.
fn accepts_strangers(words: &[Word<'_>]) -> bool {
    let mut words = words.iter().map(|word| word.text);
    let mut all_but = false;
    while let Some(word) = words.next() {
        match word {
            "-j" => return words.next() == Some("ACCEPT"),
            "!" => {
                all_but = true;
                continue;
            }
            // What pods send, and what goes to pods, is accepted anyway.
            "-i" | "-o" if words.next() != Some(BRIDGE) || all_but => {}
            _ => return false,
        }
        all_but = false;
    }
    false
}

fn chain_named(table: &str, name: &str) -> Option<Chain> {
    Chain::ALL
        .into_iter()
        .find(|chain| chain.table() == table && chain.name() == name)
}

/// Reads a rule of podnet's; `None` for one that podnet never makes.
fn parse_match(matches: &str) -> Option<Rule> {
    let mut rule = Rule::all(Verdict::Return);
    let mut negated = false;
    let mut words = matches.split(' ');
    while let Some(word) = words.next() {
        let all_but = mem::take(&mut negated);
        match word {
            "!" if !all_but => negated = true,
            "-s" if !all_but && rule.source.is_none() => {
                rule.source = Some(words.next()?.parse().ok()?);
            }
            "-d" if !all_but && rule.destination.is_none() => {
                rule.destination = Some(words.next()?.parse().ok()?);
            }
            "-i" if rule.input.is_none() => rule.input = Some(device(words.next()?, all_but)?),
            "-o" if rule.output.is_none() => rule.output = Some(device(words.next()?, all_but)?),
            "-p" if !all_but && rule.service.is_none() => {
                let protocol = protocol(words.next()?)?;
                let port = None;
                rule.service = Some(Service { protocol, port });
            }
            "-m" if !all_but => match (words.next()?, words.next()?) {
                (name, "--dport") => {
                    let service = rule.service.as_mut();
                    let service = service.filter(|service| service.protocol.name() == name)?;
                    service.port = Some(words.next()?.parse().ok()?);
                }
                ("mark", "--mark") if rule.mark.is_none() => {
                    rule.mark = Some(bits(words.next()?)?);
                }
                _ => return None,
            },
            "-j" if !all_but => {
                let target: Vec<_> = words.collect();
                rule.verdict = verdict(&target)?;
                return Some(rule);
            }
            _ => return None,
        }
    }
    None
}

fn verdict(target: &[&str]) -> Option<Verdict> {
    Some(match target {
        ["RETURN"] => Verdict::Return,
        ["ACCEPT"] => Verdict::Accept,
        ["DROP"] => Verdict::Drop,
        ["MASQUERADE", "--random-fully"] => Verdict::Masquerade,
        ["DNAT", "--to-destination", to] => match to.parse::<SocketAddr>() {
            Ok(to) => Verdict::Redirect(to.ip(), Some(to.port())),
            Err(_) => Verdict::Redirect(to.parse().ok()?, None),
        },
        _ => return None,
    })
}

fn protocol(name: &str) -> Option<Protocol> {
    let mut all = Protocol::ALL.into_iter();
    all.find(|protocol| protocol.name() == name)
}

/// A mark, with its mask or with none for all bits.
fn bits(text: &str) -> Option<Mark> {
    let number = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (number(value)?, number(mask)?),
        None => (number(text)?, u32::MAX),
    };
    Some(Mark { value, mask })
}

/// A condition on a device. A name that ends in `+` stands for many, and is none of podnet's.
fn device(name: &str, all_but: bool) -> Option<Device> {
    let name: IfName = name.parse().ok().filter(can_be_guarded)?;
    Some(if all_but {
        Device::IsNot(name)
    } else {
        Device::Is(name)
    })
}
