use std::net::SocketAddr;

use podnet_proto::gossip::Hello;

use super::*;

const SHORT: Duration = Duration::from_millis(400);

fn hello() -> Hello {
    Hello {
        node: NodeId::from_bytes([7; 16]),
        name: "newcomer".parse().unwrap(),
    }
}

#[tokio::test]
async fn a_question_finds_the_member_among_the_targets() {
    let member = config(1, &[]);
    let _gossip = spawn(&member, "").await;
    let bind = address();
    // Nobody listens at the first; the kernel refuses to send to the second.
    let refused = SocketAddrV4::new(Ipv4Addr::BROADCAST, 7846);
    let targets = [address(), refused, member.listen];
    let asked = ask_members(bind, &keyring(1), &hello(), &targets, DEADLINE)
        .await
        .unwrap();
    assert_eq!(asked.target, member.listen);
    assert_eq!(asked.welcome.node, member.node);
    assert_eq!(asked.source, *bind.ip());
}

#[tokio::test]
async fn a_question_with_another_key_or_to_no_member_meets_silence() {
    let mut not_yet = config(1, &[]);
    not_yet.welcomer = Arc::new(|_| None);
    let _gossip = spawn(&not_yet, "").await;
    for key in [1, 2] {
        let asked = ask_members(address(), &keyring(key), &hello(), &[not_yet.listen], SHORT).await;
        assert!(matches!(asked, Err(AskError::Silent { .. })));
    }
    // How many were asked in this time, the machine's load decides.
    eventually("a question that is dropped", async || {
        (not_yet.counters.dropped(Dropped::UnknownKey) > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_answer_to_another_question_is_none() {
    let member = tokio::net::UdpSocket::bind(address()).await.unwrap();
    let SocketAddr::V4(target) = member.local_addr().unwrap() else {
        panic!("bound to IPv4");
    };
    let answer_wrongly = async {
        let mut sealer = Sealer::new(keyring(1)).unwrap();
        let mut buffer = [0; 1500];
        loop {
            let (_, from) = member.recv_from(&mut buffer).await.unwrap();
            let payload = Payload::Welcome {
                answers: MessageId {
                    sender: sealer.instance(),
                    counter: 0,
                },
                welcome: Welcome {
                    node: NodeId::from_bytes([6; 16]),
                    name_taken_by: None,
                    slot: 0,
                },
            };
            for datagram in sealer.seal(&payload).unwrap().datagrams {
                member.send_to(&datagram, from).await.unwrap();
            }
        }
    };
    let (ring, hello, targets) = (keyring(1), hello(), [target]);
    let asked = tokio::select! {
        asked = ask_members(address(), &ring, &hello, &targets, SHORT) => asked,
        () = answer_wrongly => unreachable!("it has no end"),
    };
    assert!(matches!(asked, Err(AskError::Silent { .. })));
}

#[tokio::test]
async fn what_this_host_does_wrong_shows_at_once() {
    let taken = address();
    let _holder = std::net::UdpSocket::bind(taken).unwrap();
    let asked = ask_members(taken, &keyring(1), &hello(), &[address()], DEADLINE).await;
    assert!(matches!(
        asked,
        Err(AskError::Bind(BindError::PortInUse { .. }))
    ));

    // Neither of these leaves the host: the kernel refuses to send them.
    let broadcast = [SocketAddrV4::new(Ipv4Addr::BROADCAST, 7846)];
    let asked = ask_members(address(), &keyring(1), &hello(), &broadcast, DEADLINE).await;
    assert!(matches!(asked, Err(AskError::Forbidden { .. })));

    let from_loopback = [SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 7846)];
    let asked = ask_members(address(), &keyring(1), &hello(), &from_loopback, DEADLINE).await;
    assert!(matches!(asked, Err(AskError::Unreachable { .. })));
}
