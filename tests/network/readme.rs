//! The README's commands do what it says, and print what it shows.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use pentad_tests::{binary, free_ports, tool};

/// Sessions of commands in the README that one shell runs in order.
const FENCE: &str = "```console\n";
/// Marks the sessions that are run.
const MARK: &str = "<!-- Run by";

struct Session {
    /// Byte range of the text between the fences.
    range: std::ops::Range<usize>,
    commands: Vec<String>,
}

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

fn sessions(text: &str) -> Vec<Session> {
    let mut sessions = Vec::new();
    for (mark, _) in text.match_indices(MARK) {
        let start = mark + text[mark..].find(FENCE).expect("a fence behind the mark") + FENCE.len();
        let end = start + text[start..].find("```").expect("a closing fence");
        let commands = text[start..end].lines().filter_map(|line| line.strip_prefix("$ "));
        sessions
            .push(Session { range: start..end, commands: commands.map(str::to_owned).collect() });
    }
    sessions
}

/// A folder with the commands that the README takes for granted.
fn path_folder(folder: &Path) {
    for name in ["pentad", "pentad-node"] {
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
                "#!/bin/bash\n# Only what the README asks for.\n{python} -c 'import json, re, sys\n\
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

/// Everything that differs from run to run, made the same.
fn normalize(line: &str) -> String {
    // Which three of four sign, and which view a busy machine has come to, are matters of luck.
    if line.starts_with("signers") {
        return "signers".to_owned();
    }
    if line.starts_with("node") && line.contains(" healthy ") {
        let columns: Vec<_> = line.split_whitespace().take(6).collect();
        return normalize(&format!("> {}", columns.join(" ")));
    }
    // So are the length of a signature and the number of hashes tried.
    let is_luck =
        line.contains("nonce") || line.contains("bytes in all") || line.starts_with("view ");
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

/// Runs all commands in one shell; what each printed.
fn run(commands: &[String], folder: &Path, path: &Path) -> Vec<String> {
    let mut script = String::new();
    for (number, command) in commands.iter().enumerate() {
        script.push_str(&format!("{{ {command}\n}} > {number}.out 2>&1\n"));
        // Faster than any person: a block needs a moment to the other nodes.
        let there = match command {
            _ if command.contains(" generate ") => "until pentad --dir mined print 1 --node 2",
            _ if command.starts_with("TXID=") => {
                "until pentad print 2 --node 2 && pentad print 2 --node 3 && \
                 pentad print 2 --node 4"
            }
            _ => continue,
        };
        script.push_str(&format!("timeout 20 bash -c '{there}; do :; done' &>/dev/null\n"));
    }
    let inherited = std::env::var("PATH").expect("a PATH");
    let output = Command::new("bash")
        .arg("-c")
        .arg(script)
        .current_dir(folder)
        .env("PATH", format!("{}:{inherited}", path.display()))
        .env_remove("PENTAD_DIR")
        .output()
        .expect("bash runs");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |number| fs::read_to_string(folder.join(format!("{number}.out")));
    (0..commands.len()).map(|number| read(number).expect("what it printed")).collect()
}

#[test]
fn its_commands_print_what_it_shows() {
    let text = fs::read_to_string(readme()).expect("the README");
    let sessions = sessions(&text);
    assert!(sessions.len() >= 3, "the marks are gone");
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let path = tempfile::TempDir::new().expect("a temporary folder");
    path_folder(path.path());
    let base = free_ports(60);
    let mined = base + 40;
    // The network of the README has the default ports; here others may be running.
    let elsewhere = |command: &String| {
        let base = if command.contains("--dir mined") { mined } else { base };
        command
            .replace("devnet up", &format!("devnet up --base-port {base}"))
            .replace("127.0.0.1:5689", &format!("127.0.0.1:{}", base + 11))
    };
    let commands: Vec<_> = sessions.iter().flat_map(|s| &s.commands).map(elsewhere).collect();
    let outputs = run(&commands, folder.path(), path.path());
    let mut printed =
        commands.iter().zip(outputs).map(|(command, output)| format!("$ {command}\n{output}"));
    let blocks: Vec<String> = sessions
        .iter()
        .map(|session| printed.by_ref().take(session.commands.len()).collect())
        .collect();
    let mut seen = text.clone();
    // The last first, so that the places of the others hold.
    for (session, block) in sessions.iter().zip(&blocks).rev() {
        seen.replace_range(session.range.clone(), block);
    }
    let seen = seen
        .replace(&format!(" --base-port {base}"), "")
        .replace(&format!(" --base-port {mined}"), "")
        .replace(&format!("127.0.0.1:{}", base + 11), "127.0.0.1:5689");
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(readme(), &seen).expect("a written README");
        return;
    }
    for (shown, seen_line) in text.lines().zip(seen.lines()) {
        assert_eq!(normalize(shown), normalize(seen_line), "\nseen:\n{seen}");
    }
    assert_eq!(text.lines().count(), seen.lines().count());
}
