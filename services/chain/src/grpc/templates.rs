//! Block templates, as they change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::Stream;
use pentad_api::chain::v1 as proto;
use pentad_ledger::BlockTemplate;
use pentad_primitives::encode::Encode as _;
use pentad_primitives::{Script, Target};
use pentad_service_kit::telemetry::TraceContext;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::assembly::Assembly;
use crate::error::ChainError;
use crate::traces::Traces;

/// New transactions get into the work at most this often.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// A template is never older, so that block times stay near the clock.
const AGE_MAX: Duration = Duration::from_secs(30);

pub(super) fn template_message(
    template: &BlockTemplate,
    traces: &Traces,
) -> Result<proto::GetTemplateResponse, ChainError> {
    let block = template.block();
    let coinbase = block.transactions.first().into_iter();
    let reward = coinbase.flat_map(|tx| &tx.outputs).map(|out| out.amount.units()).sum();
    let target = Target::from_compact(template.bits()).map_err(|_| ChainError::Broken)?;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let among = traces.among(template.txids());
    Ok(proto::GetTemplateResponse {
        block: block.to_bytes().into(),
        height: template.height().get(),
        target: target.to_be_bytes().to_vec().into(),
        min_time: template.min_time(),
        reward,
        transactions: count(block.transactions.len().saturating_sub(1)),
        extra_nonce_offset: count(template.extra_nonce_offset()),
        transaction_traceparents: among.iter().map(TraceContext::to_string).collect(),
    })
}

/// A template at once, and another whenever the tip or, less often, the mempool changes. One that
/// is not taken holds back the next: whoever is slow gets the latest, not all.
pub(super) fn follow(
    assembly: &Assembly,
    payout: Script,
) -> impl Stream<Item = Result<proto::FollowTemplatesResponse, Status>> + use<> {
    let (sender, templates) = mpsc::channel(1);
    tokio::spawn(send_all(assembly.clone(), payout, sender));
    ReceiverStream::new(templates)
}

async fn send_all(
    assembly: Assembly,
    payout: Script,
    sender: mpsc::Sender<Result<proto::FollowTemplatesResponse, Status>>,
) {
    let published = Arc::clone(assembly.reader.published());
    let mut tip = published.watch_tip();
    while let Ok(room) = sender.reserve().await {
        tip.borrow_and_update();
        let (changes, made) = (published.mempool_changes(), Instant::now());
        let template = assembly.submitter.template(payout.clone(), 0).await;
        let message = |template| template_message(&template, &published.traces);
        match template.and_then(message) {
            Ok(template) => {
                room.send(Ok(proto::FollowTemplatesResponse { template: Some(template) }));
            }
            Err(error) => return room.send(Err(error.into())),
        }
        loop {
            tokio::select! {
                changed = tip.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = sender.closed() => return,
                () = tokio::time::sleep(REFRESH_INTERVAL) => {}
            }
            if published.mempool_changes() != changes || made.elapsed() >= AGE_MAX {
                break;
            }
        }
    }
}
