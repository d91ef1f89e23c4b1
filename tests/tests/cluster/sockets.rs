//! What the agents listen on.

use std::fs;

use podnet_lab::prelude::*;

/// The lines of `ss` with these flags, but without those of `ss` itself.
fn sockets(node: Node<'_>, flags: &str) -> Vec<String> {
    let lines = node.shell(&format!("ss -H -n -a -p {flags}"));
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn agents_share_no_socket_but_that_of_gossip() {
    let lab = Cluster::of(3);
    let [node1, node2, _] = nodes(&lab);
    node1.add_pod("red");
    node2.add_pod("blue");
    for node in lab.nodes() {
        let agent = format!("((\"podnetd\",pid={},", node.agent().unwrap().unwrap().pid);
        let internet = sockets(node, "--tcp --udp --sctp --dccp");
        let [gossip] = &internet[..] else {
            panic!("{}: {internet:#?}", node.name());
        };
        let fields: Vec<_> = gossip.split_whitespace().collect();
        assert_eq!((fields[0], fields[4]), ("udp", "0.0.0.0:7846"), "{gossip}");
        assert!(gossip.contains(&agent), "{gossip}");

        let gateway = node.gateway();
        for raw in sockets(node, "--raw") {
            // The address of a raw socket has its protocol number in the place of a port.
            let own = format!(" {gateway}:1 ");
            assert!(raw.contains(&own) && raw.contains(&agent), "{raw}");
        }
        assert_eq!(sockets(node, "--packet"), [""; 0], "{}", node.name());

        // A pair of the agent with itself has no name; everything that has one is for clients.
        let unix = sockets(node, "--unix");
        let named: Vec<_> = unix.iter().filter(|line| line.contains(" /")).collect();
        let [control] = named[..] else {
            panic!("{}: {unix:#?}", node.name());
        };
        assert!(control.contains(" /run/podnet/podnet.sock "), "{control}");
        for socket in &unix {
            assert!(socket.contains(&agent), "{}: {socket}", node.name());
        }
        let metadata = fs::symlink_metadata(node.socket()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        assert_eq!(mode & 0o777, 0o660);
    }
}
