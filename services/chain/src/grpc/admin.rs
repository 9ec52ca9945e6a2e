//! `AdminService`: is what the node stores sound, and how to have its index rebuilt.

use std::path::PathBuf;
use std::sync::Arc;

use pentad_api::FieldError;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::admin_service_server::AdminService;
use pentad_api::chain::v1::verify_response;
use pentad_primitives::BlockHeight;
use pentad_store::request_reindex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::error::ChainError;
use crate::reader::Reader;
use crate::submitter::Submitter;
use crate::verify::{Damage, Event, Level, Phase, Place, Plan, Report, Stop, Verification};
use crate::view::TipView;

/// Events that wait for the client's connection.
const EVENTS_IN_FLIGHT: usize = 16;

/// Answers `AdminService`.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    reader: Reader,
    submitter: Submitter,
    data_dir: PathBuf,
    /// Held by the one verification: each keeps a core busy.
    place: Arc<Semaphore>,
}

impl Admin {
    pub(crate) fn new(reader: Reader, submitter: Submitter, data_dir: PathBuf) -> Self {
        Self { reader, submitter, data_dir, place: Arc::new(Semaphore::new(1)) }
    }
}

type Sender = mpsc::Sender<Result<proto::VerifyResponse, Status>>;

#[tonic::async_trait]
impl AdminService for Admin {
    type VerifyStream = ReceiverStream<Result<proto::VerifyResponse, Status>>;

    async fn verify(
        &self,
        request: Request<proto::VerifyRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        let tip = self.reader.published().tip();
        let plan = plan(&request.into_inner(), &tip)?;
        let place = Arc::clone(&self.place).try_acquire_owned();
        let place = place.map_err(|_| ChainError::Verifying)?;
        let (sender, events) = mpsc::channel(EVENTS_IN_FLIGHT);
        let reader = self.reader.clone();
        tokio::task::spawn_blocking(move || verify(&reader, &tip, plan, &sender, place));
        Ok(Response::new(ReceiverStream::new(events)))
    }

    async fn reindex(
        &self,
        request: Request<proto::ReindexRequest>,
    ) -> Result<Response<proto::ReindexResponse>, Status> {
        let message = if request.into_inner().end_now {
            self.submitter.reindex().await?;
            "the node ends now and rebuilds its index when it is started again"
        } else {
            request_reindex(&self.data_dir).map_err(ChainError::from)?;
            "the node rebuilds its index when it is started again"
        };
        Ok(Response::new(proto::ReindexResponse { message: message.to_owned() }))
    }
}

fn plan(request: &proto::VerifyRequest, tip: &TipView) -> Result<Plan, ChainError> {
    let level = match request.level() {
        proto::VerifyLevel::Records => Level::Records,
        proto::VerifyLevel::Unspecified | proto::VerifyLevel::Ledger => Level::Ledger,
        proto::VerifyLevel::Signatures => Level::Signatures,
    };
    if request.from_height.is_none() && request.to_height.is_none() {
        return Ok(Plan { level, heights: None });
    }
    let from = request.from_height.unwrap_or(0);
    let to = request.to_height.unwrap_or(tip.height.get());
    let wrong = |field, problem: String| Err(FieldError { field, problem }.into());
    if level == Level::Records {
        return wrong("level", "the records of the block log have no heights".to_owned());
    }
    if to > tip.height.get() {
        return wrong("to_height", format!("the tip is at height {}", tip.height));
    }
    if from > to {
        return wrong("from_height", format!("it is above {to}, the last height"));
    }
    Ok(Plan { level, heights: Some((BlockHeight::new(from), BlockHeight::new(to))) })
}

/// Runs to the end, or until the client goes.
fn verify(
    reader: &Reader,
    tip: &TipView,
    plan: Plan,
    sender: &Sender,
    _place: OwnedSemaphorePermit,
) {
    tracing::info!(level = ?plan.level, tip = %tip.hash, "verifying what is stored");
    let tell = |event| sender.blocking_send(Ok(message(event))).is_ok();
    let last = match Verification::new(reader, tip, plan, tell).run() {
        Ok(report) => {
            tracing::info!(damages = report.damages(), "verified what is stored");
            Ok(report_message(&report, tip))
        }
        Err(Stop::Failed(error)) => Err(error.into()),
        Err(Stop::Gone) => return,
    };
    // An error says that the client went at the last moment.
    drop(sender.blocking_send(last));
}

fn message(event: Event) -> proto::VerifyResponse {
    let event = match event {
        Event::Progress { phase, done, total } => {
            let mut progress = proto::VerifyProgress { done, total, ..Default::default() };
            progress.set_phase(match phase {
                Phase::Records => proto::VerifyPhase::Records,
                Phase::Blocks => proto::VerifyPhase::Blocks,
                Phase::Index => proto::VerifyPhase::Index,
                Phase::Search => proto::VerifyPhase::Search,
            });
            verify_response::Event::Progress(progress)
        }
        Event::Damage(damage) => verify_response::Event::Damage(damage_message(damage)),
    };
    proto::VerifyResponse { event: Some(event) }
}

fn damage_message(damage: Damage) -> proto::VerifyDamage {
    use proto::verify_damage::Place as Where;
    let remedy = if damage.is_of_index() { proto::Remedy::Reindex } else { proto::Remedy::Restore };
    let place = match damage.place {
        Place::Record(position) => Where::Record(proto::LogPlace {
            file: position.file(),
            offset: u64::from(position.offset),
        }),
        Place::Block(hash) => Where::Block(hash.to_string()),
        Place::Row(key) => Where::Row(key.iter().map(|byte| format!("{byte:02x}")).collect()),
    };
    proto::VerifyDamage { place: Some(place), problem: damage.problem, remedy: remedy.into() }
}

fn report_message(report: &Report, tip: &TipView) -> proto::VerifyResponse {
    let remedy = match (report.damages_of_blocks, report.damages_of_index) {
        (0, 0) => proto::Remedy::Unspecified,
        (0, _) => proto::Remedy::Reindex,
        (_, _) => proto::Remedy::Restore,
    };
    let report = proto::VerifyReport {
        ok: report.damages() == 0,
        height: tip.height.get(),
        tip: tip.hash.to_string(),
        records: report.records,
        blocks: report.blocks,
        rows: report.rows,
        damages: report.damages(),
        remedy: remedy.into(),
    };
    proto::VerifyResponse { event: Some(verify_response::Event::Report(report)) }
}
