//! Generated protobuf code, connections and the mapping between messages and domain types.
//!
//! This crate alone knows prost. Services meet over [`Connection`]s: over TCP, with TLS or without,
//! or wired straight to another service's tower service in the same process.

mod connection;
mod convert;
mod dial;
pub mod encoding;
pub mod rights;
pub mod status;
mod traceparent;

pub use connection::{Connection, ConnectionError};
pub use convert::{
    FieldError, block_from_bytes, block_hash_from_hex, block_message, hash_from_bytes,
    header_message, outpoint_message, proof_from_message, proof_message, transaction_from_bytes,
    transaction_message, txid_from_hex, utxo_message,
};
pub use pentad_trust::Right;
pub use status::Failure;
pub use traceparent::Traceparent;

/// The encoded descriptor set of every proto in `proto/`, with comments: for reflection and the
/// command line.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/", "pentad.bin"));

macro_rules! package {
    ($module:ident, $package:literal) => {
        #[doc = concat!("Package `", $package, "`.")]
        pub mod $module {
            #[allow(missing_debug_implementations, clippy::all, clippy::cast_possible_wrap)]
            /// Version 1.
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    };
}

package!(types, "pentad.types.v1");
package!(chain, "pentad.chain.v1");
package!(wallet, "pentad.wallet.v1");
package!(miner, "pentad.miner.v1");
package!(peer, "pentad.peer.v1");
package!(wire, "pentad.wire.v1");
package!(consensus, "pentad.consensus.v1");
