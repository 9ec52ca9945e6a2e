//! Blocks and headers of the main chain over a range of heights, as fast as the client takes
//! them: nothing is read before it is asked for.

use futures_util::{Stream, stream};
use pentad_api::chain::v1 as proto;
use pentad_api::header_message;
use pentad_primitives::{BlockHash, BlockHeight};
use pentad_store::{BlockEntry, read_block_bytes};
use tonic::Status;

use crate::error::ChainError;
use crate::reader::{BlockRef, Reader, View};

/// Headers in one message: about 200 kB.
const HEADERS_PER_MESSAGE: usize = 500;

/// Where a stream stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    next: BlockHeight,
    /// The last height wanted; none: the tip's when the stream begins.
    last: Option<BlockHeight>,
    /// The block below `next`, once one was sent.
    below: Option<BlockHash>,
}

impl Range {
    pub(super) fn new(from: u32, to: Option<u32>) -> Self {
        let last = to.map(BlockHeight::new);
        Self { next: BlockHeight::new(from), last, below: None }
    }
}

/// Some blocks, and where the range goes on behind them.
type Step = (Vec<(BlockHash, BlockEntry)>, Option<Range>);

/// Up to `limit` blocks of the range.
fn step(view: &View<'_>, range: Range, limit: usize) -> Result<Step, ChainError> {
    let tip = view.tip.height;
    if range.below.is_none() && range.next > tip {
        return Err(ChainError::UnknownHeight { height: range.next, tip });
    }
    let last = range.last.unwrap_or(tip).min(tip);
    let mut range = Range { last: Some(last), ..range };
    let mut blocks = Vec::new();
    while blocks.len() < limit && range.next <= last {
        let (hash, entry) = view.block(BlockRef::Height(range.next))?;
        if let Some(below) = range.below.filter(|below| *below != entry.header.prev_block_hash) {
            return Err(ChainError::Reorganised(below));
        }
        range.below = Some(hash);
        blocks.push((hash, entry));
        match range.next.next() {
            Some(next) => range.next = next,
            None => return Ok((blocks, None)),
        }
    }
    Ok((blocks, (range.next <= last).then_some(range)))
}

/// The headers of a range.
pub(super) fn headers(
    reader: Reader,
    range: Range,
) -> impl Stream<Item = Result<proto::StreamHeadersResponse, Status>> + Send {
    stream::try_unfold(Some(range), move |range| {
        let reader = reader.clone();
        async move {
            let Some(range) = range else { return Ok(None) };
            let reading = reader.read(move |view| {
                let (blocks, rest) = step(&view, range, HEADERS_PER_MESSAGE)?;
                let headers = blocks.iter().map(|(_, entry)| header(&view, entry)).collect();
                Ok((proto::StreamHeadersResponse { headers }, rest))
            });
            let (message, rest) = reading.await?;
            Ok((!message.headers.is_empty()).then_some((message, rest)))
        }
    })
}

/// The blocks of a range.
pub(super) fn blocks(
    reader: Reader,
    range: Range,
) -> impl Stream<Item = Result<proto::StreamBlocksResponse, Status>> + Send {
    stream::try_unfold(Some(range), move |range| {
        let reader = reader.clone();
        async move {
            let Some(range) = range else { return Ok(None) };
            let reading = reader.read(move |view| {
                let (blocks, rest) = step(&view, range, 1)?;
                let Some((_, entry)) = blocks.first() else { return Ok(None) };
                let raw = read_block_bytes(&view.published.log, entry.body)?.into();
                let header = Some(header(&view, entry));
                Ok(Some((proto::StreamBlocksResponse { header, raw }, rest)))
            });
            Ok(reading.await?)
        }
    })
}

fn header(view: &View<'_>, entry: &BlockEntry) -> pentad_api::types::v1::BlockHeader {
    let confirmations = view.depth(entry.height);
    header_message(&entry.header, entry.height, &entry.chain_work, confirmations)
}
