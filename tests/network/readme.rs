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
        let commands = text[start..end]
            .lines()
            .filter_map(|line| line.strip_prefix("$ "));
        sessions.push(Session {
            range: start..end,
            commands: commands.map(str::to_owned).collect(),
        });
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
fn normalize(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric();
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, _) = rest.split_at(length);
        let is_random = word.len() >= 10 && word.chars().any(|c| c.is_ascii_digit());
        out.push_str(if is_random { "<random>" } else { word });
        let next = rest[length..]
            .find(is_word)
            .map_or(rest.len(), |at| length + at);
        out.push_str(&rest[length..next]);
        rest = &rest[next..];
    }
    out
}

/// Runs all commands in one shell; what each printed.
fn run(commands: &[String], folder: &Path, path: &Path) -> Vec<String> {
    let mut script = String::new();
    for (number, command) in commands.iter().enumerate() {
        script.push_str(&format!("{{ {command}\n}} > {number}.out 2>&1\n"));
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
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let read = |number| fs::read_to_string(folder.join(format!("{number}.out")));
    (0..commands.len())
        .map(|number| read(number).expect("what it printed"))
        .collect()
}

#[test]
fn its_commands_print_what_it_shows() {
    let text = fs::read_to_string(readme()).expect("the README");
    let sessions = sessions(&text);
    assert!(sessions.len() >= 2, "the marks are gone");
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let path = tempfile::TempDir::new().expect("a temporary folder");
    path_folder(path.path());
    let base = free_ports(20);
    // The network of the README has the default ports; here others may be running.
    let elsewhere = |command: &String| {
        command
            .replace("devnet up", &format!("devnet up --base-port {base}"))
            .replace("127.0.0.1:5689", &format!("127.0.0.1:{}", base + 11))
    };
    let commands: Vec<_> = sessions
        .iter()
        .flat_map(|s| &s.commands)
        .map(elsewhere)
        .collect();
    let outputs = run(&commands, folder.path(), path.path());
    let mut outputs = outputs.iter();
    let mut seen = text.clone();
    let mut grown = 0;
    for session in &sessions {
        let mut block = String::new();
        for command in &session.commands {
            block.push_str(&format!(
                "$ {command}\n{}",
                outputs.next().expect("an output")
            ));
        }
        let at = session.range.start + grown..session.range.end + grown;
        grown = grown + block.len() - session.range.len();
        seen.replace_range(at, &block);
    }
    let back = |text: String| {
        text.replace(&format!("127.0.0.1:{}", base + 11), "127.0.0.1:5689")
            .replace(path.path().to_str().expect("UTF-8"), "")
    };
    let seen = back(seen);
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(readme(), &seen).expect("a written README");
        return;
    }
    for (shown, seen) in text.lines().zip(seen.lines()) {
        assert_eq!(
            normalize(shown),
            normalize(seen),
            "\nwhole:\n{}",
            outputs_of(&commands, folder.path())
        );
    }
    assert_eq!(text.lines().count(), seen.lines().count());
}

fn outputs_of(commands: &[String], folder: &Path) -> String {
    commands
        .iter()
        .enumerate()
        .map(|(number, command)| {
            let output = fs::read_to_string(folder.join(format!("{number}.out")));
            format!("$ {command}\n{}", output.unwrap_or_default())
        })
        .collect()
}
