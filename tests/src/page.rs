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
    /// What is typed, a line each.
    pub commands: Vec<String>,
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
        let commands = text[start..end].lines().filter_map(|line| line.strip_prefix("$ "));
        sessions
            .push(Session { range: start..end, commands: commands.map(str::to_owned).collect() });
    }
    sessions
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
                "#!/bin/bash\nset -e\nargs=(--protocol grpc --http2-prior-knowledge)\n\
             while [[ $1 == -* ]]; do case $1 in -plaintext) shift;; \
             *) args+=(\"$1\" \"$2\"); shift 2;; esac; done\n\
             if [[ $2 == list ]]; then {buf} curl \"${{args[@]}}\" --list-services http://$1; else \
             {buf} curl \"${{args[@]}}\" http://$1/$2; fi\n",
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
    let mask = |word: &str| {
        let is_long = word.len() >= 10;
        let has_digit = word.chars().any(|c| c.is_ascii_digit());
        if has_digit && (is_long || is_luck) { "<any>".to_owned() } else { word.to_owned() }
    };
    let mut out = String::new();
    let mut word = String::new();
    for character in line.chars() {
        if character.is_ascii_alphanumeric() {
            word.push(character);
        } else {
            out.push_str(&mask(&std::mem::take(&mut word)));
            out.push(character);
        }
    }
    out + &mask(&word)
}
