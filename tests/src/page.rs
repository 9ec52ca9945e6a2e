//! Pages of the documentation whose commands a test runs.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::process::binary;
use crate::tools::tool;

/// Sessions of commands that one shell runs in order.
const FENCE: &str = "```console\n";

/// Commands that one shell runs in order.
#[derive(Debug)]
pub struct Session {
    /// Byte range of the text between the fences.
    pub range: Range<usize>,
    /// What is typed.
    pub commands: Vec<Typed>,
}

/// A command of a session.
#[derive(Debug)]
pub struct Typed {
    /// What is typed: several lines where all but the last end in a backslash.
    pub command: String,
    /// What the page shows of its output, line by line.
    pub shown: Vec<String>,
}

/// The sessions of a page behind a mark.
///
/// # Panics
/// When a mark has no session behind it.
#[must_use]
pub fn sessions(text: &str, mark: &str) -> Vec<Session> {
    let mut sessions = Vec::new();
    for (at, _) in text.match_indices(mark) {
        let start = at + text[at..].find(FENCE).expect("a fence behind the mark") + FENCE.len();
        let end = start + text[start..].find("```").expect("a closing fence");
        sessions.push(Session { range: start..end, commands: typed(&text[start..end]) });
    }
    sessions
}

/// The commands of a session.
///
/// # Panics
/// When it does not begin with one.
#[must_use]
pub fn typed(session: &str) -> Vec<Typed> {
    let mut commands: Vec<Typed> = Vec::new();
    for line in session.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push(Typed { command: command.to_owned(), shown: Vec::new() });
            continue;
        }
        let last = commands.last_mut().expect("a command first");
        if last.shown.is_empty() && last.command.ends_with('\\') {
            last.command.push('\n');
            last.command.push_str(line);
        } else {
            last.shown.push(line.to_owned());
        }
    }
    commands
}

/// Fills a folder with the commands that a page takes for granted, these binaries among them.
///
/// # Panics
/// When a binary or a tool is missing.
pub fn path_folder(folder: &Path, binaries: &[&str]) {
    for name in binaries {
        std::os::unix::fs::symlink(binary(name), folder.join(name)).expect("a link");
    }
    let scripts = [
        // grpcurl cannot be installed everywhere; buf speaks the same protocol.
        (
            "grpcurl",
            format!(
                "#!/bin/bash\nset -e\nargs=(--protocol grpc)\nscheme=https\n\
             while [[ $1 == -* ]]; do case $1 in \
             -plaintext) args+=(--http2-prior-knowledge); scheme=http; shift;; \
             -cacert | -cert | -key) args+=(\"-$1\" \"$2\"); shift 2;; \
             -import-path) args+=(--schema \"$2\"); shift 2;; \
             -proto) shift 2;; \
             *) args+=(\"$1\" \"$2\"); shift 2;; esac; done\n\
             if [[ $2 == list ]]; then \
             {buf} curl \"${{args[@]}}\" --list-services $scheme://$1; else \
             {buf} curl \"${{args[@]}}\" $scheme://$1/$2; fi\n",
                buf = tool("buf").display()
            ),
        ),
        (
            "jq",
            format!(
                "#!/bin/bash\n# Only what the pages ask for.\n{python} -c 'import json, re, sys\n\
             value = json.load(sys.stdin)\n\
             for key in re.findall(r\"[a-z]+|[0-9]+\", sys.argv[1]): \
             value = value[int(key) if key.isdigit() else key]\n\
             print(value)' \"$2\"\n",
                python = tool("python").display()
            ),
        ),
    ];
    for (name, script) in scripts {
        let path = folder.join(name);
        fs::write(&path, script).expect("a written script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable");
    }
}

/// Everything in a line that differs from run to run, made the same.
#[must_use]
pub fn normalize(line: &str) -> String {
    let words: Vec<_> =
        line.split(' ').map(|word| if is_time(word) { "<time>" } else { word }).collect();
    let line = &words.join(" ");
    // Which three of four sign, and which view a busy machine has come to, are matters of luck.
    if line.starts_with("signers") {
        return "signers".to_owned();
    }
    if line.starts_with("node") && line.contains(" healthy ") {
        let columns: Vec<_> = line.split_whitespace().take(6).collect();
        return normalize(&format!("> {}", columns.join(" ")));
    }
    // So are the length of a signature, the number of hashes tried, and whose signature is looked
    // at first; and it takes a while to read.
    let is_luck =
        ["nonce", "bytes in all", " ago", "of replica"].iter().any(|it| line.contains(it))
            || line.starts_with("view ");
    let mask = |before: &str, word: &str| {
        // The serial number of an authority, which may have no digit.
        let is_serial = before.ends_with("authority ") && word.len() == 8;
        let has_digit = word.chars().any(|c| c.is_ascii_digit());
        let differs = is_serial || has_digit && (word.len() >= 10 || is_luck);
        if differs { "<any>".to_owned() } else { word.to_owned() }
    };
    let mut out = String::new();
    let mut word = String::new();
    for character in line.chars() {
        if character.is_ascii_alphanumeric() {
            word.push(character);
        } else {
            out.push_str(&mask(&out, &std::mem::take(&mut word)));
            out.push(character);
        }
    }
    let last = mask(&out, &word);
    out + &last
}

/// As in RFC 3339, in universal time: `2026-11-28T12:00:00Z`.
fn is_time(word: &str) -> bool {
    let word = word.trim_end_matches(',');
    let is_plain = |c: char| c.is_ascii_digit() || "-T:.Z".contains(c);
    word.len() >= 20 && word.ends_with('Z') && word.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared() {
        for amount in ["799.99999548", "1000.00000000", "0.00000452"] {
            assert_eq!(normalize(amount), amount);
        }
        assert_ne!(normalize("confirmed  799.99999548"), normalize("confirmed  799.12345678"));
    }

    #[test]
    fn what_differs_from_run_to_run_is_not() {
        let authority = |serial| format!("ca.pem  acme authority {serial}  (authority)");
        for (one, other) in [
            (authority("c445d6e8"), authority("deadbeef")),
            (authority("c445d6e8"), authority("01234567")),
            ("until 2026-11-28T12:00:00Z".to_owned(), "until 2027-01-01T00:00:00Z".to_owned()),
            (format!("tip  {:064x}", 10), format!("tip  {:064x}", 11)),
        ] {
            assert_eq!(normalize(&one), normalize(&other));
        }
        assert_ne!(normalize("acme authority"), normalize("acme operator"));
    }
}
