use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pentad_api::peer::v1::peer_service_client::PeerServiceClient;
use pentad_api::peer::v1::{GetSyncStatusRequest, ListPeersRequest};
use serde::Serialize;
use tokio::time::sleep;

use super::READ_DEADLINE;
use crate::args::{Globals, SyncArgs};
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::table::pairs;
use crate::target::Target;

/// How often the node is asked.
const POLL: Duration = Duration::from_millis(250);

/// How far a node is with what its peers have.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Progress {
    synced: bool,
    height: u32,
    /// Of the best chain that the node or a peer of it tells of.
    best_height: u32,
    peers: usize,
    blocks_per_second: f64,
    /// Null: all is here, or nothing moves.
    remaining_seconds: Option<u64>,
}

impl Answer for Progress {
    fn to_table(&self) -> String {
        pairs([
            ("synced", if self.synced { "yes" } else { "no" }.to_owned()),
            ("height", self.height.to_string()),
            ("best height", self.best_height.to_string()),
            ("peers", self.peers.to_string()),
            ("pace", self.pace()),
        ])
    }
}

impl Progress {
    /// For people: how fast, and for how long still.
    fn pace(&self) -> String {
        if self.peers == 0 {
            return "no peers yet".to_owned();
        }
        let mut text = format!("{:.1} blocks/s", self.blocks_per_second);
        if let Some(seconds) = self.remaining_seconds {
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            // A String takes everything that is written to it.
            match hours {
                0 if minutes == 0 => write!(text, ", {seconds} s left").ok(),
                0 => write!(text, ", {minutes} min {} s left", seconds % 60).ok(),
                _ => write!(text, ", {hours} h {minutes} min left").ok(),
            };
        }
        text
    }
}

/// `sync`: waits, with a progress bar, until the node has what its peers have.
///
/// # Errors
/// When the node does not answer; with `--now` also when it is not there yet.
pub async fn sync(console: Console, globals: &Globals, arguments: &SyncArgs) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let bar = bar(console);
    loop {
        let progress = ask(&target).await?;
        bar.set_length(progress.best_height.into());
        bar.set_position(progress.height.into());
        bar.set_message(progress.pace());
        if progress.synced || arguments.now {
            bar.finish_and_clear();
            console.answer(&progress)?;
            return match (progress.synced, progress.peers) {
                (true, _) => Ok(()),
                (false, 0) => Err(Fault::refused("the node has no peers")
                    .with_hint("`pentad peer add-peer --address HOST:PORT` adds one")),
                (false, _) => Err(Fault::refused("the node is still catching up")),
            };
        }
        sleep(POLL).await;
    }
}

/// Drawn on standard error, for people at a terminal.
fn bar(console: Console) -> ProgressBar {
    let is_seen = console.is_for_people() && io::stderr().is_terminal();
    let target = if is_seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} % {pos}/{len} {msg}")
        .expect("the template names fields that there are");
    ProgressBar::with_draw_target(None, target).with_style(style)
}

async fn ask(target: &Target) -> Result<Progress, Fault> {
    let mut client = PeerServiceClient::new(target.connection());
    let peers = target.call(READ_DEADLINE, client.list_peers(ListPeersRequest {})).await?.peers;
    let asked = client.get_sync_status(GetSyncStatusRequest {});
    let status = target.call(READ_DEADLINE, asked).await?;
    // One peer may lie: beside headers that were checked, only what all of them tell counts.
    let told = peers.iter().map(|peer| peer.height).min().unwrap_or(0);
    let best_height = status.best_height.max(told).max(status.height);
    Ok(Progress {
        synced: !peers.is_empty() && status.height >= best_height,
        height: status.height,
        best_height,
        peers: peers.len(),
        blocks_per_second: status.blocks_per_second,
        remaining_seconds: status.remaining_seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_told_in_words() {
        let progress = |peers, remaining_seconds| Progress {
            synced: false,
            height: 10,
            best_height: 100,
            peers,
            blocks_per_second: 12.345,
            remaining_seconds,
        };
        for (peers, remaining, expected) in [
            (0, Some(5), "no peers yet"),
            (1, None, "12.3 blocks/s"),
            (1, Some(7), "12.3 blocks/s, 7 s left"),
            (1, Some(247), "12.3 blocks/s, 4 min 7 s left"),
            (1, Some(7_300), "12.3 blocks/s, 2 h 1 min left"),
        ] {
            assert_eq!(progress(peers, remaining).pace(), expected);
        }
    }
}
