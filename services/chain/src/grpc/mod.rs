//! The services as the protos state them: messages in, domain calls, messages out.

mod address;
mod addresses;
mod admin;
mod assembly;
mod chain;
mod events;
mod explain;
mod fees;
mod finality;
mod history;
mod mempool_changes;
mod ranges;
mod submit;
mod templates;
mod tip;

pub(crate) use admin::Admin;
pub(crate) use assembly::Assembly;
pub(crate) use chain::ChainQueries;
pub(crate) use events::Events;
pub(crate) use submit::Submit;

use std::collections::BTreeMap;

use pentad_api::chain::v1::TracedTransaction;
use pentad_api::{FieldError, block_hash_from_hex};
use pentad_primitives::BlockHeight;
use pentad_service_kit::telemetry::TraceContext;

use crate::error::ChainError;
use crate::reader::BlockRef;

/// A block by hash or height, as the requests of GetBlock and GetHeader name it.
fn block_ref(hash: Option<&str>, height: Option<u32>) -> Result<BlockRef, ChainError> {
    match (hash, height) {
        (Some(hash), _) => Ok(BlockRef::Hash(block_hash_from_hex("hash", hash)?)),
        (None, Some(height)) => Ok(BlockRef::Height(BlockHeight::new(height))),
        (None, None) => {
            let problem = "give a hash or a height".to_owned();
            Err(FieldError { field: "block", problem }.into())
        }
    }
}

/// A number from a request: 0 stands for `default`, more than `max` is refused.
fn capped(field: &'static str, found: u32, default: u32, max: u32) -> Result<usize, ChainError> {
    if found > max {
        return Err(ChainError::TooMany { field, found: found as usize, max: max as usize });
    }
    Ok(if found == 0 { default as usize } else { found as usize })
}

/// Which of `count` transactions are traced, by their place; what names no transaction, and what
/// is not sampled, is left out.
fn traced(list: &[TracedTransaction], count: usize) -> BTreeMap<usize, TraceContext> {
    let context = |it: &TracedTransaction| {
        let place = usize::try_from(it.place).ok().filter(|place| *place < count)?;
        Some((place, TraceContext::from_traceparent(&it.traceparent)?))
    };
    list.iter().filter_map(context).collect()
}

/// Refuses a list that is too long.
fn at_most(field: &'static str, found: usize, max: usize) -> Result<(), ChainError> {
    if found > max { Err(ChainError::TooMany { field, found, max }) } else { Ok(()) }
}
