//! What all canonical encodings share: little-endian integers, counts that are checked before
//! anything is allocated, lists in one order only, no trailing bytes.

use pentad_primitives::Hash256;
use std::sync::Arc;

use pentad_primitives::encode::{DecodeError as PrimitiveError, Reader};
use thiserror::Error;

use crate::identifiers::{ReplicaId, Sequence, View};
use crate::keys::Signature;
use crate::quorum::REPLICAS_MAX;

/// Most bytes of a proposal's body: a block of 4 MB and 1 MiB of payloads fit, and so does the
/// body with its message into a consensus payload of 8 MiB.
pub const BODY_LEN_MAX: usize = 6 * 1024 * 1024;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// They end too early, or are too many.
    #[error(transparent)]
    Bytes(#[from] PrimitiveError),
    /// A kind of message or record that does not exist.
    #[error("unknown kind {0}")]
    UnknownKind(u8),
    /// A list that is longer than it can be.
    #[error("a list of {count}, at most {max}")]
    ListTooLong {
        /// Elements that it claims.
        count: usize,
        /// Most elements that it may have.
        max: usize,
    },
    /// A body that is longer than it can be.
    #[error("a body of {0} bytes, at most {BODY_LEN_MAX}")]
    BodyTooLong(u32),
    /// A message that is longer than any can be.
    #[error("a message of {0} bytes")]
    TooLong(usize),
    /// A list that is not in ascending order, or names something twice.
    #[error("a list is not in strictly ascending order")]
    NotAscending,
    /// A flag other than 0 and 1.
    #[error("a flag of {0}")]
    Flag(u8),
}

/// Reads exactly one value.
pub(crate) fn exactly<T>(
    bytes: &[u8],
    decode: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let value = decode(&mut reader)?;
    match reader.remaining() {
        0 => Ok(value),
        left => Err(PrimitiveError::TrailingBytes(left).into()),
    }
}

pub(crate) fn view(reader: &mut Reader<'_>) -> Result<View, DecodeError> {
    Ok(View::new(reader.u64()?))
}

pub(crate) fn sequence(reader: &mut Reader<'_>) -> Result<Sequence, DecodeError> {
    Ok(Sequence::new(reader.u64()?))
}

pub(crate) fn replica(reader: &mut Reader<'_>) -> Result<ReplicaId, DecodeError> {
    Ok(ReplicaId::new(reader.u16()?))
}

pub(crate) fn hash(reader: &mut Reader<'_>) -> Result<Hash256, DecodeError> {
    Ok(Hash256::from_bytes(reader.array()?))
}

pub(crate) fn signature(reader: &mut Reader<'_>) -> Result<Signature, DecodeError> {
    Ok(Signature::from_bytes(reader.array()?))
}

/// A list with its count in one byte, at most one element for each replica there can be.
pub(crate) fn list<T>(
    reader: &mut Reader<'_>,
    mut element: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let (count, max) = (usize::from(reader.u8()?), usize::from(REPLICAS_MAX));
    if count > max {
        return Err(DecodeError::ListTooLong { count, max });
    }
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(element(reader)?);
    }
    Ok(list)
}

/// Appends the count of a list. No list is longer than 255: its elements are distinct replicas,
/// or sequences of one window.
pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    out.push(u8::try_from(count).unwrap_or(u8::MAX));
}

/// A byte that is 0 or 1.
pub(crate) fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(DecodeError::Flag(other)),
    }
}

pub(crate) fn put_flag(out: &mut Vec<u8>, flag: bool) {
    out.push(u8::from(flag));
}

/// A body with its length in four bytes; longer ones are refused before anything is allocated.
pub(crate) fn body(reader: &mut Reader<'_>) -> Result<Arc<[u8]>, DecodeError> {
    let length = reader.u32()?;
    match usize::try_from(length) {
        Ok(count) if count <= BODY_LEN_MAX => Ok(reader.take(count)?.into()),
        _ => Err(DecodeError::BodyTooLong(length)),
    }
}

/// Appends a body with its length; the ledger's limit keeps it below [`BODY_LEN_MAX`].
pub(crate) fn put_body(out: &mut Vec<u8>, body: &[u8]) {
    out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(body);
}

/// Signatures of distinct replicas, in the order of the replicas.
pub(crate) fn signatures(
    reader: &mut Reader<'_>,
) -> Result<Vec<(ReplicaId, Signature)>, DecodeError> {
    let list = list(reader, |reader| Ok((replica(reader)?, signature(reader)?)))?;
    if is_ascending(list.iter().map(|(replica, _)| *replica)) {
        Ok(list)
    } else {
        Err(DecodeError::NotAscending)
    }
}

pub(crate) fn put_signatures(out: &mut Vec<u8>, signatures: &[(ReplicaId, Signature)]) {
    put_count(out, signatures.len());
    for (replica, signature) in signatures {
        put_signed(out, *replica, signature);
    }
}

/// Appends who signed, and the signature.
pub(crate) fn put_signed(out: &mut Vec<u8>, sender: ReplicaId, signature: &Signature) {
    out.extend(sender.get().to_le_bytes());
    out.extend(signature.as_bytes());
}

/// Each is greater than the one before it; so none stands there twice.
pub(crate) fn is_ascending<T: Ord>(mut elements: impl Iterator<Item = T>) -> bool {
    let Some(mut last) = elements.next() else {
        return true;
    };
    elements.all(|element| {
        let ascends = element > last;
        last = element;
        ascends
    })
}
