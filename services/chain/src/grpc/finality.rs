//! What is final, and under engine hybrid what validators may make final next.

use bytes::Bytes;
use pentad_api::FieldError;
use pentad_api::chain::v1 as proto;
use pentad_ledger::verify::Fault;
use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::{BlockHash, BlockHeader, BlockHeight};
use pentad_store::IndexRead as _;

use crate::error::{ChainError, FinalityError};
use crate::reader::{BlockRef, View};
use crate::refusal::Refusal;
use crate::writer::FinalityOutcome;

/// The last final block and its certificate.
pub(super) fn last_final(view: &View<'_>) -> Result<proto::GetFinalityResponse, ChainError> {
    if view.published.finality.membership().is_none() {
        return Err(FinalityError::NoFinality.into());
    }
    let height = view.tip.final_height;
    let (_, entry) = view.block(BlockRef::Height(height))?;
    let certificate = view.certificate(&entry)?.unwrap_or_default();
    let header = entry.header.to_bytes().into();
    Ok(proto::GetFinalityResponse { height: height.get(), header, certificate })
}

/// The block of the main chain at a height, if it is deep enough, or final.
pub(super) fn candidate(
    view: &View<'_>,
    height: BlockHeight,
) -> Result<proto::GetCandidateResponse, ChainError> {
    check_depth(view, height)?;
    let (hash, entry) = view.block(BlockRef::Height(height))?;
    let trace = view.published.traces.of_block(&hash);
    Ok(proto::GetCandidateResponse {
        header: entry.header.to_bytes().into(),
        transaction_traceparents: trace.transaction_traceparents(),
    })
}

/// Whether validators may make a block final; inside, why they never may.
pub(super) fn check_candidate(
    view: &View<'_>,
    header: &Bytes,
    is_first: bool,
) -> Result<Result<(), Refusal>, ChainError> {
    let header = BlockHeader::from_bytes(header).map_err(|error| {
        ChainError::Field(FieldError { field: "header", problem: error.to_string() })
    })?;
    let hash = header.block_hash();
    let entry = view.tip.snapshot.block(&hash)?;
    if entry.as_ref().is_some_and(|entry| entry.is_invalid) {
        let message = "the block breaks a rule";
        return Ok(Err(Refusal::new("INVALID_BLOCK", Fault::Invalid, message)));
    }
    if is_beside_final(view, &hash)? {
        let message = format!("the block of height {} is final without it", view.tip.final_height);
        return Ok(Err(Refusal::new("BELOW_FINALITY", Fault::Premature, message)));
    }
    // A quorum prepared it: honest validators found it deep, whatever is here. Where it is not, it
    // is fetched once it is final.
    if !is_first {
        return Ok(Ok(()));
    }
    let height = entry.map(|entry| entry.height);
    match height {
        Some(height) if view.is_on_main_chain(&hash, height)? => check_depth(view, height).map(Ok),
        _ => Err(FinalityError::NotDeep { height }.into()),
    }
}

/// Does a block contradict the last final one, as far as its branch is here?
fn is_beside_final(view: &View<'_>, hash: &BlockHash) -> Result<bool, ChainError> {
    let final_height = view.tip.final_height;
    let mut at = *hash;
    while let Some(entry) = view.tip.snapshot.block(&at)? {
        if view.is_on_main_chain(&at, entry.height)? {
            return Ok(at != *hash && entry.height < final_height);
        }
        if entry.height <= final_height {
            return Ok(true);
        }
        at = entry.header.prev_block_hash;
    }
    Ok(false)
}

fn check_depth(view: &View<'_>, height: BlockHeight) -> Result<(), ChainError> {
    let depth = view.published.finality.depth_of_work().ok_or(FinalityError::NotHybrid)?;
    // Where validators chose a branch of less work, few blocks may stand on the final one.
    let is_final = height <= view.tip.final_height;
    let needed = u64::from(height.get()) + u64::from(depth);
    if !is_final && needed > u64::from(view.tip.height.get()) {
        return Err(FinalityError::NotDeep { height: Some(height) }.into());
    }
    Ok(())
}

pub(super) fn finality_outcome(
    outcome: Result<FinalityOutcome, Refusal>,
) -> proto::FinaliseBlockResponse {
    let outcome = match outcome {
        Ok(FinalityOutcome::Final) => proto::FinalityOutcome::Final,
        Ok(FinalityOutcome::AlreadyFinal) => proto::FinalityOutcome::AlreadyFinal,
        Ok(FinalityOutcome::Awaited) => proto::FinalityOutcome::Awaited,
        Err(refusal) => {
            let refusal = Some(refusal.into());
            return proto::FinaliseBlockResponse { refusal, ..Default::default() };
        }
    };
    proto::FinaliseBlockResponse { outcome: outcome.into(), refusal: None }
}
