//! One message with its kind and, if the sender traces, the span it belongs to.
//!
//! ```text
//! kind: u8 | context length: u8 | payload length: u32, big-endian | context | payload
//! ```

use bytes::{BufMut as _, Bytes, BytesMut};
use thiserror::Error;

use crate::{Class, Kind};

/// Bytes in front of context and payload.
pub const HEADER_LEN: usize = 6;
/// Most bytes of a trace context: `TraceContext` takes 30.
pub const CONTEXT_MAX: usize = 64;

/// A message before it is cut into chunks, or after it was put together again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the payload holds.
    pub kind: Kind,
    /// Encoded `pentad.wire.v1.TraceContext`; empty without a trace.
    pub context: Bytes,
    /// Encoded message.
    pub payload: Bytes,
}

/// Why a frame cannot be sent or is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The payload is larger than its kind may be.
    #[error("payload of {length} bytes in a frame of kind {kind}, {limit} at most")]
    PayloadTooLong {
        /// Number of the kind.
        kind: u8,
        /// Announced length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The trace context is larger than one can be.
    #[error("trace context of {length} bytes, {CONTEXT_MAX} at most")]
    ContextTooLong {
        /// Announced length in bytes.
        length: usize,
    },
}

impl Frame {
    /// The bytes of the frame in its class's stream.
    ///
    /// # Errors
    /// When payload or context are over their limits.
    pub fn encode(&self) -> Result<Bytes, FrameError> {
        let length = self.payload.len();
        let limit = self.kind.payload_max();
        let too_long = FrameError::PayloadTooLong { kind: self.kind.to_byte(), length, limit };
        if length > limit {
            return Err(too_long);
        }
        let announced = u32::try_from(length).map_err(|_| too_long)?;
        let context_too_long = FrameError::ContextTooLong { length: self.context.len() };
        if self.context.len() > CONTEXT_MAX {
            return Err(context_too_long);
        }
        let context = u8::try_from(self.context.len()).map_err(|_| context_too_long)?;

        let body = self.context.len().saturating_add(length);
        let mut bytes = BytesMut::with_capacity(HEADER_LEN.saturating_add(body));
        bytes.put_u8(self.kind.to_byte());
        bytes.put_u8(context);
        bytes.put_u32(announced);
        bytes.put_slice(&self.context);
        bytes.put_slice(&self.payload);
        Ok(bytes.freeze())
    }
}

/// The first bytes of a frame, checked against every limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// `None`: a kind of a later version, to be skipped.
    pub kind: Option<Kind>,
    pub context_len: usize,
    pub payload_len: usize,
}

impl Header {
    pub fn decode(class: Class, bytes: [u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let [number, context, a, b, c, d] = bytes;
        let kind = Kind::from_byte(number);
        let context_len = usize::from(context);
        if context_len > CONTEXT_MAX {
            return Err(FrameError::ContextTooLong { length: context_len });
        }
        let class_max = class.payload_max();
        let limit = kind.map_or(class_max, |kind| kind.payload_max().min(class_max));
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > limit {
            return Err(FrameError::PayloadTooLong { kind: number, length, limit });
        }
        Ok(Self { kind, context_len, payload_len: length })
    }

    /// Bytes that follow the header.
    pub const fn body_len(self) -> usize {
        self.context_len.saturating_add(self.payload_len)
    }
}
