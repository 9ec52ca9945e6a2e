//! What is read from the disk: records of the block log, rows of the index, a safety log.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| pentad_store::fuzzing::decode(bytes));
