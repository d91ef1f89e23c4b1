use podnet_proto::gossip::MAX_VALUE_LEN;

use super::*;

#[tokio::test]
async fn three_nodes_that_know_one_converge() {
    let one = config(1, &[]);
    let others = [config(2, &[one.listen]), config(3, &[one.listen])];
    let gossips = [
        spawn(&one, "of 1").await,
        spawn(&others[0], "of 2").await,
        spawn(&others[1], "of 3").await,
    ];
    for gossip in &gossips {
        for number in 1..=3 {
            let entry = reads(gossip, number, Key::Use, &format!("of {number}")).await;
            assert_eq!(entry.values.len(), Key::ALL.len(), "the empty ones too");
            assert!(entry.last_seen.is_some());
        }
        let snapshot = gossip.snapshot().await;
        assert_eq!(snapshot.entries.len(), 3);
        assert_eq!(snapshot.own_version_ahead, None);
        assert_eq!(snapshot.skipped, 0);
        assert!(gossip.counters().datagrams_in() > 0);
        assert!(gossip.counters().bytes_out() > gossip.counters().datagrams_out());
    }
    for gossip in gossips {
        gossip.shutdown().await;
    }
}

#[tokio::test]
async fn another_key_or_another_cluster_meets_nobody() {
    let member = config(1, &[]);
    let mut stranger = config(2, &[member.listen]);
    stranger.keyring = keyring(2);
    let mut foreigner = config(3, &[member.listen]);
    foreigner.cluster = ClusterId::from_bytes([8; 16]);
    let gossip = spawn(&member, "").await;
    let strangers = [spawn(&stranger, "").await, spawn(&foreigner, "").await];
    eventually("several tries", async || {
        let tries = member.counters.dropped(Dropped::UnknownKey);
        let answers = foreigner.counters.datagrams_in();
        (tries >= 5 && answers >= 5).then_some(())
    })
    .await;
    assert_eq!(gossip.snapshot().await.entries.len(), 1);
    for stranger in strangers {
        assert_eq!(stranger.snapshot().await.entries.len(), 1);
    }
    assert_eq!(stranger.counters.datagrams_in(), 0, "no answer at all");
}

#[tokio::test]
async fn nothing_readable_leaves_and_no_datagram_is_long() {
    let wire = tokio::net::UdpSocket::bind(address()).await.unwrap();
    let std::net::SocketAddr::V4(tapped) = wire.local_addr().unwrap() else {
        panic!("bound to IPv4");
    };
    let member = config(1, &[tapped]);
    let _gossip = spawn(&member, &"secret".repeat(500)).await;
    let cluster = config::cluster_name(&member.cluster, &member.networks);
    let words = [member.node.to_string(), cluster, "secret".to_owned()];
    for _ in 0..5 {
        let mut buffer = [0; 65_536];
        let received = tokio::time::timeout(DEADLINE, wire.recv(&mut buffer)).await;
        let datagram = &buffer[..received.unwrap().unwrap()];
        assert!(datagram.len() <= 1200);
        assert!(datagram.starts_with(b"pdnt"));
        for word in &words {
            let readable = datagram.windows(word.len()).any(|w| w == word.as_bytes());
            assert!(!readable, "{word}");
        }
    }
}

#[tokio::test]
async fn the_longest_values_of_all_keys_replicate() {
    let one = config(1, &[]);
    let two = config(2, &[one.listen]);
    let gossips = [spawn(&one, "").await, spawn(&two, "").await];
    // Noise, so that compression does not help.
    let long = |_| -> String {
        let letters = rand::random_iter::<u8>().map(|byte| char::from(b'0' + byte % 64));
        letters.take(MAX_VALUE_LEN).collect()
    };
    let values = BTreeMap::from(Key::ALL.map(|key| (key, long(key))));
    gossips[0].set(values.clone()).await.unwrap();
    eventually("200 KB of values", async || {
        let entry = entry(&gossips[1], 1).await?;
        (*entry.values == values).then_some(())
    })
    .await;

    let too_long = value(Key::Node, "x".repeat(MAX_VALUE_LEN + 1));
    assert!(matches!(
        gossips[0].set(too_long).await,
        Err(GossipError::ValueTooLong { key: Key::Node, .. })
    ));
}

#[tokio::test]
async fn keys_rotate_without_loss() {
    let mut all = vec![config(1, &[])];
    all.push(config(2, &[all[0].listen]));
    all.push(config(3, &[all[0].listen]));
    let mut gossips = Vec::new();
    for config in &mut all {
        config.keyring = keyring(1);
        gossips.push(spawn(config, "").await);
    }
    let converge = async |text: &str| {
        for gossip in &gossips {
            gossip.set(value(Key::Node, text)).await.unwrap();
        }
        for gossip in &gossips {
            for number in 1..=3 {
                reads(gossip, number, Key::Node, text).await;
            }
        }
    };
    let old = all[0].keyring.ids()[0];
    converge("old key").await;
    for config in &all {
        config
            .keyring
            .install(GossipKey::from_bytes([2; 32]))
            .unwrap();
    }
    let new = all[0].keyring.ids()[1];
    all[0].keyring.encrypt_with(new).unwrap();
    converge("one of three uses the new key").await;
    for config in &all[1..] {
        config.keyring.encrypt_with(new).unwrap();
    }
    converge("all use it").await;
    for config in &all {
        config.keyring.remove(old).unwrap();
    }
    converge("the old one is gone").await;
    for config in &all {
        // What was under way while the old key went may be lost, no more.
        assert!(config.counters.dropped(Dropped::UnknownKey) <= 3);
        assert_eq!(config.counters.dropped(Dropped::Authentication), 0);
    }
}

#[tokio::test]
async fn a_nudge_does_not_wait_for_a_round() {
    let mut one = config(1, &[]);
    let mut two = config(2, &[one.listen]);
    one.timing = still();
    two.timing = still();
    let first = spawn(&one, "").await;
    let second = spawn(&two, "of 2").await;
    eventually("the newcomer's values", async || {
        first.changed().await;
        let entry = entry(&first, 2).await?;
        (entry.values.get(&Key::Use)? == "of 2").then_some(())
    })
    .await;

    first.set(value(Key::Want, "news")).await.unwrap();
    first.nudge([two.listen]);
    eventually("the news", async || {
        second.changed().await;
        let entry = entry(&second, 1).await?;
        (entry.values.get(&Key::Want)? == "news").then_some(())
    })
    .await;
}

#[tokio::test]
async fn ones_own_values_are_no_news() {
    let mut one = config(1, &[]);
    one.timing = still();
    let gossip = spawn(&one, "").await;
    // The first round finds a living node: this one.
    let first_round = tokio::time::timeout(DEADLINE, gossip.changed()).await;
    assert!(first_round.is_ok());
    gossip.set(value(Key::Want, "news")).await.unwrap();
    let own = tokio::time::timeout(Duration::from_millis(100), gossip.changed()).await;
    assert!(own.is_err());
}

#[tokio::test]
async fn nudges_have_a_rate() {
    let mut one = config(1, &[]);
    one.timing = still();
    let gossip = spawn(&one, "").await;
    gossip.nudge(vec![address(); 100]);
    let dropped = one.counters.nudges_dropped();
    assert!((93..=94).contains(&dropped), "{dropped}");
    eventually("six handshakes", async || {
        (one.counters.datagrams_out() >= 6).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_dead_are_seen_and_in_the_end_forgotten() {
    let mut one = config(1, &[]);
    one.timing.dead_grace = Duration::from_millis(500);
    let two = config(2, &[one.listen]);
    let gossip = spawn(&one, "").await;
    let other = spawn(&two, "alive").await;
    reads(&gossip, 2, Key::Use, "alive").await;
    other.shutdown().await;
    let dead = eventually("a death", async || {
        entry(&gossip, 2).await.filter(|entry| !entry.live)
    })
    .await;
    assert_eq!(
        dead.values[&Key::Use],
        "alive",
        "the dead keep their values"
    );
    assert!(dead.last_seen.is_some());
    eventually("the end of the grace", async || {
        entry(&gossip, 2).await.is_none().then_some(())
    })
    .await;
}
