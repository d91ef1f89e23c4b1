//! Rules as text for `iptables-restore`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use podnet_core::kernel::firewall::{Chain, Device, Mark, Rule, RuleSet, Service, Verdict};

use super::saved::Saved;

/// What names the owner of a jump to those who read the built-in chains.
const COMMENT: &str = "podnet";

/// The input for `iptables-restore --noflush` that makes a back end hold exactly these rules:
/// each table changes at once, and one that cannot be read does not change. `None` if there is
/// nothing to change.
pub(super) fn script(found: &Saved, wanted: &RuleSet) -> Option<String> {
    let mut script = String::new();
    let readable = |chain: &Chain| !found.unreadable.contains(chain);
    for chain in Chain::ALL.into_iter().filter(readable) {
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
/// the built-in chain if there is none yet.
fn fill(chain: Chain, rules: &[Rule], found: &Saved) -> String {
    let mut script = format!(":{} - [0:0]\n", chain.name());
    let written = rules.iter().filter(|rule| rule.is_of_ipv4());
    for rule in written {
        let _infallible = writeln!(script, "-A {}{}", chain.name(), render(rule));
    }
    let jumps = jumps(chain, found);
    script.push_str(&delete_jumps(chain, jumps.saturating_sub(1)));
    if jumps == 0 {
        let jump = jump(chain);
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
    let mut script = delete_jumps(chain, jumps(chain, found));
    let Some(rules) = found.chains.get(&chain) else {
        return script;
    };
    if !rules.is_empty() {
        let _infallible = writeln!(script, "-F {}", chain.name());
    }
    // The kernel keeps a chain that other chains jump to, and then the rest would not be done either.
    if !found.referenced.contains(&chain) {
        let _infallible = writeln!(script, "-X {}", chain.name());
    }
    script
}

fn jumps(chain: Chain, found: &Saved) -> usize {
    found.jumps.get(&chain).copied().unwrap_or_default()
}

/// Deletes podnet's own jump to a chain this often.
fn delete_jumps(chain: Chain, count: usize) -> String {
    format!("-D {}\n", jump(chain)).repeat(count)
}

/// The jump to a chain, as `iptables-save` writes it.
pub(super) fn jump(chain: Chain) -> String {
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
    if let Some(Service { protocol, port }) = rule.service {
        let protocol = protocol.name();
        let _infallible = write!(text, " -p {protocol}");
        if let Some(port) = port {
            let _infallible = write!(text, " -m {protocol} --dport {port}");
        }
    }
    if let Some(mark) = rule.mark {
        let _infallible = write!(text, " -m mark --mark {}", bits(mark));
    }
    let _infallible = match rule.verdict {
        Verdict::Return => write!(text, " -j RETURN"),
        Verdict::Accept => write!(text, " -j ACCEPT"),
        Verdict::Drop => write!(text, " -j DROP"),
        Verdict::Masquerade => write!(text, " -j MASQUERADE --random-fully"),
        Verdict::Redirect(to, None) => write!(text, " -j DNAT --to-destination {to}"),
        Verdict::Redirect(to, Some(port)) => {
            let to = SocketAddr::new(to, port);
            write!(text, " -j DNAT --to-destination {to}")
        }
    };
    text
}

/// A mark, as iptables writes what it compares: a mask that leaves all bits is not named.
fn bits(Mark { value, mask }: Mark) -> String {
    if mask == u32::MAX {
        format!("{value:#x}")
    } else {
        format!("{value:#x}/{mask:#x}")
    }
}
