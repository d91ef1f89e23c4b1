//! Rules as text for `iptables-restore`, and back from what `iptables-save` shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::mem;

use ipnetwork::IpNetwork;
use podnet_core::firewall::{Chain, Device, Rule, RuleSet, Verdict};
use podnet_core::kernel::{IfName, can_be_guarded};

/// What names the owner of a jump to those who read the built-in chains.
const COMMENT: &str = "podnet";

/// What the names of podnet's chains begin with.
const CHAIN_PREFIX: &str = "PODNET-";

/// What one table holds of podnet's, and the jumps to it as `iptables-save` writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Saved {
    /// Podnet's chains. A rule that podnet never makes is `None`.
    pub(super) chains: BTreeMap<Chain, Vec<Option<Rule>>>,
    /// The jumps to each chain from the built-in one, without the leading `-A`.
    pub(super) jumps: BTreeMap<Chain, Vec<String>>,
    /// The chains that rules of others jump to, from other chains.
    pub(super) referenced: BTreeSet<Chain>,
    /// Chains of others that bear names like podnet's, as `TABLE/NAME`.
    pub(super) namesakes: BTreeSet<String>,
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
            } else if name.starts_with(CHAIN_PREFIX) {
                found.namesakes.insert(format!("{table}/{name}"));
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
    } else if chain_named(table, holder).is_none() {
        found.referenced.insert(chain);
    }
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
    let mut words = matches.split_ascii_whitespace();
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
            "-j" if !all_but => {
                let target: Vec<_> = words.collect();
                rule.verdict = match target.as_slice() {
                    ["RETURN"] => Verdict::Return,
                    ["ACCEPT"] => Verdict::Accept,
                    ["DROP"] => Verdict::Drop,
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

/// A condition on a device. A name that ends in `+` stands for many, and is none of podnet's.
fn device(name: &str, all_but: bool) -> Option<Device> {
    let name: IfName = name.parse().ok().filter(can_be_guarded)?;
    Some(if all_but {
        Device::IsNot(name)
    } else {
        Device::Is(name)
    })
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
    let Some(rules) = found.chains.get(&chain) else {
        return script;
    };
    if !rules.is_empty() {
        let _infallible = writeln!(script, "-F {}", chain.name());
    }
    // The kernel keeps a chain that others jump to, and then the rest would not be done either.
    if !found.referenced.contains(&chain) {
        let _infallible = writeln!(script, "-X {}", chain.name());
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
    for (option, device) in [("-i", &rule.input), ("-o", &rule.output)] {
        let _infallible = match device {
            Some(Device::Is(name)) => write!(text, " {option} {name}"),
            Some(Device::IsNot(name)) => write!(text, " ! {option} {name}"),
            None => Ok(()),
        };
    }
    text.push_str(match rule.verdict {
        Verdict::Return => " -j RETURN",
        Verdict::Accept => " -j ACCEPT",
        Verdict::Drop => " -j DROP",
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

#[cfg(test)]
mod tests {
    use podnet_core::firewall::{Guard, rules};
    use proptest::prelude::*;

    use super::*;

    /// What `iptables-save` shows on a host with Docker 28 and an nft table of somebody else's,
    /// shortened.
    const DOCKER_HOST: &str = r#"# Generated by iptables-save v1.8.9 (nf_tables) on Mon Jan  5 10:00:00 2026
*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
COMMIT
*filter
:INPUT ACCEPT [12:1034]
:FORWARD DROP [3:180]
:OUTPUT ACCEPT [9:820]
:DOCKER - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-USER - [0:0]
:PODNET-FORWARD - [0:0]
-A FORWARD -m comment --comment podnet -j PODNET-FORWARD
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-FORWARD -m comment --comment "not PODNET-FORWARD" -i docker0 -j ACCEPT
-A DOCKER-USER -s 10.244.0.0/16 -j PODNET-FORWARD
-A PODNET-FORWARD -s 10.244.0.0/16 -i podnet0 -j ACCEPT
-A PODNET-FORWARD -d 10.244.0.0/16 -o podnet0 -j ACCEPT
-A PODNET-FORWARD -i br0 -o br0 -j RETURN
-A PODNET-FORWARD -i eth0 ! -o podnet0 -j DROP
-A PODNET-FORWARD -i eth+ ! -o podnet0 -j DROP
COMMIT
# Table `fw' is incompatible, use 'nft' tool.
*nat
:PREROUTING ACCEPT [1:60]
:POSTROUTING ACCEPT [5:300]
:DOCKER - [0:0]
:PODNET-FORWARD - [0:0]
:PODNET-POSTROUTING - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -m comment --comment "two words" -j PODNET-POSTROUTING
-A POSTROUTING -o eth1 -g PODNET-POSTROUTING
-A PODNET-POSTROUTING -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN
-A PODNET-POSTROUTING -s 10.244.0.0/16 ! -d 10.9.0.0/16 -j RETURN
-A PODNET-POSTROUTING -s 10.244.0.0/16 -j MASQUERADE
-A PODNET-POSTROUTING -s 10.244.0.0/16 -j MASQUERADE --random-fully
COMMIT
"#;

    fn network(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn podnets_rules_are_found_among_others() {
        let found = parse(DOCKER_HOST);
        let pods = Some(network("10.244.0.0/16"));
        let rule = |source, destination, verdict| {
            Some(Rule {
                source,
                destination,
                ..Rule::all(verdict)
            })
        };
        let is = |name: &str| Some(Device::Is(name.parse().unwrap()));
        let between = |input, output, rule: Option<Rule>| {
            rule.map(|rule| Rule {
                input,
                output,
                ..rule
            })
        };
        let not_pods = Some(Device::IsNot(IfName::bridge()));
        assert_eq!(
            found.chains[&Chain::Forward],
            [
                between(is("podnet0"), None, rule(pods, None, Verdict::Accept)),
                between(None, is("podnet0"), rule(None, pods, Verdict::Accept)),
                between(is("br0"), is("br0"), rule(None, None, Verdict::Return)),
                between(is("eth0"), not_pods, rule(None, None, Verdict::Drop)),
                None,
            ]
        );
        assert_eq!(
            found.chains[&Chain::Postrouting],
            [
                rule(pods, pods, Verdict::Return),
                None,
                None,
                rule(pods, None, Verdict::Masquerade),
            ]
        );
        assert_eq!(found.jumps[&Chain::Forward], [jump(Chain::Forward)]);
        assert_eq!(found.jumps[&Chain::Postrouting].len(), 2);
        assert!(found.filters_forwarded);
    }

    #[test]
    fn only_what_differs_about_the_jumps_is_changed() {
        let guard = Guard {
            device: "eth0".parse().unwrap(),
            bridge: false,
        };
        let rules = rules(&[network("10.244.0.0/16")], &[], &[guard]);
        let script = script(&parse(DOCKER_HOST), &rules).unwrap();
        assert_eq!(
            script,
            "*nat\n\
             :PODNET-POSTROUTING - [0:0]\n\
             -A PODNET-POSTROUTING -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN\n\
             -A PODNET-POSTROUTING -s 10.244.0.0/16 -d 224.0.0.0/4 -j RETURN\n\
             -A PODNET-POSTROUTING -s 10.244.0.0/16 -j MASQUERADE --random-fully\n\
             -D POSTROUTING -m comment --comment \"two words\" -j PODNET-POSTROUTING\n\
             -D POSTROUTING -o eth1 -g PODNET-POSTROUTING\n\
             -I POSTROUTING 1 -m comment --comment podnet -j PODNET-POSTROUTING\n\
             COMMIT\n\
             *filter\n\
             :PODNET-FORWARD - [0:0]\n\
             -A PODNET-FORWARD -s 10.244.0.0/16 -i podnet0 -j ACCEPT\n\
             -A PODNET-FORWARD -d 10.244.0.0/16 -o podnet0 -j ACCEPT\n\
             -A PODNET-FORWARD -i eth0 ! -o podnet0 -j DROP\n\
             COMMIT\n"
        );
    }

    #[test]
    fn removal_takes_the_jumps_first() {
        let rule = "-A DOCKER-USER -s 10.244.0.0/16 -j PODNET-FORWARD\n";
        let alone = parse(&DOCKER_HOST.replace(rule, ""));
        let script = script(&alone, &RuleSet::default()).unwrap();
        let filter = "*filter\n\
                      -D FORWARD -m comment --comment podnet -j PODNET-FORWARD\n\
                      -F PODNET-FORWARD\n\
                      -X PODNET-FORWARD\n\
                      COMMIT\n";
        assert!(script.ends_with(filter), "{script}");
        assert_eq!(super::script(&parse(""), &RuleSet::default()), None);
    }

    #[test]
    fn a_chain_that_others_jump_to_is_emptied_and_stays() {
        let found = parse(DOCKER_HOST);
        assert_eq!(found.referenced, [Chain::Forward].into());
        assert_eq!(found.namesakes, ["nat/PODNET-FORWARD".to_owned()].into());
        let script = script(&found, &RuleSet::default()).unwrap();
        assert!(script.ends_with("-F PODNET-FORWARD\nCOMMIT\n"), "{script}");
        let husk = "*filter\n:PODNET-FORWARD - [0:0]\n-A MINE -j PODNET-FORWARD\nCOMMIT\n";
        assert_eq!(super::script(&parse(husk), &RuleSet::default()), None);
    }

    prop_compose! {
        fn any_network()(address: u32, prefix in 1u8..=32) -> IpNetwork {
            let network = ipnetwork::Ipv4Network::new(address.into(), prefix).unwrap();
            IpNetwork::new(network.network().into(), prefix).unwrap()
        }
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let network = || proptest::option::of(any_network());
        let verdict = prop_oneof![
            Just(Verdict::Return),
            Just(Verdict::Accept),
            Just(Verdict::Drop),
            Just(Verdict::Masquerade)
        ];
        let rule = (network(), network(), any_device(), any_device(), verdict);
        rule.prop_map(|(source, destination, input, output, verdict)| Rule {
            source,
            destination,
            input,
            output,
            verdict,
        })
    }

    fn any_device() -> impl Strategy<Value = Option<Device>> {
        let name = prop::sample::select(vec!["podnet0", "eth0", "eth0.7", "br-1a2b", "wg_0"]);
        let device = (name, any::<bool>()).prop_map(|(name, is)| {
            let name = name.parse().unwrap();
            if is {
                Device::Is(name)
            } else {
                Device::IsNot(name)
            }
        });
        prop::option::of(device)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            rules in proptest::collection::vec(any_rule(), 0..20),
            both: bool,
        ) {
            let chains = Chain::ALL.into_iter().skip(usize::from(!both));
            let wanted = RuleSet { chains: chains.map(|chain| (chain, rules.clone())).collect() };
            let text = script(&Saved::default(), &wanted).unwrap();
            // iptables-save lists a jump where iptables-restore was told to insert it.
            let found = parse(&text.replace("-I FORWARD 1", "-A FORWARD")
                .replace("-I POSTROUTING 1", "-A POSTROUTING"));
            for (chain, rules) in &wanted.chains {
                let expected: Vec<_> = rules.iter().cloned().map(Some).collect();
                prop_assert_eq!(&found.chains[chain], &expected);
                prop_assert_eq!(&found.jumps[chain], &[jump(*chain)]);
            }
            prop_assert_eq!(found.chains.len(), wanted.chains.len());
        }

        #[test]
        fn no_text_makes_the_parser_fail(text in "(\\*|:|-A |-j |-s |! -o |PODNET-FORWARD|[ -~]|\n){0,80}") {
            let _ = parse(&text);
        }
    }
}
