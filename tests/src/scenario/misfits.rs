//! Values that are refused wherever they come from: on a command line, over the control socket, in a
//! variable. The test of each level draws from these; what is wrong with a level's own form, such as a
//! flag or a type of JSON, stands with its test.

use podnet_proto::ErrorCode;

/// What is no pod network.
pub const POD_CIDRS: &[(&str, ErrorCode)] = &[
    ("", ErrorCode::BadCidr),
    ("banana", ErrorCode::BadCidr),
    ("10.244.0.0", ErrorCode::BadCidr),
    ("10.244.0.0/", ErrorCode::BadCidr),
    ("10.244.0.0/33", ErrorCode::BadCidr),
    ("10.244.0.0/-1", ErrorCode::BadCidr),
    ("10.244.0.0/16/24", ErrorCode::BadCidr),
    ("10.244.0.1/16", ErrorCode::BadCidr),
    ("10.244.0/16", ErrorCode::BadCidr),
    ("0.0.0.0/0", ErrorCode::BadCidr),
    ("127.0.0.0/16", ErrorCode::BadCidr),
    ("169.254.0.0/16", ErrorCode::BadCidr),
    ("224.0.0.0/8", ErrorCode::BadCidr),
    ("240.0.0.0/8", ErrorCode::BadCidr),
    ("10.244.0.0/32", ErrorCode::BadCidr),
    ("fd00:244::/48", ErrorCode::Unsupported),
];

/// The prefix lengths that no block of 10.244.0.0/16 has: [`ErrorCode::BadCidr`].
pub const BLOCK_PREFIXES: &[u8] = &[0, 8, 15, 31, 32];

/// What is no range that is left to others: [`ErrorCode::BadCidr`].
pub const EXCLUDED_CIDRS: &[&str] = &["", "here", "10.0.0.0", "10.0.0.0/33", "10.9.1.1/16"];

/// What is no name of a node or of a pod: [`ErrorCode::BadName`].
pub const NAMES: &[&str] = &[
    "",
    "Red",
    "-red",
    "red-",
    "re_d",
    "re/d",
    "re d",
    "..",
    "../../etc",
    "r\u{f6}d",
    "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr",
];

/// What no node can tell its peers as its address: [`ErrorCode::BadAddress`].
pub const ADVERTISED: &[&str] = &[
    "",
    "node1",
    ":7846",
    "192.168.56.11:",
    "192.168.56.11:0",
    "192.168.56.11:65536",
    "0.0.0.0",
    "224.0.0.1",
    "::1",
];

/// Where no member can be asked: [`ErrorCode::BadAddress`].
pub const SEEDS: &[&str] = &[
    "banana",
    "192.168.56",
    "192.168.56.256",
    "192.168.56.11/24",
    "192.168.56.11:0",
    "192.168.56.11:x",
    "0.0.0.0",
];

#[cfg(test)]
mod tests {
    use podnet_proto::{NodeName, PodName};

    use super::*;

    #[test]
    fn no_type_takes_them() {
        for name in NAMES {
            assert!(name.parse::<NodeName>().is_err(), "{name}");
            assert!(name.parse::<PodName>().is_err(), "{name}");
        }
    }
}
