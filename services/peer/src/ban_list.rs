//! Bans that survive a restart: `bans` in the data directory, a line each.
//!
//! ```text
//! pentad bans 1
//! <static key, hex> <end, Unix seconds> offence|operator <reason>
//! ```

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use pentad_service_kit::since_1970;
use pentad_wire::StaticKey;
use pentad_wire::penalty::{BAN_DURATION, Ban, Banned, Bans};

use crate::kept_file::KeptFile;

/// Name of the file.
const FILE_NAME: &str = "bans";
const HEADER: &str = "pentad bans 1";
/// Most bytes that are read: a full list with the longest reasons.
const BYTES_MAX: u64 = 1 << 20;
/// Most characters of a reason.
pub(crate) const REASON_MAX: usize = 100;

/// Who may not connect.
#[derive(Debug)]
pub(crate) struct BanList {
    bans: Bans,
    file: KeptFile,
}

impl BanList {
    /// What was kept in `data_dir`, and what has to run so that changes are kept.
    pub(crate) fn load(data_dir: &Path) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (file, writing) = KeptFile::new(data_dir.join(FILE_NAME));
        let mut list = Self { bans: Bans::new(), file };
        match list.file.read(BYTES_MAX) {
            Ok(text) => list.parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = list.file.path().display().to_string();
                tracing::warn!(path, %error, "bans are lost");
            }
        }
        (list, writing)
    }

    fn parse(&mut self, text: &str) {
        let now = since_1970();
        for line in text.lines().filter(|line| *line != HEADER) {
            match parse(line) {
                Some((key, ban)) if ban.until > now => self.bans.ban(key, ban, now),
                Some(_) => {}
                None => {
                    let path = self.file.path().display().to_string();
                    tracing::warn!(path, line, "skipped a line");
                }
            }
        }
    }

    /// Bans a key that misbehaved.
    pub(crate) fn punish(&mut self, key: StaticKey, reason: &str) {
        self.insert(key, BAN_DURATION, reason, Banned::ByOffence);
    }

    /// Bans a key because the operator wants it.
    pub(crate) fn ban(&mut self, key: StaticKey, duration: Duration, reason: &str) {
        self.insert(key, duration, reason, Banned::ByOperator);
    }

    fn insert(&mut self, key: StaticKey, duration: Duration, reason: &str, by: Banned) {
        let now = since_1970();
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let reason = reason.chars().take(REASON_MAX).map(printable).collect();
        self.bans.ban(key, Ban { until: now.saturating_add(duration), reason, by }, now);
        self.save();
    }

    /// Lifts a ban; true if there was one.
    pub(crate) fn unban(&mut self, key: &StaticKey) -> bool {
        let was_banned = self.bans.contains(key, since_1970());
        self.bans.unban(key);
        self.save();
        was_banned
    }

    pub(crate) fn contains(&self, key: &StaticKey) -> bool {
        self.bans.contains(key, since_1970())
    }

    /// The bans that hold now.
    pub(crate) fn list(&self) -> Vec<(StaticKey, Ban)> {
        self.bans.iter(since_1970()).map(|(key, ban)| (*key, ban.clone())).collect()
    }

    fn save(&self) {
        let mut text = format!("{HEADER}\n");
        for (key, ban) in self.bans.iter(since_1970()) {
            let (until, by, reason) = (ban.until.as_secs(), word(ban.by), &ban.reason);
            writeln!(text, "{key} {until} {by} {reason}").expect("a string takes any text");
        }
        self.file.keep(text);
    }
}

const fn word(by: Banned) -> &'static str {
    match by {
        Banned::ByOffence => "offence",
        Banned::ByOperator => "operator",
    }
}

fn parse(line: &str) -> Option<(StaticKey, Ban)> {
    let mut parts = line.splitn(4, ' ');
    let key = parts.next()?.parse().ok()?;
    let until = Duration::from_secs(parts.next()?.parse().ok()?);
    let by = match parts.next()? {
        "offence" => Banned::ByOffence,
        "operator" => Banned::ByOperator,
        _ => return None,
    };
    Some((key, Ban { until, reason: parts.next()?.to_owned(), by }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bans_survive_and_damage_is_skipped() {
        let directory = tempfile::tempdir().expect("a directory");
        let [one, two, three] = [1, 2, 3].map(|byte| StaticKey::from_bytes([byte; 32]));
        let (mut list, writing) = BanList::load(directory.path());
        list.punish(one, "sent rubbish");
        list.ban(two, Duration::from_secs(3600), "a line\nbreak");
        list.ban(three, Duration::ZERO, "over already");
        let kept = list.list();
        drop(list);
        writing.await;
        let path = directory.path().join(FILE_NAME);
        let text = std::fs::read_to_string(&path).expect("written");
        assert_eq!(text.lines().count(), 3, "{text}");
        std::fs::write(&path, format!("{text}rubbish\n00 1 offence x\n")).expect("written");
        let (mut loaded, _writing) = BanList::load(directory.path());
        let seconds = |bans: Vec<(StaticKey, Ban)>| -> Vec<_> {
            let second = |(key, ban): (StaticKey, Ban)| (key, ban.until.as_secs(), ban.reason);
            bans.into_iter().map(second).collect()
        };
        assert_eq!(seconds(loaded.list()), seconds(kept));
        assert!(loaded.contains(&one) && loaded.contains(&two) && !loaded.contains(&three));
        assert!(loaded.unban(&one) && !loaded.contains(&one) && !loaded.unban(&one));
    }
}
