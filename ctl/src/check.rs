//! What can be refused without asking the agent.

use std::net::{IpAddr, SocketAddr};

use ipnetwork::IpNetwork;
use podnet_proto::network::{DEFAULT_BLOCK_PREFIX, parse_range};
use podnet_proto::{ApiError, ErrorCode, NodeName, PodName, PodNetwork};

/// A pod's name.
pub(crate) fn pod_name(text: &str) -> Result<PodName, ApiError> {
    text.parse::<PodName>()
        .map_err(|error| ApiError::new(ErrorCode::BadName, format!("pod name: {error}")))
}

/// The name of a node, if one is given.
pub(crate) fn node_name(flag: &str, text: Option<&str>) -> Result<(), ApiError> {
    text.map_or(Ok(()), |text| {
        text.parse::<NodeName>()
            .map(drop)
            .map_err(|error| ApiError::new(ErrorCode::BadName, format!("{flag}: {error}")))
    })
}

/// `ADDR[:PORT]`. No host names: whom a node talks to must not depend on a resolver that may well
/// be a pod.
pub(crate) fn address(what: &str, text: &str) -> Result<(), ApiError> {
    let (address, port) = match text.parse::<SocketAddr>() {
        Ok(socket) => (Some(socket.ip()), socket.port()),
        Err(_) => (bare_address(text), 1),
    };
    let bad = |why: &str| {
        Err(ApiError::new(
            ErrorCode::BadAddress,
            format!("{what}: {why}"),
        ))
    };
    match address {
        // A token in the place of an address is easily typed, and must not be printed.
        None if text.starts_with("podnet1") => bad("a token is no address; give it with --token"),
        None => bad(&format!(
            "'{}' is not an IP address such as 192.0.2.11 or 192.0.2.11:7846",
            text.escape_default().take(80).collect::<String>()
        )),
        Some(address) if address.is_unspecified() || address.is_multicast() => {
            bad(&format!("{address} is not the address of one host"))
        }
        Some(_) if port == 0 => bad("0 is not a port"),
        Some(_) => Ok(()),
    }
}

fn bare_address(text: &str) -> Option<IpAddr> {
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse().ok().filter(IpAddr::is_ipv6),
        None => text.parse().ok(),
    }
}

/// Pod networks and the prefix lengths of their blocks; gives the latter as numbers, none where
/// none was given.
pub(crate) fn pod_networks(cidrs: &[String], prefixes: &[String]) -> Result<Vec<u8>, ApiError> {
    let prefixes = prefixes
        .iter()
        .map(|text| block_prefix(text))
        .collect::<Result<Vec<_>, _>>()?;
    for cidr in cidrs {
        if is_ipv6(cidr) {
            return Err(ApiError::new(
                ErrorCode::Unsupported,
                format!("pod CIDR {cidr}: IPv6 pod networks are not supported"),
            )
            .hint("leave it out"));
        }
    }
    let [cidr] = cidrs else {
        return Err(bad_cidr("pod CIDR", "exactly one IPv4 range is possible"));
    };
    if prefixes.len() > 1 {
        return Err(bad_cidr("block prefix", "more of them than pod CIDRs"));
    }
    let prefix = prefixes.first().copied().unwrap_or(DEFAULT_BLOCK_PREFIX);
    PodNetwork::parse(cidr, prefix).map_err(|error| bad_cidr("pod CIDR", error))?;
    Ok(prefixes)
}

/// A destination that is to see the pods' own addresses.
pub(crate) fn exclude_cidr(text: &str) -> Result<(), ApiError> {
    const WHAT: &str = "excluded CIDR";
    if is_ipv6(text) {
        return Err(ApiError::new(
            ErrorCode::Unsupported,
            format!("{WHAT} {text}: IPv6 is not supported"),
        ));
    }
    parse_range(text).map_err(|error| bad_cidr(WHAT, error))?;
    Ok(())
}

fn block_prefix(text: &str) -> Result<u8, ApiError> {
    text.parse().map_err(|_| {
        let text: String = text.escape_default().take(80).collect();
        bad_cidr(
            "block prefix",
            format!("'{text}' is not a prefix length such as 24"),
        )
    })
}

fn is_ipv6(cidr: &str) -> bool {
    cidr.parse::<IpNetwork>().is_ok_and(|cidr| cidr.is_ipv6())
}

fn bad_cidr(what: &str, why: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::BadCidr, format!("{what}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(cidrs: &[&str], prefixes: &[&str]) -> Result<Vec<u8>, ErrorCode> {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        pod_networks(&owned(cidrs), &owned(prefixes)).map_err(|error| error.code)
    }

    #[test]
    fn pod_networks_are_checked() {
        assert_eq!(networks(&["10.244.0.0/16"], &[]), Ok(vec![]));
        assert_eq!(networks(&["10.244.0.0/20"], &["26"]), Ok(vec![26]));
        for (cidrs, prefixes, code) in [
            (&["banana"][..], &[][..], ErrorCode::BadCidr),
            (&["10.244.0.1/16"], &[], ErrorCode::BadCidr),
            (&["10.244.0.0/16"], &["15"], ErrorCode::BadCidr),
            (&["10.244.0.0/16"], &["300"], ErrorCode::BadCidr),
            (&["10.244.0.0/16"], &["24", "64"], ErrorCode::BadCidr),
            (&["10.244.0.0/16", "10.245.0.0/16"], &[], ErrorCode::BadCidr),
            (
                &["10.244.0.0/16", "fd00::/48"],
                &["24", "64"],
                ErrorCode::Unsupported,
            ),
            (&["fd00::/48"], &[], ErrorCode::Unsupported),
        ] {
            assert_eq!(
                networks(cidrs, prefixes),
                Err(code),
                "{cidrs:?} {prefixes:?}"
            );
        }
    }

    #[test]
    fn addresses_are_checked() {
        for good in [
            "192.0.2.1",
            "192.0.2.1:7846",
            "::1",
            "[::1]",
            "[fd00::1]:7846",
        ] {
            assert_eq!(address("ADDR", good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "node1",
            "192.0.2.256",
            "192.0.2.1:0",
            "192.0.2.1:70000",
            "192.0.2.1:",
            "[192.0.2.1]",
            "0.0.0.0",
            "224.0.0.1",
            "192.0.2.1/24",
        ] {
            assert_eq!(
                address("ADDR", bad).unwrap_err().code,
                ErrorCode::BadAddress,
                "{bad}"
            );
        }
    }

    #[test]
    fn a_token_in_the_place_of_an_address_is_not_printed() {
        let error = address("ADDR", "podnet1.c2VjcmV0").unwrap_err();
        assert!(!error.message.contains("c2VjcmV0"), "{error}");
    }

    #[test]
    fn excluded_ranges_are_checked() {
        assert_eq!(exclude_cidr("192.168.0.0/16"), Ok(()));
        for bad in ["192.168.0.0", "192.168.0.1/16"] {
            let error = exclude_cidr(bad).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadCidr, "{bad}: {error}");
        }
        assert_eq!(
            exclude_cidr("fd00::/8").unwrap_err().code,
            ErrorCode::Unsupported
        );
    }
}
