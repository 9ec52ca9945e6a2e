//! Messages that do not travel by gRPC: those between nodes (`pentad.wire.v1`).

use bytes::Bytes;
use thiserror::Error;

/// Bytes that are not the expected message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a valid message: {0}")]
pub struct DecodeError(prost::DecodeError);

/// The protobuf encoding of a message.
#[must_use]
pub fn encode<M: prost::Message>(message: &M) -> Bytes {
    message.encode_to_vec().into()
}

/// A message from its protobuf encoding. Its `bytes` fields share the buffer.
///
/// # Errors
/// When the bytes are malformed. How long they may be is the caller's to check.
pub fn decode<M: prost::Message + Default>(bytes: Bytes) -> Result<M, DecodeError> {
    M::decode(bytes).map_err(DecodeError)
}
