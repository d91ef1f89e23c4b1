//! Kernel parameters.

use std::collections::BTreeMap;

use super::link::IfName;

/// A kernel parameter of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkParameter {
    /// Whether a new IPv6 address waits for the detection of duplicates.
    AcceptDad,
    /// Whether IPv6 addresses and routes come by the advertisements of routers.
    AcceptRa,
    /// Whether the link does without IPv6.
    DisableIpv6,
    /// Whether IPv4 packets that come in by the link are forwarded.
    Forwarding,
    /// Whether, when an IPv4 address is removed, those that came later in its range stay.
    PromoteSecondaries,
    /// Whether IPv4 packets are dropped whose source is not reached by the link that they came in by.
    ReversePathFilter,
    /// Whether routers, or hosts that claim to be one, may redirect IPv4 packets that leave by the link.
    AcceptRedirects,
    /// The same for all links of the namespace: a link heeds redirects if either says so.
    AcceptRedirectsOfAll,
}

/// Parameters of a link, and their values.
pub type LinkParameters = BTreeMap<LinkParameter, i32>;

impl LinkParameter {
    /// The parameters that podnet sets on its bridge.
    pub const OF_BRIDGE: [Self; 4] = [
        Self::AcceptRa,
        Self::Forwarding,
        Self::PromoteSecondaries,
        Self::ReversePathFilter,
    ];

    /// The parameters that podnet sets on the interface of a pod.
    pub const OF_POD: [Self; 5] = [
        Self::AcceptDad,
        Self::AcceptRa,
        Self::DisableIpv6,
        Self::AcceptRedirects,
        Self::AcceptRedirectsOfAll,
    ];

    /// The directory of all links' parameters of its kind, below `/proc/sys`.
    #[must_use]
    pub const fn directory(self) -> &'static str {
        match self {
            Self::AcceptDad | Self::AcceptRa | Self::DisableIpv6 => "net/ipv6/conf",
            Self::Forwarding
            | Self::PromoteSecondaries
            | Self::ReversePathFilter
            | Self::AcceptRedirects
            | Self::AcceptRedirectsOfAll => "net/ipv4/conf",
        }
    }

    /// The directory's entry that has it for a link.
    #[must_use]
    pub const fn entry(self, link: &str) -> &str {
        if matches!(self, Self::AcceptRedirectsOfAll) {
            "all"
        } else {
            link
        }
    }

    /// The name of its file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcceptDad => "accept_dad",
            Self::AcceptRa => "accept_ra",
            Self::DisableIpv6 => "disable_ipv6",
            Self::Forwarding => "forwarding",
            Self::PromoteSecondaries => "promote_secondaries",
            Self::ReversePathFilter => "rp_filter",
            Self::AcceptRedirects | Self::AcceptRedirectsOfAll => "accept_redirects",
        }
    }

    /// The parameter of a link, as `sysctl` names it.
    #[must_use]
    pub fn on(self, link: &IfName) -> String {
        let directory = self.directory().replace('/', ".");
        // A dot in the name of a link does not separate names.
        let link = self.entry(link.as_str()).replace('.', "/");
        format!("{directory}.{link}.{}", self.name())
    }
}

/// What is wrong with the parameters of a link, in words. A parameter that is not there needs no value.
pub(super) fn defects(
    link: &IfName,
    wanted: &LinkParameters,
    found: &LinkParameters,
) -> Vec<String> {
    let differing = wanted.iter().filter_map(|(parameter, wanted)| {
        let value = found.get(parameter).filter(|value| *value != wanted)?;
        Some(format!("{} = {value}", parameter.on(link)))
    });
    differing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_parameter_is_named_as_by_sysctl() {
        let link = "eth0.7".parse().unwrap();
        let named = LinkParameter::AcceptRa.on(&link);
        assert_eq!(named, "net.ipv6.conf.eth0/7.accept_ra");
        let named = LinkParameter::PromoteSecondaries.on(&link);
        assert_eq!(named, "net.ipv4.conf.eth0/7.promote_secondaries");
        let named = LinkParameter::AcceptRedirectsOfAll.on(&link);
        assert_eq!(named, "net.ipv4.conf.all.accept_redirects");
    }
}
