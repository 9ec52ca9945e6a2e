//! TCP: plaintexts of Noise messages, cut anywhere into chunks, down to the messages in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pentad_wire::{Assembler, Chunker, Class};

#[path = "../../services/peer/src/message/mod.rs"]
#[allow(dead_code, reason = "the service uses the rest")]
mod message;

use message::Message;

fuzz_target!(|bytes: &[u8]| {
    // The first byte says how long the Noise messages are.
    let Some((length, bytes)) = bytes.split_first() else { return };
    let mut assembler = Assembler::new();
    let mut frames = Vec::new();
    for plaintext in bytes.chunks(usize::from(*length).max(4)) {
        if assembler.push(plaintext, &mut frames).is_err() {
            break;
        }
        assert!(assembler.buffered() <= 3 * 9 << 20);
    }
    let count = frames.len();
    let mut chunker = Chunker::new();
    let mut sent = 0;
    for frame in frames {
        let encoded = frame.encode().expect("it came in a frame");
        sent += usize::from(chunker.push(Class::Bulk, encoded).is_ok());
        if let Ok(message) = Message::from_frame(frame) {
            let again = message.to_frame(bytes::Bytes::new());
            assert_eq!(Message::from_frame(again).expect("its own encoding"), message);
        }
    }
    // What was taken apart can be put together again.
    let (mut assembler, mut again, mut plaintext) = (Assembler::new(), Vec::new(), Vec::new());
    loop {
        chunker.next_message(&mut plaintext);
        if plaintext.is_empty() {
            break;
        }
        assembler.push(&plaintext, &mut again).expect("its own chunks");
    }
    assert!(again.len() == sent && sent <= count);
});
