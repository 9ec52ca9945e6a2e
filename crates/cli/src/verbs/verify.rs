use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use pentad_api::chain::v1::admin_service_client::AdminServiceClient;
use pentad_api::chain::v1::verify_damage::Place;
use pentad_api::chain::v1::verify_response::Event;
use pentad_api::chain::v1::{
    Remedy, VerifyDamage, VerifyLevel, VerifyPhase, VerifyProgress, VerifyReport, VerifyRequest,
};
use serde::Serialize;

use super::READ_DEADLINE;
use crate::args::{Depth, Globals, VerifyArgs};
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::table::pairs;
use crate::target::Target;

#[derive(Debug, Serialize)]
struct Verdict {
    ok: bool,
    height: u32,
    tip: String,
    records: u64,
    blocks: u64,
    rows: u64,
    /// What is wrong, as far as it was told.
    damages: Vec<Damage>,
}

#[derive(Debug, Serialize)]
struct Damage {
    place: String,
    problem: String,
    remedy: &'static str,
}

impl Answer for Verdict {
    fn to_table(&self) -> String {
        let mut text = pairs([
            ("height", self.height.to_string()),
            ("tip", self.tip.clone()),
            ("records", self.records.to_string()),
            ("blocks", self.blocks.to_string()),
            ("index rows", self.rows.to_string()),
            ("damages", self.damages.len().to_string()),
        ]);
        for Damage { place, problem, remedy } in &self.damages {
            // A String takes everything that is written to it.
            write!(text, "\n{place}: {problem}; {remedy}").ok();
        }
        text
    }
}

/// `verify`: exits with 1 when something is wrong.
///
/// # Errors
/// When something is wrong, or the node does not answer.
pub async fn verify(
    console: Console,
    globals: &Globals,
    arguments: &VerifyArgs,
) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let level = match arguments.level {
        Depth::Records => VerifyLevel::Records,
        Depth::Ledger => VerifyLevel::Ledger,
        Depth::Signatures => VerifyLevel::Signatures,
    };
    let request = VerifyRequest { level: level.into(), ..VerifyRequest::default() };
    let mut client = AdminServiceClient::new(target.connection());
    // The first answer comes at once, the rest takes as long as there are blocks.
    let mut events = target.call(READ_DEADLINE, client.verify(request)).await?;
    let mut damages = Vec::new();
    let mut shown = None;
    while let Some(event) = events.message().await.map_err(|status| target.fault(&status))? {
        match event.event {
            Some(Event::Progress(progress)) => show(console, &mut shown, &progress),
            Some(Event::Damage(damage)) => damages.push(Damage::from(damage)),
            Some(Event::Report(report)) => return conclude(console, report, damages),
            None => {}
        }
    }
    Err(Fault::unreachable("the node ended before its report"))
}

fn conclude(console: Console, report: VerifyReport, damages: Vec<Damage>) -> Result<(), Fault> {
    let (remedy, count) = (remedy(report.remedy()), report.damages);
    let VerifyReport { ok, height, tip, records, blocks, rows, .. } = report;
    console.answer(&Verdict { ok, height, tip, records, blocks, rows, damages })?;
    if ok {
        return Ok(());
    }
    let message = format!("what the node stores is damaged in {count} places");
    Err(Fault::refused(message).with_hint(remedy))
}

/// A line for each tenth of a phase, for whoever waits at a terminal.
fn show(console: Console, shown: &mut Option<(i32, u64)>, progress: &VerifyProgress) {
    let VerifyProgress { phase, done, total } = *progress;
    let tenth = done.saturating_mul(10).checked_div(total).unwrap_or(0);
    if !io::stderr().is_terminal() || shown.replace((phase, tenth)) == Some((phase, tenth)) {
        return;
    }
    let what = match progress.phase() {
        VerifyPhase::Unspecified => return,
        VerifyPhase::Records => "bytes of records",
        VerifyPhase::Blocks => "blocks",
        VerifyPhase::Index => "rows of the index",
        VerifyPhase::Search => "blocks, for rows that are wrong",
    };
    console.note(&format!("{:>3} % of {total} {what}", tenth.saturating_mul(10)));
}

impl From<VerifyDamage> for Damage {
    fn from(damage: VerifyDamage) -> Self {
        let remedy = remedy(damage.remedy());
        let place = match damage.place {
            Some(Place::Record(place)) => format!("{} at offset {}", place.file, place.offset),
            Some(Place::Block(hash)) => format!("block {hash}"),
            Some(Place::Row(key)) => format!("index row {key}"),
            None => "somewhere".to_owned(),
        };
        Self { place, problem: damage.problem, remedy }
    }
}

fn remedy(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::Unspecified => "the node's log may say more",
        Remedy::Reindex => "`pentad admin reindex` has the index rebuilt at the next start",
        Remedy::Restore => {
            "stop the node and restore the file, or move its data away and let it fetch the chain"
        }
    }
}

#[cfg(test)]
mod tests {
    use pentad_api::chain::v1::LogPlace;

    use super::*;
    use crate::console::Format;

    fn damage() -> VerifyDamage {
        let place = LogPlace { file: "blocks/000000.blocks".to_owned(), offset: 48 };
        VerifyDamage {
            place: Some(Place::Record(place)),
            problem: "the checksum differs".to_owned(),
            remedy: Remedy::Restore.into(),
        }
    }

    #[test]
    fn damage_is_a_no_and_names_place_and_remedy() {
        let console = Console::new(Format::Json);
        let report = VerifyReport { ok: true, ..VerifyReport::default() };
        assert_eq!(conclude(console, report, Vec::new()), Ok(()));
        let remedy = Remedy::Restore.into();
        let report = VerifyReport { damages: 1, remedy, ..VerifyReport::default() };
        let fault = conclude(console, report, vec![damage().into()]).expect_err("damaged");
        assert_eq!(fault.exit(), crate::fault::Exit::Refused);
        assert!(fault.to_text().contains("restore the file"), "{}", fault.to_text());
        let verdict = Verdict {
            ok: false,
            height: 1,
            tip: "aa".to_owned(),
            records: 2,
            blocks: 1,
            rows: 9,
            damages: vec![damage().into()],
        };
        let text = verdict.to_table();
        let line = "blocks/000000.blocks at offset 48: the checksum differs; stop the node";
        assert!(text.contains(line), "{text}");
    }
}
