use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 7846);

/// What a message of chitchat has before it: its kind and its sender.
const PREFIX: usize = 7;

fn keyring(byte: u8) -> Keyring {
    Keyring::new(GossipKey::from_bytes([byte; 32]))
}

fn opener(keyring: &Keyring) -> Opener {
    Opener::new(keyring.clone(), None, Arc::default()).unwrap()
}

fn chitchat(bytes: impl Into<Vec<u8>>) -> Payload {
    Payload::Chitchat {
        sender: SENDER,
        message: bytes.into(),
    }
}

/// Bytes that no compressor makes shorter.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rand::fill(&mut bytes[..]);
    bytes
}

fn open_all(opener: &mut Opener, datagrams: &[Vec<u8>]) -> Vec<Payload> {
    let now = Instant::now();
    datagrams
        .iter()
        .filter_map(|datagram| opener.open(datagram, now).unwrap())
        .map(|message| message.payload)
        .collect()
}

#[test]
fn messages_of_all_kinds_and_lengths_come_through() {
    let ring = keyring(1);
    let (mut sealer, mut opener) = (Sealer::new(ring.clone()).unwrap(), opener(&ring));
    let hello = podnet_proto::gossip::Hello {
        node: podnet_proto::NodeId::from_bytes([1; 16]),
        name: "node1".parse().unwrap(),
    };
    let welcome = podnet_proto::gossip::Welcome {
        node: podnet_proto::NodeId::from_bytes([2; 16]),
        name_taken_by: None,
        slot: 7,
    };
    let answers = MessageId {
        sender: sealer.instance(),
        counter: 3,
    };
    let payloads = [
        chitchat([]),
        chitchat(b"short".as_slice()),
        chitchat(noise(1500)),
        chitchat(noise(MAX_MESSAGE - PREFIX)),
        chitchat(vec![7; MAX_MESSAGE - PREFIX]),
        Payload::Hello {
            target: SENDER,
            hello,
        },
        Payload::Welcome { answers, welcome },
    ];
    for payload in payloads {
        let sealed = sealer.seal(&payload).unwrap();
        assert!(sealed.datagrams.iter().all(|d| d.len() <= MAX_DATAGRAM));
        assert_eq!(open_all(&mut opener, &sealed.datagrams), [payload]);
    }
    assert!(matches!(
        sealer.seal(&chitchat(vec![0; MAX_MESSAGE])),
        Err(SealError::TooLong { .. })
    ));
}

#[test]
fn the_fragments_of_a_message_may_be_shuffled_and_repeated_but_not_lost() {
    let ring = keyring(1);
    let mut sealer = Sealer::new(ring.clone()).unwrap();
    let payload = chitchat(noise(20_000));
    let mut sealed = sealer.seal(&payload).unwrap().datagrams;
    assert!(sealed.len() > 10);

    sealed.reverse();
    let opened = open_all(&mut opener(&ring), &sealed);
    assert_eq!(opened.as_slice(), std::slice::from_ref(&payload));

    let mut receiver = opener(&ring);
    assert_eq!(open_all(&mut receiver, &sealed[1..]), []);
    let now = Instant::now();
    assert_eq!(receiver.open(&sealed[1], now), Err(Dropped::Replay));
    let last = receiver.open(&sealed[0], now).unwrap();
    assert_eq!(last.unwrap().payload, payload);

    let mut receiver = opener(&ring);
    open_all(&mut receiver, &sealed[1..]);
    let late = now + Duration::from_secs(5);
    assert_eq!(receiver.open(&sealed[0], late), Ok(None));
    assert_eq!(receiver.counters.dropped(Dropped::Reassembly), 1);
}

#[test]
fn every_flipped_bit_is_refused_and_leaves_no_trace() {
    let ring = keyring(1);
    let (mut sealer, mut opener) = (Sealer::new(ring.clone()).unwrap(), opener(&ring));
    let datagram = sealer
        .seal(&chitchat(noise(50)))
        .unwrap()
        .datagrams
        .remove(0);
    for bit in 0..datagram.len() * 8 {
        let mut damaged = datagram.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(opener.open(&damaged, Instant::now()).is_err(), "bit {bit}");
    }
    assert!(matches!(
        opener.open(&datagram, Instant::now()),
        Ok(Some(_))
    ));
}

#[test]
fn a_replay_is_refused_and_another_order_is_not() {
    let ring = keyring(1);
    let (mut sealer, mut opener) = (Sealer::new(ring.clone()).unwrap(), opener(&ring));
    let mut sealed: Vec<_> = (0..100_u8)
        .map(|n| sealer.seal(&chitchat([n])).unwrap().datagrams.remove(0))
        .collect();
    sealed.reverse();
    assert_eq!(open_all(&mut opener, &sealed).len(), 100);
    for datagram in &sealed {
        let again = opener.open(datagram, Instant::now());
        assert_eq!(again, Err(Dropped::Replay));
    }
    assert_eq!(opener.counters.dropped(Dropped::Replay), 100);
}

#[test]
fn ones_own_and_strangers_datagrams_are_told_apart() {
    let ring = keyring(1);
    let mut sealer = Sealer::new(ring.clone()).unwrap();
    let datagram = sealer.seal(&chitchat([1])).unwrap().datagrams.remove(0);
    let now = Instant::now();

    let own = Some(sealer.instance());
    let mut mirror = Opener::new(ring, own, Arc::default()).unwrap();
    assert_eq!(mirror.open(&datagram, now), Err(Dropped::Own));

    let mut stranger = opener(&keyring(2));
    assert_eq!(stranger.open(&datagram, now), Err(Dropped::UnknownKey));
    assert_eq!(stranger.open(b"", now), Err(Dropped::Magic));
    assert_eq!(stranger.open(b"pdn", now), Err(Dropped::Magic));
    assert_eq!(stranger.open(b"pdnt", now), Err(Dropped::Malformed));
    assert_eq!(stranger.open(b"pdnt\x01", now), Err(Dropped::Version));
    assert_eq!(stranger.open(b"pdnt\x02", now), Err(Dropped::Malformed));
    assert_eq!(stranger.counters.datagrams_in(), 6);
    assert_eq!(stranger.counters.dropped(Dropped::Malformed), 2);
}

#[test]
fn no_two_datagrams_share_a_nonce() {
    let ring = keyring(1);
    let mut nonces = std::collections::HashSet::new();
    for _ in 0..3 {
        let mut sealer = Sealer::new(ring.clone()).unwrap();
        for _ in 0..3 {
            for datagram in sealer.seal(&chitchat(noise(5000))).unwrap().datagrams {
                let (header, _) = Header::parse(&datagram).unwrap();
                assert!(nonces.insert(header.nonce()));
            }
        }
    }
    assert_eq!(nonces.len(), 45);
}

#[test]
fn a_message_that_unpacks_beyond_all_bounds_is_refused() {
    let ring = keyring(1);
    let (mut sealer, mut opener) = (Sealer::new(ring.clone()).unwrap(), opener(&ring));
    let bomb = zstd::bulk::compress(&vec![1; 50_000_000], 19).unwrap();
    let sealed = sealer.seal_packed(&bomb).unwrap();
    let results: Vec<_> = sealed
        .datagrams
        .iter()
        .map(|datagram| opener.open(datagram, Instant::now()))
        .collect();
    assert_eq!(results.last(), Some(&Err(Dropped::Malformed)));
}

#[test]
fn an_authentic_message_that_does_not_read_is_refused() {
    let ring = keyring(1);
    let (mut sealer, mut opener) = (Sealer::new(ring.clone()).unwrap(), opener(&ring));
    let mut open_plain = |plain: &[u8]| {
        let packed = zstd::bulk::compress(plain, 1).unwrap();
        let datagram = sealer.seal_packed(&packed).unwrap().datagrams.remove(0);
        opener.open(&datagram, Instant::now())
    };
    for plain in [b"".as_slice(), b"\0", b"\xffx", b"\x02{}", b"\x03short"] {
        assert_eq!(open_plain(plain), Err(Dropped::Malformed), "{plain:?}");
    }
    let datagram = sealer.seal_packed(b"not zstd").unwrap().datagrams.remove(0);
    let opened = opener.open(&datagram, Instant::now());
    assert_eq!(opened, Err(Dropped::Malformed));
}

proptest! {
    #[test]
    fn random_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..1300), ours: bool) {
        let ring = keyring(1);
        if ours && bytes.len() > 13 {
            bytes[..5].copy_from_slice(b"pdnt\x01");
            bytes[5..13].copy_from_slice(ring.ids()[0].as_bytes());
        }
        prop_assert!(opener(&ring).open(&bytes, Instant::now()).is_err());
    }

    #[test]
    fn shortened_and_lengthened_datagrams_are_refused(len in 0_usize..3000, cut in any::<prop::sample::Index>(), more in 1_usize..100) {
        let ring = keyring(1);
        let (mut sealer, mut opener) = (Sealer::new(ring.clone()).unwrap(), opener(&ring));
        for datagram in sealer.seal(&chitchat(noise(len))).unwrap().datagrams {
            let now = Instant::now();
            let short = &datagram[..cut.index(datagram.len())];
            prop_assert!(opener.open(short, now).is_err());
            let long = [datagram.as_slice(), &vec![0; more]].concat();
            prop_assert!(opener.open(&long, now).is_err());
            prop_assert!(opener.open(&datagram, now).is_ok());
        }
    }

    #[test]
    fn authentic_nonsense_never_panics(plain in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Payload::decode(&plain);
    }
}
