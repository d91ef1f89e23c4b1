use super::*;

#[tokio::test]
async fn a_restarted_nodes_new_values_win_and_it_lives_at_once() {
    let one = config(1, &[]);
    let mut two = config(2, &[one.listen]);
    let gossip = spawn(&one, "").await;
    let before = spawn(&two, "before").await;
    before.set(value(Key::Want, "wish")).await.unwrap();
    reads(&gossip, 2, Key::Want, "wish").await;
    before.shutdown().await;
    eventually("a death", async || {
        (!entry_of(&gossip, 2).await.live).then_some(())
    })
    .await;

    two.epoch += 1;
    let after = spawn(&two, "after").await;
    let entry = eventually("the new value", async || {
        entry(&gossip, 2)
            .await
            .filter(|entry| entry.values[&Key::Use] == "after")
    })
    .await;
    assert!(entry.live, "its heartbeat went on from above the old one");
    let want = eventually("all new values", async || {
        let entry = entry_of(&gossip, 2).await;
        (entry.values[&Key::Want] != "wish").then(|| entry.values[&Key::Want].clone())
    })
    .await;
    assert_eq!(want, "", "an old wish does not come back");
    let own = after.snapshot().await;
    assert_eq!(own.own_version_ahead, None);
    assert_eq!(entry_of(&after, 2).await.values[&Key::Use], "after");
}

#[tokio::test]
async fn twenty_restarts_leave_one_entry() {
    let one = config(1, &[]);
    let mut two = config(2, &[one.listen]);
    let gossip = spawn(&one, "").await;
    for epoch in 1..=20 {
        two.epoch = epoch;
        let text = format!("start {epoch}");
        let restarted = spawn(&two, &text).await;
        let entry = reads(&gossip, 2, Key::Use, &text).await;
        assert_eq!(entry.address, two.listen);
        assert_eq!(restarted.snapshot().await.own_version_ahead, None);
        restarted.shutdown().await;
    }
    assert_eq!(gossip.snapshot().await.entries.len(), 2);
}

#[tokio::test]
async fn a_disk_rolled_back_shows_and_a_higher_epoch_heals_it() {
    let one = config(1, &[]);
    let mut two = config(2, &[one.listen]);
    two.epoch = 5;
    let gossip = spawn(&one, "").await;
    let original = spawn(&two, "epoch 5").await;
    reads(&gossip, 2, Key::Use, "epoch 5").await;
    original.shutdown().await;

    two.epoch = 3;
    let before = two.counters.datagrams_in();
    let rolled_back = spawn(&two, "epoch 3").await;
    // No snapshot in between: a value of its own must not cover the others up.
    eventually("an exchange", async || {
        (two.counters.datagrams_in() >= before + 10).then_some(())
    })
    .await;
    let own = value(Key::Want, "covered up?");
    rolled_back.set(own).await.unwrap();
    let ahead = rolled_back.snapshot().await.own_version_ahead.unwrap();
    assert_eq!(ahead, 5);
    rolled_back.shutdown().await;

    two.epoch = ahead + 1;
    let healed = spawn(&two, "epoch 6").await;
    reads(&gossip, 2, Key::Use, "epoch 6").await;
    assert_eq!(healed.snapshot().await.own_version_ahead, None);
}

#[tokio::test]
async fn a_moved_node_has_two_entries() {
    let one = config(1, &[]);
    let two = config(2, &[one.listen]);
    let gossip = spawn(&one, "").await;
    let before = spawn(&two, "here").await;
    reads(&gossip, 2, Key::Use, "here").await;
    before.shutdown().await;

    let mut moved = config(2, &[one.listen]);
    moved.epoch = 2;
    let _after = spawn(&moved, "there").await;
    let addresses = eventually("both entries", async || {
        let entries = gossip.snapshot().await.entries;
        let of_two: Vec<_> = entries
            .iter()
            .filter(|entry| entry.node == two.node)
            .map(|entry| entry.address)
            .collect();
        (of_two.len() == 2).then_some(of_two)
    })
    .await;
    assert!(addresses.contains(&two.listen) && addresses.contains(&moved.listen));
}

#[tokio::test]
async fn a_start_that_cannot_be_says_why() {
    let one = config(1, &[]);
    let _gossip = spawn(&one, "").await;
    let again = Gossip::spawn(one.clone(), BTreeMap::new()).await;
    assert!(matches!(
        again.err(),
        Some(GossipError::Bind(BindError::PortInUse { .. }))
    ));

    let mut elsewhere = config(2, &[]);
    elsewhere.listen = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 7846);
    let elsewhere = Gossip::spawn(elsewhere, BTreeMap::new()).await;
    assert!(matches!(
        elsewhere.err(),
        Some(GossipError::Bind(BindError::NotLocal { .. }))
    ));

    let mut worn_out = config(2, &[]);
    worn_out.epoch = 1 << 32;
    let worn_out = Gossip::spawn(worn_out, BTreeMap::new()).await;
    assert!(matches!(
        worn_out.err(),
        Some(GossipError::EpochTooHigh { .. })
    ));
}

async fn entry_of(gossip: &Gossip, number: u8) -> SignedEntry {
    entry(gossip, number).await.unwrap()
}
