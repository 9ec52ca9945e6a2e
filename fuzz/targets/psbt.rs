//! Partially signed transactions, and every role that others' copies go through.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pentad_psbt::Psbt;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut psbt) = Psbt::from_bytes(bytes) else {
        return;
    };
    let again = Psbt::from_bytes(&psbt.to_bytes()).expect("its own bytes");
    assert_eq!(again, psbt);
    psbt.combine(again).expect("of one transaction");
    drop(psbt.fee());
    for index in 0..psbt.inputs.len() {
        drop(psbt.progress(index));
        drop(psbt.finalize(index));
    }
    drop(psbt.extract());
});
