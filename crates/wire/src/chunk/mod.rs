//! Three streams of frames through one link.
//!
//! The plaintext of a Noise message is a row of chunks. The chunks of one class, put together,
//! are a stream of frames; the classes do not know of each other.
//!
//! ```text
//! class: u8 | length: u16, big-endian, 1 to 16384 | bytes
//! ```

mod assembler;
mod chunker;

pub use assembler::{Assembler, AssemblyError};
pub use chunker::{Chunker, QueueFull};

/// Most bytes in a chunk.
pub const CHUNK_MAX: usize = 16 << 10;
/// Bytes in front of a chunk.
pub const CHUNK_HEADER_LEN: usize = 3;
/// Most bytes of a Noise message, its 16-byte tag included (Noise specification, section 3).
pub const NOISE_MESSAGE_MAX: usize = 65_535;
/// Bytes of the tag of ChaCha20-Poly1305.
pub const NOISE_TAG_LEN: usize = 16;
/// Most bytes of plaintext in a Noise message.
pub const PLAINTEXT_MAX: usize = NOISE_MESSAGE_MAX - NOISE_TAG_LEN;

#[cfg(test)]
mod tests;
