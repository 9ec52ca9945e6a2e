//! TCP before anybody is known: messages of the Noise handshake, to either side of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pentad_wire::handshake::{NOISE_PATTERN, NOISE_PROLOGUE};
use snow::{Builder, HandshakeState};

const MESSAGE_MAX: usize = 96;

fn builder(key: &'static [u8; 32]) -> Builder<'static> {
    Builder::new(NOISE_PATTERN.parse().expect("a pattern"))
        .local_private_key(key)
        .and_then(|builder| builder.prologue(NOISE_PROLOGUE))
        .expect("once each")
        .fixed_ephemeral_key_for_testing_only(&[3; 32])
}

/// Reads what is there, as long as it is valid; nobody without the keys gets to the end.
fn read(mut state: HandshakeState, mut bytes: &[u8]) {
    let mut buffer = [0; MESSAGE_MAX];
    loop {
        if state.is_handshake_finished() {
            assert!(state.into_stateless_transport_mode().is_ok());
            return;
        }
        if state.is_my_turn() {
            state.write_message(&[], &mut buffer).expect("its turn");
            continue;
        }
        let Some((length, rest)) = bytes.split_first() else { return };
        let length = usize::from(*length).min(MESSAGE_MAX).min(rest.len());
        let (message, rest) = rest.split_at(length);
        if state.read_message(message, &mut []).is_err() {
            return;
        }
        bytes = rest;
    }
}

fuzz_target!(|bytes: &[u8]| {
    read(builder(&[1; 32]).build_initiator().expect("complete"), bytes);
    read(builder(&[2; 32]).build_responder().expect("complete"), bytes);
});
