//! The form of each document that scripts read.

use std::net::{IpAddr, SocketAddr};

use crate::schema::Form;

const NODE_ADDRESS: Form = Form::Reads(|text| text.parse::<SocketAddr>().is_ok());
const ADDRESS: Form = Form::Reads(|text| text.parse::<IpAddr>().is_ok());
const CIDR: Form = Form::Reads(|text| {
    text.split_once('/').is_some_and(|(address, prefix)| {
        address.parse::<IpAddr>().is_ok() && prefix.parse::<u8>().is_ok()
    })
});
/// RFC 3339 in UTC: `2026-01-31T12:00:00.5Z`.
const TIME: Form = Form::Reads(|text| {
    text.len() >= "2026-01-31T12:00:00Z".len()
        && text.ends_with('Z')
        && text
            .bytes()
            .zip(b"0000-00-00T00:00:00".iter())
            .all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                mark => byte == *mark,
            })
});
const MAC: Form = Form::Reads(|text| {
    text.split(':').count() == 6
        && text
            .split(':')
            .all(|byte| u8::from_str_radix(byte, 16).is_ok())
});

const SELF: Form = Form::Object(&[
    ("id", Form::Text),
    ("name", Form::Text),
    ("addresses", Form::List(&NODE_ADDRESS)),
    ("version", Form::Text),
    ("boot", Form::Text),
    ("instance", Form::Text),
]);
const CLUSTER: Form = Form::Object(&[
    ("id", Form::Text),
    ("pod_cidrs", Form::List(&CIDR)),
    ("block_prefixes", Form::List(&Form::Count)),
    (
        "encapsulation",
        Form::Word(&["auto", "direct", "wireguard"]),
    ),
    ("nodes", Form::Count),
    ("live_nodes", Form::Count),
]);
const NODE: Form = Form::Object(&[
    ("id", Form::Text),
    ("name", Form::Nullable(&Form::Text)),
    ("self", Form::Flag),
    ("addresses", Form::List(&NODE_ADDRESS)),
    ("blocks", Form::List(&CIDR)),
    ("live", Form::Flag),
    ("last_seen_seconds", Form::Nullable(&Form::Seconds)),
    ("boot", Form::Nullable(&Form::Text)),
    (
        "encapsulation",
        Form::Nullable(&Form::Word(&["direct", "wireguard"])),
    ),
    (
        "path",
        Form::Nullable(&Form::Word(&["ok", "pending", "failed"])),
    ),
    ("path_reason", Form::Nullable(&Form::Text)),
]);
pub(super) const NODES: Form = Form::List(&NODE);
pub(super) const STATUS: Form = Form::Object(&[
    ("api", Form::Count),
    (
        "phase",
        Form::Word(&[
            "idle",
            "joining",
            "ready",
            "no-quorum",
            "full",
            "fenced",
            "leaving",
        ]),
    ),
    ("node", SELF),
    ("cluster", Form::Nullable(&CLUSTER)),
    ("blocks", Form::List(&CIDR)),
    ("gateways", Form::List(&ADDRESS)),
    ("mtu", Form::Nullable(&Form::Count)),
    (
        "quorum",
        Form::Object(&[
            ("voters", Form::Count),
            ("reachable", Form::Count),
            ("ok", Form::Flag),
        ]),
    ),
    ("pods", Form::Count),
    (
        "held_by",
        Form::Nullable(&Form::Word(&["nftables", "bridge"])),
    ),
    ("held_reason", Form::Nullable(&Form::Text)),
    ("peers", Form::List(&NODE)),
    (
        "reconcile",
        Form::Object(&[
            ("passes", Form::Count),
            ("operations_total", Form::Count),
            ("failed_total", Form::Count),
            ("drift_total", Form::Count),
            ("last_at", Form::Nullable(&TIME)),
            ("last_duration_seconds", Form::Nullable(&Form::Seconds)),
        ]),
    ),
    (
        "problems",
        Form::List(&Form::Object(&[
            ("code", Form::Text),
            ("severity", Form::Word(&["error", "warning"])),
            ("message", Form::Text),
            ("hint", Form::Nullable(&Form::Text)),
        ])),
    ),
]);
pub(super) const ROUTES: Form = Form::List(&Form::Object(&[
    ("destination", CIDR),
    ("via", Form::Nullable(&ADDRESS)),
    ("device", Form::Nullable(&Form::Text)),
    ("node", Form::Nullable(&Form::Text)),
    ("protocol", Form::Count),
    (
        "state",
        Form::Word(&["ok", "missing", "foreign", "unreachable"]),
    ),
]));
pub(super) const POD: Form = Form::Object(&[
    ("name", Form::Text),
    ("node", Form::Text),
    ("state", Form::Word(&["ready", "gone", "fenced"])),
    ("addresses", Form::List(&CIDR)),
    ("gateways", Form::List(&ADDRESS)),
    ("mac", MAC),
    ("mtu", Form::Count),
    ("netns", Form::Text),
    ("ifname", Form::Text),
    ("host_ifname", Form::Text),
    ("created_at", TIME),
    ("labels", Form::Labels),
    ("trusted", Form::Flag),
]);
pub(super) const PODS: Form = Form::List(&POD);
pub(super) const INIT: Form = Form::Object(&[
    ("node", SELF),
    ("cluster", CLUSTER),
    ("blocks", Form::List(&CIDR)),
    ("token", Form::Text),
    ("join_command", Form::Text),
]);
pub(super) const JOIN: Form = Form::Object(&[
    ("node", SELF),
    ("cluster", CLUSTER),
    ("blocks", Form::List(&CIDR)),
]);
pub(super) const TOKEN: Form = Form::Object(&[("token", Form::Text), ("join_command", Form::Text)]);
pub(super) const VERSION: Form = Form::Object(&[
    ("podnetctl", Form::Text),
    ("podnetd", Form::Nullable(&Form::Text)),
]);
pub(super) const ERROR: Form = Form::Object(&[(
    "error",
    Form::Object(&[
        ("code", Form::Text),
        ("message", Form::Text),
        ("hint", Form::Nullable(&Form::Text)),
    ]),
)]);
/// RFC 9457.
pub(super) const PROBLEM: Form = Form::Object(&[
    ("type", Form::Text),
    ("title", Form::Text),
    ("status", Form::Count),
    ("detail", Form::Text),
    ("code", Form::Text),
    ("hint", Form::Nullable(&Form::Text)),
]);
