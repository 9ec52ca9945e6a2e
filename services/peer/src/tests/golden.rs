//! The bytes of docs/wire-protocol.md, section "Golden bytes".

use snow::Builder;

use pentad_wire::compact::{CompactBlock, ShortIds};
use pentad_wire::handshake::{NOISE_PATTERN, NOISE_PROLOGUE};

use super::*;
use crate::trace;

const PAGE: &str = include_str!("../../../../docs/wire-protocol.md");

fn assert_documented(what: &str, golden: &str, bytes: &[u8]) {
    let found = hex::encode(bytes);
    assert_eq!(found, golden, "{what} has changed");
    let page: String = PAGE.chars().filter(|character| !character.is_whitespace()).collect();
    assert!(page.contains(golden), "{what} is not in docs/wire-protocol.md");
}

fn handshake() -> Handshake {
    Handshake {
        hello: Hello {
            network: "dev".to_owned(),
            versions: 1..=1,
            genesis: BlockHash::from_bytes([0x11; 32]),
            instance: 0x0102_0304_0506_0708,
        },
        claim: Claim {
            work: Work::from_be_bytes({
                let mut work = [0; 32];
                work[31] = 0x33;
                work
            }),
            height: BlockHeight::new(300),
            tip: BlockHash::from_bytes([0x22; 32]),
            final_height: None,
        },
        listen_port: Some(5678),
        heartbeat: 1,
        echo: 2,
        consensus: None,
        compact: false,
    }
}

/// The plaintext of a Noise message with these in class consensus.
fn plaintext(messages: impl IntoIterator<Item = (Message, Bytes)>) -> Vec<u8> {
    let mut chunker = Chunker::new();
    for (message, context) in messages {
        let frame = message.to_frame(context).encode().expect("short");
        chunker.push(Class::Consensus, frame).expect("room");
    }
    let mut plaintext = Vec::new();
    chunker.next_message(&mut plaintext);
    plaintext
}

#[test]
fn handshake_message() {
    let plaintext = plaintext([(Message::Handshake(handshake()), Bytes::new())]);
    assert_documented("the handshake message", GOLDEN_HANDSHAKE, &plaintext);
}

#[test]
fn consensus_message() {
    let handshake =
        Handshake { heartbeat: 0, echo: 0, consensus: Some(Bytes::new()), ..handshake() };
    let vote = consensus(b"vote");
    let parent = format!("00-{}-{}-01", "22".repeat(16), "11".repeat(8));
    let context = trace::from_parent(&parent);
    let plaintext = plaintext([(Message::Handshake(handshake), Bytes::new()), (vote, context)]);
    assert_documented("the consensus message", GOLDEN_CONSENSUS, &plaintext);
}

/// A block of two transactions after its coinbase, and what is asked for and given of it.
#[test]
fn compact_block_messages() {
    let header = [0x44; 80];
    let ids = ShortIds::new(&header, 0x0102_0304_0506_0708);
    let txids = [[0x55; 32], [0x66; 32]].map(pentad_primitives::Txid::from_bytes);
    let block = CompactBlock {
        header,
        nonce: 0x0102_0304_0506_0708,
        coinbase: Bytes::from_static(b"coinbase"),
        short_ids: txids.iter().map(|txid| ids.of(txid)).collect(),
        certificate: Bytes::new(),
    };
    let hash = block.hash();
    let question = Message::GetBlockTransactions { hash, places: vec![1, 300] };
    let transactions = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    let answer = Message::BlockTransactions { hash, transactions };
    let messages = [Message::CompactBlock(block), question, answer];
    for (message, golden) in messages.iter().zip(GOLDEN_COMPACT) {
        let frame = message.to_frame(Bytes::new());
        assert_documented("a message of compact blocks", golden, &frame.encode().expect("short"));
        assert_eq!(Message::from_frame(frame).as_ref(), Ok(message));
    }
}

/// A certificate without signatures.
#[test]
fn certificate_message() {
    let parts = [&1_u64.to_le_bytes()[..], &300_u64.to_le_bytes(), &[0x22; 32], &[0]];
    let certificate = Bytes::from(parts.concat());
    let message = Message::Certificate { height: BlockHeight::new(300), certificate };
    let frame = message.to_frame(Bytes::new());
    assert_documented("a certificate", GOLDEN_CERTIFICATE, &frame.encode().expect("short"));
    assert_eq!(Message::from_frame(frame), Ok(message));
}

/// Both sides with fixed keys: private keys and ephemeral keys of 32 equal bytes.
#[test]
fn noise_messages() {
    let build = |key: &'static [u8; 32], ephemeral: &'static [u8; 32]| {
        Builder::new(NOISE_PATTERN.parse().expect("a pattern"))
            .local_private_key(key)
            .and_then(|builder| builder.prologue(NOISE_PROLOGUE))
            .expect("once each")
            .fixed_ephemeral_key_for_testing_only(ephemeral)
    };
    let mut dialer = build(&[1; 32], &[3; 32]).build_initiator().expect("complete");
    let mut listener = build(&[2; 32], &[4; 32]).build_responder().expect("complete");
    let mut buffer = [0; 128];
    for (number, golden) in GOLDEN_NOISE.iter().enumerate() {
        let (from, to) = if number % 2 == 0 {
            (&mut dialer, &mut listener)
        } else {
            (&mut listener, &mut dialer)
        };
        let length = from.write_message(&[], &mut buffer).expect("its turn");
        assert_documented("a message of the Noise handshake", golden, &buffer[..length]);
        to.read_message(&buffer[..length], &mut []).expect("valid");
    }
    let mut dialer = dialer.into_transport_mode().expect("finished");
    let length = dialer.write_message(b"pentad", &mut buffer).expect("short");
    assert_documented("the first transport message", GOLDEN_TRANSPORT, &buffer[..length]);
}

const GOLDEN_HANDSHAKE: &str = concat!(
    "0000880100000000820a036465761001180122201111111111111111111111111111111111111111111111111111",
    "11111111111128ac0232202222222222222222222222222222222222222222222222222222222222222222",
    "3a20000000000000000000000000000000000000000000000000000000000000003348ae2c",
    "59080706050403020160016802",
);
const GOLDEN_CONSENSUS: &str = concat!(
    "0000b90100000000890a036465761001180122201111111111111111111111111111111111111111111111",
    "11111111111111111128ac0232202222222222222222222222222222222222222222222222222222222222",
    "2222223a20000000000000000000000000000000000000000000000000000000000000003348ae2c520963",
    "6f6e73656e7375735908070605040302010a1e000000060a10222222222222222222222222222222221208",
    "111111111111111118010a04766f7465",
);
const GOLDEN_COMPACT: [&str; 3] = [
    concat!(
        "0b00000000730a5044444444444444444444444444444444444444444444444444444444444444444444",
        "444444444444444444444444444444444444444444444444444444444444444444444444444444444444",
        "444444441108070605040302011a08636f696e62617365220ce9159f1419c85131d22d766a",
    ),
    concat!(
        "0c00000000270a20760d5cb44ac3ad581271436e410b75668ad9c3c4d3aec30bbcd88e7e830db0be1203",
        "01ac02",
    ),
    concat!(
        "0d000000002c0a20760d5cb44ac3ad581271436e410b75668ad9c3c4d3aec30bbcd88e7e830db0be1203",
        "6f6e65120374776f",
    ),
];
const GOLDEN_CERTIFICATE: &str = concat!(
    "0e00000000330a3101000000000000002c0100000000000022222222222222222222222222222222222222",
    "2222222222222222222222222200",
);
const GOLDEN_NOISE: [&str; 3] = [
    "5dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef22",
    concat!(
        "ac01b2209e86354fb853237b5de0f4fab13c7fcbf433a61c019369617fecf10b",
        "a008df889bb35e8223335723afaf9154defd8da5df240cc3592090c2fb4518e0",
        "0d5fb0ac43324e397164415b9530d4853c8ec08237fded472fad82b57d36eaf4",
    ),
    concat!(
        "b7cdf8c991735a27cbc64fb59293bea96330d41179052f565b352ffad9b79b87",
        "feefa81eef644943416907eb2a4ff48cdf7706609de2943331524aa11783a3e0",
    ),
];
const GOLDEN_TRANSPORT: &str = "100be35f8de9b13fb10d9b305acac99c9c6ff6a54e3a";
