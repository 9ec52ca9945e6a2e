//! TCP: the payload of a frame of every kind (first byte) into a message and back.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pentad_wire::{Frame, Kind};

#[path = "../../services/peer/src/message/mod.rs"]
#[allow(dead_code, reason = "the service uses the rest")]
mod message;

use message::Message;

fuzz_target!(|bytes: &[u8]| {
    let Some((number, payload)) = bytes.split_first() else { return };
    let Some(kind) = Kind::from_byte(number % 32) else { return };
    let payload = Bytes::copy_from_slice(payload);
    let frame = Frame { kind, context: Bytes::new(), payload };
    if let Ok(message) = Message::from_frame(frame) {
        let again = message.to_frame(Bytes::new());
        assert_eq!(again.kind, kind);
        assert_eq!(Message::from_frame(again).expect("its own encoding"), message);
    }
});
