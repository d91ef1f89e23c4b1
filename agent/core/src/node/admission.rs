//! Requests, checked as far as that needs no look at the host.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use podnet_proto::api::{InitRequest, JoinRequest};
use podnet_proto::ledger::{EncapsulationMode, Settings};
use podnet_proto::network::{DEFAULT_BLOCK_PREFIX, parse_range};
use podnet_proto::token::JoinToken;
use podnet_proto::{ApiError, ErrorCode, NodeName, PodNetwork, PodNetworkError};

/// The longest wait for the first answer of a member.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most members that are asked at once, four times a second each.
const MAX_TARGETS: usize = 64;

/// The most excluded CIDRs: each is a rule on every node, and all are part of the ledger, which
/// gossip carries as one value.
const MAX_EXCLUDED: usize = 64;

/// An `init` request, checked as far as that needs no look at the host.
#[derive(Debug, PartialEq, Eq)]
pub struct Founding {
    /// The pod networks.
    pub networks: Vec<PodNetwork>,
    /// What holds for the whole cluster.
    pub settings: Settings,
    /// The node's label, if the user gave one.
    pub name: Option<NodeName>,
    /// Where peers are to reach it, if the user said so.
    pub advertise: Option<SocketAddrV4>,
}

/// A `join` request, checked in the same way.
#[derive(Debug, PartialEq, Eq)]
pub struct Admission {
    /// What admits it.
    pub token: JoinToken,
    /// The members to ask.
    pub targets: Vec<SocketAddrV4>,
    /// The node's label, if the user gave one.
    pub name: Option<NodeName>,
    /// Where peers are to reach it, if the user said so.
    pub advertise: Option<SocketAddrV4>,
    /// How long to wait for the first answer of a member.
    pub patience: Duration,
}

/// Checks a `join` request; `port` is the port of addresses that name none.
///
/// # Errors
/// What is wrong with it.
pub fn admission(request: &JoinRequest, port: u16) -> Result<Admission, ApiError> {
    let token = request.token.parse().map_err(|why| {
        ApiError::new(ErrorCode::BadToken, format!("join token: {why}"))
            .hint("copy it whole from 'podnetctl token show' on a member")
    })?;
    let name = request.node_name.as_deref().map(node_name).transpose()?;
    let advertise = request
        .advertise
        .as_deref()
        .map(|text| endpoint(text, port))
        .transpose()?;
    let targets = request
        .addresses
        .iter()
        .map(|text| endpoint(text, port))
        .collect::<Result<Vec<_>, _>>()?;
    if request.replace.is_some() {
        return Err(unsupported("join --replace"));
    }
    if targets.is_empty() {
        return Err(ApiError::new(
            ErrorCode::BadAddress,
            "join: no member's address is given",
        ));
    }
    if targets.len() > MAX_TARGETS {
        return Err(ApiError::new(
            ErrorCode::Usage,
            format!("join: more than {MAX_TARGETS} addresses are given"),
        )
        .hint("one member's is enough"));
    }
    let patience = match request.timeout_seconds.map(Duration::try_from_secs_f64) {
        None => PATIENCE,
        Some(Ok(patience)) => patience.min(PATIENCE),
        Some(Err(why)) => {
            let message = format!("join: timeout_seconds: {why}");
            return Err(ApiError::new(ErrorCode::Usage, message));
        }
    };
    Ok(Admission {
        token,
        targets,
        name,
        advertise,
        patience,
    })
}

/// Checks an `init` request; `port` is the port of an address that names none.
///
/// # Errors
/// What is wrong with it.
pub fn founding(request: &InitRequest, port: u16) -> Result<Founding, ApiError> {
    let bad_cidr = |what: &str, why: &dyn std::fmt::Display| {
        ApiError::new(ErrorCode::BadCidr, format!("{what}: {why}"))
    };
    let [cidr] = &request.pod_cidrs[..] else {
        return Err(match request.pod_cidrs[..] {
            [] => bad_cidr("pod CIDR", &"none is given")
                .hint("give one, for instance --pod-cidr 10.244.0.0/16"),
            [..] => unsupported("more than one pod CIDR"),
        });
    };
    if cidr.contains(':') {
        return Err(unsupported("an IPv6 pod CIDR"));
    }
    let prefix = match request.block_prefixes[..] {
        [] => DEFAULT_BLOCK_PREFIX,
        [prefix] => prefix,
        [..] => return Err(bad_cidr("block prefix", &"there are more than pod CIDRs")),
    };
    let network = PodNetwork::parse(cidr, prefix).map_err(|why| {
        let what = match why {
            PodNetworkError::BlockPrefix { .. } => "block prefix",
            PodNetworkError::NotACidr(_)
            | PodNetworkError::HostBits { .. }
            | PodNetworkError::Reserved { .. } => "pod CIDR",
        };
        bad_cidr(what, &why)
    })?;
    if request.exclude_cidrs.len() > MAX_EXCLUDED {
        return Err(bad_cidr(
            "excluded CIDR",
            &format!("there are more than {MAX_EXCLUDED}"),
        ));
    }
    let exclude_cidrs = request
        .exclude_cidrs
        .iter()
        .map(|text| parse_range(text).map_err(|why| bad_cidr("excluded CIDR", &why)))
        .collect::<Result<_, _>>()?;
    Ok(Founding {
        networks: vec![network],
        settings: Settings::new(
            encapsulation(request.encapsulation.as_deref())?,
            exclude_cidrs,
        ),
        name: request.node_name.as_deref().map(node_name).transpose()?,
        advertise: request
            .advertise
            .as_deref()
            .map(|text| endpoint(text, port))
            .transpose()?,
    })
}

/// The encapsulation in the ledger: the agent chooses `direct` as long as there are no tunnels.
fn encapsulation(text: Option<&str>) -> Result<EncapsulationMode, ApiError> {
    match text {
        None | Some("auto" | "direct") => Ok(EncapsulationMode::Direct),
        Some("wireguard") => Err(unsupported("the encapsulation wireguard")),
        Some(other) => {
            let other: String = other.escape_default().take(40).collect();
            Err(ApiError::new(
                ErrorCode::Usage,
                format!("encapsulation '{other}': it is none of auto, direct, wireguard"),
            ))
        }
    }
}

fn unsupported(what: &str) -> ApiError {
    ApiError::new(
        ErrorCode::Unsupported,
        format!("{what}: this version does not support it"),
    )
}

fn node_name(text: &str) -> Result<NodeName, ApiError> {
    text.parse()
        .map_err(|invalid| ApiError::new(ErrorCode::BadName, format!("node name: {invalid}")))
}

/// Parses `ADDR[:PORT]`.
fn endpoint(text: &str, port: u16) -> Result<SocketAddrV4, ApiError> {
    let address = text
        .parse::<Ipv4Addr>()
        .map(|ip| SocketAddrV4::new(ip, port));
    let address = address
        .or_else(|_| text.parse::<SocketAddrV4>())
        .ok()
        .filter(|address| {
            let ip = address.ip();
            !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || address.port() == 0)
        });
    address.ok_or_else(|| {
        let text: String = text.escape_default().take(80).collect();
        ApiError::new(
            ErrorCode::BadAddress,
            format!("address '{text}': it is not an IPv4 address with or without a port"),
        )
        .hint("write it as 192.0.2.1 or 192.0.2.1:7846")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(cidr: &str) -> InitRequest {
        InitRequest {
            pod_cidrs: vec![cidr.to_owned()],
            ..InitRequest::default()
        }
    }

    fn code(request: &InitRequest) -> ErrorCode {
        founding(request, 7846).unwrap_err().code
    }

    #[test]
    fn bad_requests_have_their_codes() {
        assert!(founding(&request("10.244.0.0/16"), 7846).is_ok());
        assert_eq!(code(&request("10.244.0.1/16")), ErrorCode::BadCidr);
        assert_eq!(code(&request("fd00::/48")), ErrorCode::Unsupported);
        assert_eq!(code(&InitRequest::default()), ErrorCode::BadCidr);
        let with = |change: fn(&mut InitRequest)| {
            let mut request = request("10.244.0.0/16");
            change(&mut request);
            request
        };
        let prefix = with(|r| r.block_prefixes = vec![33]);
        assert_eq!(code(&prefix), ErrorCode::BadCidr);
        let excluded = with(|r| r.exclude_cidrs = vec!["10.0.0.0".to_owned()]);
        assert_eq!(code(&excluded), ErrorCode::BadCidr);
        let many = with(|r| r.exclude_cidrs = vec!["10.0.0.0/8".to_owned(); MAX_EXCLUDED + 1]);
        assert_eq!(code(&many), ErrorCode::BadCidr);
        let wireguard = with(|r| r.encapsulation = Some("wireguard".to_owned()));
        assert_eq!(code(&wireguard), ErrorCode::Unsupported);
        let foo = with(|r| r.encapsulation = Some("foo".to_owned()));
        assert_eq!(code(&foo), ErrorCode::Usage);
        let name = with(|r| r.node_name = Some("A_b".to_owned()));
        assert_eq!(code(&name), ErrorCode::BadName);
        let advertise = with(|r| r.advertise = Some("0.0.0.0".to_owned()));
        assert_eq!(code(&advertise), ErrorCode::BadAddress);
    }

    #[test]
    fn the_agents_choice_of_an_encapsulation_is_the_one_that_there_is() {
        for asked in [None, Some("auto"), Some("direct")] {
            let request = InitRequest {
                encapsulation: asked.map(str::to_owned),
                ..request("10.244.0.0/16")
            };
            let settings = founding(&request, 7846).unwrap().settings;
            assert_eq!(
                settings.encapsulation,
                EncapsulationMode::Direct,
                "{asked:?}"
            );
        }
    }

    #[test]
    fn an_endpoint_has_a_default_port() {
        assert_eq!(
            endpoint("192.0.2.1", 7846).unwrap().to_string(),
            "192.0.2.1:7846"
        );
        assert_eq!(
            endpoint("192.0.2.1:1", 7846).unwrap().to_string(),
            "192.0.2.1:1"
        );
        for bad in [
            "",
            "host",
            "192.0.2.1:0",
            "::1",
            "192.0.2.1:99999",
            "224.0.0.1",
        ] {
            assert_eq!(
                endpoint(bad, 7846).unwrap_err().code,
                ErrorCode::BadAddress,
                "{bad}"
            );
        }
    }
}
