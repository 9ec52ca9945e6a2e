use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::frame::{CONTEXT_MAX, HEADER_LEN};
use crate::{Class, Frame, FrameError, Kind, consensus};

fn frame(kind: Kind, context: &[u8], payload: &[u8]) -> Frame {
    Frame {
        kind,
        context: Bytes::copy_from_slice(context),
        payload: Bytes::copy_from_slice(payload),
    }
}

fn messages(chunker: &mut Chunker) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut message = Vec::new();
    loop {
        chunker.next_message(&mut message);
        if message.is_empty() {
            return all;
        }
        assert!(message.len() <= PLAINTEXT_MAX);
        all.push(message.clone());
    }
}

fn assemble<'a>(messages: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<Frame> {
    let mut assembler = Assembler::new();
    let mut frames = Vec::new();
    for message in messages {
        assembler.push(message, &mut frames).expect("valid chunks");
    }
    assert_eq!(assembler.buffered(), 0);
    frames
}

/// The same bytes stand in docs/wire-protocol.md, section "Golden bytes".
#[test]
fn golden_bytes() {
    let goodbye = frame(Kind::Goodbye, &[0xc0, 0xc1], b"bye");
    let inventory = frame(Kind::Inventory, &[], &[0xaa; 4]);
    let mut chunker = Chunker::new();
    // The consensus class goes first, whatever was queued first.
    chunker.push(Class::Bulk, inventory.encode().expect("short")).expect("room");
    chunker.push(Class::Consensus, goodbye.encode().expect("short")).expect("room");
    let [message] = &messages(&mut chunker)[..] else { panic!("one message") };
    let golden = "00000b090200000003c0c162796502000a070000000004aaaaaaaa";
    assert_eq!(hex::encode(message), golden);
    assert_eq!(assemble([message]), [goodbye, inventory]);

    let page = include_str!("../../../../docs/wire-protocol.md");
    assert!(page.contains(golden), "the golden bytes are not in docs/wire-protocol.md");
}

#[test]
fn urgent_frames_never_wait_behind_bulk() {
    let block = frame(Kind::Block, &[], &vec![7; 200_000]);
    let heartbeat = frame(Kind::Handshake, &[], b"now");
    let mut chunker = Chunker::new();
    chunker.push(Class::Bulk, block.encode().expect("short")).expect("room");
    let (mut first, mut second) = (Vec::new(), Vec::new());
    chunker.next_message(&mut first);
    chunker.push(Class::Consensus, heartbeat.encode().expect("short")).expect("room");
    chunker.next_message(&mut second);
    let mut frames = Vec::new();
    let mut assembler = Assembler::new();
    assembler.push(&first, &mut frames).expect("valid");
    assembler.push(&second, &mut frames).expect("valid");
    assert_eq!(frames, [heartbeat]);
    for message in messages(&mut chunker) {
        assembler.push(&message, &mut frames).expect("valid");
    }
    assert_eq!(frames.pop(), Some(block));
}

/// A vote that is queued behind megabytes of blocks and a proposal leaves in the next message.
#[test]
fn votes_overtake_what_was_queued_before_them() {
    let block = frame(Kind::Block, &[], &vec![7; 4 << 20]);
    let proposal = frame(Kind::Consensus, &[], &vec![8; 4 << 20]);
    let vote = frame(Kind::Consensus, &[1], &[9; 200]);
    let mut chunker = Chunker::new();
    chunker.push(Class::Bulk, block.encode().expect("short")).expect("room");
    let class = consensus::class_of(proposal.payload.len());
    assert_eq!(chunker.push_expendable(class, proposal.encode().expect("short")), 0);
    let (mut assembler, mut frames, mut message) = (Assembler::new(), Vec::new(), Vec::new());
    for _ in 0..20 {
        chunker.next_message(&mut message);
        assembler.push(&message, &mut frames).expect("valid");
        assert!(frames.is_empty() && !chunker.is_empty(), "the rest is still to come");
        let class = consensus::class_of(vote.payload.len());
        assert_eq!(chunker.push_expendable(class, vote.encode().expect("short")), 0);
        chunker.next_message(&mut message);
        assembler.push(&message, &mut frames).expect("valid");
        assert_eq!(std::mem::take(&mut frames), std::slice::from_ref(&vote));
    }
    for message in messages(&mut chunker) {
        assembler.push(&message, &mut frames).expect("valid");
    }
    assert_eq!(frames, [proposal, block]);
}

#[test]
fn expendable_frames_make_room_for_newer_ones_and_take_none_of_others() {
    let vote =
        |number: u16| frame(Kind::Consensus, &[], &[&number.to_be_bytes()[..], &[0; 998]].concat());
    let mut chunker = Chunker::new();
    let mut dropped = 0;
    for number in 0..1000 {
        dropped += chunker.push_expendable(Class::Consensus, vote(number).encode().expect("short"));
    }
    assert!(chunker.queued(Class::Consensus) <= Class::Consensus.expendable_max());
    // They are not in the way of what may not be dropped.
    let heartbeat = frame(Kind::Handshake, &[], &[7; 200]);
    chunker.push(Class::Consensus, heartbeat.encode().expect("short")).expect("room");
    let frames = assemble(&messages(&mut chunker));
    assert_eq!(frames.len() as u64, 1000 - dropped + 1);
    let first = u16::try_from(dropped).expect("fewer");
    assert_eq!(frames[..2], [vote(first), vote(first + 1)], "the oldest were dropped");
    assert_eq!(frames[frames.len() - 2..], [vote(999), heartbeat]);
}

/// What is cut in the middle has to be finished, or the stream of its class is broken.
#[test]
fn a_frame_that_has_begun_is_not_dropped() {
    let proposal = |number| frame(Kind::Consensus, &[], &vec![number; consensus::PAYLOAD_MAX]);
    let mut chunker = Chunker::new();
    let push = |chunker: &mut Chunker, number| {
        chunker.push_expendable(Class::Announcements, proposal(number).encode().expect("short"))
    };
    assert_eq!(push(&mut chunker, 0), 0);
    let mut first = Vec::new();
    chunker.next_message(&mut first);
    let dropped: u64 = (1..=5).map(|number| push(&mut chunker, number)).sum();
    let mut rest = messages(&mut chunker);
    rest.insert(0, first);
    let frames = assemble(&rest);
    assert_eq!(frames.len() as u64, 6 - dropped);
    assert_eq!((&frames[0], frames.last()), (&proposal(0), Some(&proposal(5))));
}

/// Attack 36, the sender's half.
#[test]
fn a_queue_is_capped_and_takes_the_largest_frame() {
    let block = frame(Kind::Block, &[], &vec![0; Kind::Block.payload_max()]);
    let bytes = block.encode().expect("at the limit");
    let mut chunker = Chunker::new();
    for class in [Class::Announcements, Class::Bulk] {
        assert_eq!(chunker.push(class, bytes.clone()), Ok(()));
        assert_eq!(chunker.push(class, bytes.clone()), Ok(()));
        assert_eq!(chunker.push(class, bytes.clone()), Err(QueueFull { class }));
        assert_eq!(chunker.queued(class), 2 * bytes.len());
    }
    assert_eq!(
        chunker.push(Class::Consensus, bytes.clone()),
        Err(QueueFull { class: Class::Consensus })
    );
    assert_eq!(assemble(&messages(&mut chunker)).len(), 4);
    assert!(chunker.is_empty());
}

/// Attack 35.
#[test]
fn a_length_over_the_limit_is_refused_before_allocation() {
    let over = |kind: u8, length: u32| {
        let mut message = vec![1, 0, 6, kind, 0];
        message.extend_from_slice(&length.to_be_bytes());
        message
    };
    for (kind, length) in [(1, 4097), (4, u32::MAX), (7, 1 << 20), (200, (9 << 20) + 1)] {
        let mut assembler = Assembler::new();
        let error = assembler.push(&over(kind, length), &mut Vec::new()).expect_err("too long");
        assert!(matches!(error, AssemblyError::Frame(FrameError::PayloadTooLong { .. })));
        assert_eq!(assembler.buffered(), 0);
    }
    let mut assembler = Assembler::new();
    let block_max = u32::try_from(Kind::Block.payload_max()).expect("it fits");
    assembler.push(&over(4, block_max), &mut Vec::new()).expect("at the limit");
    assert!(assembler.buffered() <= CHUNK_MAX, "a length alone reserved its memory");
}

#[test]
fn malformed_chunks_are_named() {
    let push = |message: &[u8]| Assembler::new().push(message, &mut Vec::new()).expect_err("bad");
    assert_eq!(push(&[3, 0, 1, 0]), AssemblyError::UnknownClass(3));
    assert_eq!(push(&[0, 0, 0]), AssemblyError::ChunkLength(0));
    assert_eq!(push(&[0, 0x40, 1]), AssemblyError::ChunkLength(CHUNK_MAX + 1));
    assert_eq!(push(&[0, 0, 2, 1]), AssemblyError::Truncated);
    assert_eq!(push(&[0, 0]), AssemblyError::Truncated);
    let context = push(&[0, 0, 6, 1, 65, 0, 0, 0, 0]);
    assert_eq!(context, AssemblyError::Frame(FrameError::ContextTooLong { length: 65 }));
}

#[test]
fn unknown_kinds_are_skipped_and_counted() {
    let mut message = vec![2, 0, 9, 77, 0, 0, 0, 0, 3, 1, 2, 3];
    message.extend([2, 0, 6, 0, 0, 0, 0, 0, 0]);
    let known = frame(Kind::Inventory, &[], b"ids");
    let mut chunker = Chunker::new();
    chunker.push(Class::Bulk, known.encode().expect("short")).expect("room");
    message.extend(messages(&mut chunker).concat());
    let (mut assembler, mut frames) = (Assembler::new(), Vec::new());
    assembler.push(&message, &mut frames).expect("valid");
    assert_eq!((frames, assembler.skipped()), (vec![known], 2));
}

fn any_frame() -> impl Strategy<Value = (Class, Frame)> {
    let class = prop::sample::select(&Class::ALL[..]);
    let kind = prop::sample::select(&Kind::ALL[..]);
    (class, kind, vec(any::<u8>(), 0..=CONTEXT_MAX), vec(any::<u8>(), 0..40_000)).prop_map(
        |(class, kind, context, mut payload)| {
            // A queue of class consensus is small: all of them shall fit into it.
            let class_max = if class == Class::Consensus { 4_000 } else { 40_000 };
            payload.truncate(kind.payload_max().min(class_max));
            (class, frame(kind, &context, &payload))
        },
    )
}

/// Cuts streams into chunks of any size and mixes them in any order.
fn mix(frames: &[(Class, Frame)], cuts: &[(usize, usize)]) -> Vec<Vec<u8>> {
    let mut streams = Class::ALL.map(|class| {
        let of_class = frames.iter().filter(|(other, _)| *other == class);
        let encoded = of_class.map(|(_, frame)| frame.encode().expect("within limits"));
        (class, encoded.collect::<Vec<_>>().concat())
    });
    let mut messages = Vec::new();
    let mut cuts = cuts.iter().cycle();
    while streams.iter().any(|(_, bytes)| !bytes.is_empty()) {
        let (which, length) = *cuts.next().expect("endless");
        let mut open: Vec<_> = streams.iter_mut().filter(|(_, bytes)| !bytes.is_empty()).collect();
        let index = which % open.len();
        let (class, bytes) = &mut *open[index];
        let length = length.min(bytes.len());
        let prefix = u16::try_from(length).expect("a chunk").to_be_bytes();
        let chunk: Vec<u8> = bytes.drain(..length).collect();
        messages.push([&[class.to_byte()][..], &prefix, &chunk].concat());
    }
    messages
}

fn by_class(frames: impl IntoIterator<Item = (Class, Frame)>) -> [Vec<Frame>; 3] {
    let mut sorted = [const { Vec::new() }; 3];
    for (class, frame) in frames {
        sorted[usize::from(class.to_byte())].push(frame);
    }
    sorted
}

proptest! {
    #[test]
    fn frames_survive_the_chunker(frames in vec(any_frame(), 0..12)) {
        let mut chunker = Chunker::new();
        for (class, frame) in &frames {
            let bytes = frame.encode().expect("within limits");
            prop_assert!(bytes.len() >= HEADER_LEN);
            chunker.push(*class, bytes).expect("room");
        }
        // All were queued before the first message: they come by class, in order.
        let expected = by_class(frames).concat();
        prop_assert_eq!(assemble(&messages(&mut chunker)), expected);
    }

    #[test]
    fn frames_survive_any_cut(
        frames in vec(any_frame(), 1..6),
        cuts in vec((0..3_usize, 1..=CHUNK_MAX), 1..50),
    ) {
        let mut all = assemble(&mix(&frames, &cuts));
        let [consensus, announcements, bulk] = by_class(frames);
        let count = consensus.len() + announcements.len() + bulk.len();
        prop_assert_eq!(all.len(), count);
        for frame in [consensus, announcements, bulk].concat() {
            let place = all.iter().position(|other| *other == frame);
            prop_assert!(place.is_some());
            all.remove(place.expect("found"));
        }
    }

    #[test]
    fn random_bytes_neither_panic_nor_reserve_memory(
        messages in vec(vec(any::<u8>(), 0..2000), 0..20),
        header in vec(0..3_u8, 3),
    ) {
        let mut assembler = Assembler::new();
        let mut received = 0;
        for mut message in messages {
            // Often a valid chunk header, so that the frames inside are reached.
            if let Some(length) = message.len().checked_sub(3).filter(|length| *length > 0) {
                message[0] = header[0];
                message[1..3].copy_from_slice(&u16::try_from(length).expect("short").to_be_bytes());
            }
            received += message.len();
            let mut frames = Vec::new();
            let result = assembler.push(&message, &mut frames);
            prop_assert!(assembler.buffered() <= 2 * received + 3 * CHUNK_MAX);
            if result.is_err() {
                break;
            }
        }
    }
}
