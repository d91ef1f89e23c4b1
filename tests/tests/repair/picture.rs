//! All that podnet holds on a node and inside of its pods, and what is next to it.

use std::collections::BTreeSet;

use podnet_lab::prelude::*;
use serde_json::{Deserializer, Value};

/// What `ip -batch` is asked in the node, and in each of its pods.
const OBJECTS: &str =
    "link show\naddress show\nneighbour show nud permanent\nroute show table all\nrule show";

/// What others have of IPv6: of what the kernel gives to each link, none is of anybody's choice.
const OBJECTS6: &str = "address show to fd00::/8\nroute show table all root fd00::/8\nrule show";

/// Tables that are not those of the iptables of IPv4, with their lines as `iptables-save` has them.
const OTHER_TABLES: &str = "ip6tables-save | sed 's/^[*]/*6/'; \
    for table in $(nft list tables | awk '{print $2 \"/\" $3}'); do echo \"*nft $table\"; \
    case $table in *6/*|ip/*) ;; *) nft -s list table ${table%/*} ${table#*/} | \
    tr , '\\n' | sed 's/^[[:space:]]*//; s/^elements = { //; s/ }$//';; esac; done";

/// What is forwarded from each device, but for those of pods.
const FORWARDING: &str = "cd /proc/sys/net/ipv4/conf; grep -s '' */forwarding | \
    sed '/^pn/d; s,\\(.*\\)/forwarding:,forwarding \\1 ,'; \
    sed 's/^/forwarding only from where its source is: /' podnet0/rp_filter";

/// What bridges do with their ports, and which link-layer addresses podnet's has at which for good.
const PORTS: &str = "bridge -j -details link; bridge -j fdb show br podnet0 state static";

/// What stands between the objects and the rules.
const RULES: &str = "\"rules\"";

/// A node at one moment, an entry per object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture(BTreeSet<String>);

impl Picture {
    /// Takes a picture, in a single program: repairs are waited for by many of them.
    pub(crate) fn of(node: Node<'_>, pods: &[&str]) -> Self {
        let mut script = format!(
            "ip -4 -j -force -batch - <<'end'\n{OBJECTS}\nend\n{PORTS}\n\
             ip -6 -j -force -batch - <<'end'\n{OBJECTS6}\nend\n"
        );
        for pod in pods {
            script += &format!(
                "echo '\"in {pod}\"'; ip -n {pod} -4 -j -force -batch - <<'end'\n{OBJECTS}\nend\n"
            );
        }
        script += &format!(
            "echo '{RULES}'; iptables-save; cat /proc/net/ip_tables_names; \
             grep -q . /proc/net/ip_tables_names && iptables-legacy-save | sed 's/^[*]/*legacy /'; \
             {OTHER_TABLES}; {FORWARDING}"
        );
        // While something is missing, some of these commands fail.
        let output = node.attempt(&format!("set +e\n{script}")).stdout;
        let (objects, rules) = output.split_once(RULES).unwrap_or_default();
        let mut entries = BTreeSet::new();
        let mut place = "on the node".to_owned();
        for value in Deserializer::from_str(objects).into_iter::<Value>() {
            let value = value.unwrap_or_else(|error| panic!("{error}: {output}"));
            if let Value::String(pod) = value {
                place = pod;
            } else if let Value::Array(objects) = value {
                let objects = objects.into_iter().filter_map(lasting);
                entries.extend(objects.map(|object| format!("{place}: {object}")));
            }
        }
        let mut table = "";
        for line in rules.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with('*') {
                table = line;
            }
            // Counters are of the moment.
            let line = line.split(" [").next().unwrap_or_default();
            entries.insert(if line.starts_with("forwarding") {
                line.to_owned()
            } else {
                format!("{table} {line}")
            });
        }
        Self(entries)
    }

    /// The picture with no other firewall rules than podnet's.
    pub(crate) fn without_foreign_rules(self) -> Self {
        let foreign = |entry: &String| entry.starts_with('*') && !entry.contains("PODNET-");
        Self(self.0.into_iter().filter(|entry| !foreign(entry)).collect())
    }

    /// Entries that have this in their text.
    pub(crate) fn entries<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a String> {
        self.0.iter().filter(move |entry| entry.contains(text))
    }

    /// What `now` does not show any more.
    pub(crate) fn missing_in<'a>(&'a self, now: &'a Self) -> Vec<&'a String> {
        self.0.difference(&now.0).collect()
    }

    /// Whether `now` shows the same.
    pub(crate) fn same(&self, now: &Self) -> Result<(), String> {
        let (missing, extra) = (self.missing_in(now), now.missing_in(self));
        if missing.is_empty() && extra.is_empty() {
            Ok(())
        } else {
            Err(format!("missing {missing:#?}, extra {extra:#?}"))
        }
    }
}

/// An object without the numbers that the kernel counts up, and without what nobody chose: the
/// link-layer address of a host end.
fn lasting(mut object: Value) -> Option<Value> {
    let random = object["ifname"]
        .as_str()
        .is_some_and(|name| name.starts_with("pn"));
    // `ip -batch` shows an empty object for what it has nothing to say of.
    let fields = object.as_object_mut().filter(|fields| !fields.is_empty())?;
    // `bridge` reads the number of a link in another namespace as one of this.
    for number in ["ifindex", "link", "link_index", "link_netnsid"] {
        fields.remove(number);
    }
    if random && fields.get("ifname") != Some(&"podnet0".into()) {
        fields.remove("address");
    }
    Some(object)
}
