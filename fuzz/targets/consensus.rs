//! Messages between replicas, certificates, and the records of a safety log. Each has one encoding.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pentad_pbft::{CommitCertificate, Message, Record};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Message::from_bytes(bytes) {
        assert_eq!(message.to_bytes(), bytes);
    }
    if let Ok(certificate) = CommitCertificate::from_bytes(bytes) {
        assert_eq!(certificate.to_bytes(), bytes);
    }
    if let Ok(record) = Record::from_bytes(bytes) {
        assert_eq!(record.to_bytes(), bytes);
    }
});
