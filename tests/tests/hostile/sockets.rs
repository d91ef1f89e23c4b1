//! What `podnetctl` is told of the agent's socket, and where no agent can be.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use podnet_lab::command::run;
use podnet_lab::prelude::*;

use crate::unharmed::Unharmed;

/// Asks for the status over a socket that the environment names, or a flag.
fn over(node: Node<'_>, socket: &OsStr, flag: bool) -> Output {
    let mut words: Vec<OsString> = ["podnetctl", "-o", "json", "status"]
        .map(OsString::from)
        .into();
    if flag {
        words.extend(["--socket".into(), socket.to_owned()]);
    }
    let mut command = node.command(words).unwrap();
    if !flag {
        command.env("PODNET_SOCKET", socket);
    }
    run(&mut command, "", LIMIT).unwrap()
}

#[track_caller]
fn assert_refused(output: &Output, code: ErrorCode, exit: i32) -> Refusal {
    assert!(!output.stderr.contains("panicked"), "{output}");
    let refusal = refusal(output);
    assert_eq!((refusal.code, refusal.exit), (code, exit), "{output}");
    refusal
}

#[test]
fn a_socket_that_cannot_be_the_agents_is_named_with_a_cure() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.shell("echo of others > /run/file; mkdir /run/others");
    let unharmed = Unharmed::watch(node);
    let long = format!("/run/{}", "x".repeat(195));
    for flag in [false, true] {
        let empty = assert_refused(&over(node, OsStr::new(""), flag), ErrorCode::Usage, 2);
        assert!(empty.message.contains("--socket"), "{empty:?}");
        assert!(!empty.hint.is_empty(), "{empty:?}");
        for (socket, named) in [
            (&b"/run/file"[..], "/run/file"),
            (b"/run/others", "/run/others"),
            (b"/run/file/below", "/run/file/below"),
            (b"/run/caf\xe9", "/run/caf"),
            (long.as_bytes(), &long),
            (b"podnet.sock", "podnet.sock"),
        ] {
            let output = over(node, OsStr::from_bytes(socket), flag);
            let refusal = assert_refused(&output, ErrorCode::AgentUnreachable, 3);
            assert!(refusal.message.contains(named), "{output}");
            assert!(refusal.hint.contains("name its socket"), "{output}");
        }
    }
    assert_eq!(node.shell("cat /run/file; ls /run/others"), "of others\n");
    unharmed.assert("sockets that are not the agent's");
}
