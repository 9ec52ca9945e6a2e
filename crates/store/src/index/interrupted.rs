use pentad_primitives::BlockHash;

use crate::layer::Step;
use crate::log::LogPosition;

/// The moves of a descent, noted before it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// The log had been durable up to here.
    pub log_end: LogPosition,
    /// The moves of the tip, in order.
    pub steps: Vec<Step>,
}

impl Interrupted {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.log_end.to_be_bytes().to_vec();
        for step in &self.steps {
            let (code, hash) = match step {
                Step::Connect(hash) => (1, hash),
                Step::Disconnect(hash) => (2, hash),
            };
            out.push(code);
            out.extend_from_slice(hash.as_bytes());
        }
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (log_end, steps) = bytes.split_first_chunk()?;
        let (steps, rest) = steps.as_chunks::<33>();
        if !rest.is_empty() {
            return None;
        }
        let step = |bytes: &[u8; 33]| {
            let (code, hash) = bytes.split_first()?;
            let hash = BlockHash::from_bytes(hash.try_into().ok()?);
            match code {
                1 => Some(Step::Connect(hash)),
                2 => Some(Step::Disconnect(hash)),
                _ => None,
            }
        };
        let steps = steps.iter().map(step).collect::<Option<_>>()?;
        Some(Self { log_end: LogPosition::from_be_bytes(*log_end), steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let (one, other) = (BlockHash::from_bytes([7; 32]), BlockHash::from_bytes([9; 32]));
        let note = Interrupted {
            log_end: LogPosition { segment: 1, offset: 0x0203 },
            steps: vec![Step::Disconnect(one), Step::Connect(other)],
        };
        let bytes = [b"\0\0\0\x01\0\0\x02\x03\x02", &[7; 32][..], b"\x01", &[9; 32]].concat();
        assert_eq!(note.to_bytes(), bytes);
        assert_eq!(Interrupted::from_bytes(&bytes), Some(note));
        assert_eq!(Interrupted::from_bytes(&bytes[..bytes.len() - 1]), None);
    }
}
