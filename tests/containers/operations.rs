//! The commands of the operations page, in its order, against a network of their own.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use pentad_tests::{normalize, path_folder, sessions};
use tempfile::TempDir;

use crate::network::Network;

const PAGE: &str = include_str!("../../docs/operations.md");
const MARK: &str = "<!-- Run by tests/containers/operations.rs";
/// Where the page's network is, from the root of the project.
const DATA: &str = "deploy/compose/data";
/// Prometheus' port of org1, as the page has it.
const PROMETHEUS: &str = "127.0.0.1:19990";

/// A command, and what the page shows of its output; nothing: it only has to succeed.
fn shown(session: &str) -> Vec<(&str, Vec<&str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in session.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => commands.push((command, Vec::new())),
            None => commands.last_mut().expect("a command first").1.push(line),
        }
    }
    commands
}

/// One shell for all commands, as an operator has it; it ends with the first that fails.
fn shell(network: &Network, script: &str, folder: &Path) -> Command {
    let mut bash = Command::new("bash");
    for (name, _) in env::vars_os() {
        // Cargo's and make's own, which would have the images built anew.
        let name = name.to_string_lossy().into_owned();
        let is_own = name.starts_with("CARGO_") && name != "CARGO_HOME";
        if is_own || name.starts_with("MAKE") || name.starts_with("PENTAD") {
            bash.env_remove(name);
        }
    }
    let path = env::var("PATH").expect("a PATH");
    bash.args(["-c", script])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .envs(network.variables())
        .env("PATH", format!("{}:{path}", folder.display()));
    bash
}

#[test]
fn its_commands_do_what_it_says() {
    let network = Network::planned();
    let folder = TempDir::new().expect("a temporary folder");
    path_folder(folder.path(), &[]);
    let data = network.folder().display().to_string();
    let prometheus = network.prometheus(1);
    let sessions = sessions(PAGE, MARK);
    let commands: Vec<_> =
        sessions.iter().flat_map(|session| shown(&PAGE[session.range.clone()])).collect();
    assert!(commands.len() >= 20, "the marks are gone");
    let output = |number: usize| folder.path().join(format!("{number}.out"));
    let mut script = String::new();
    for (number, (command, _)) in commands.iter().enumerate() {
        let command = command
            .replace(&format!("$PWD/{DATA}"), &data)
            .replace(DATA, &data)
            .replace(PROMETHEUS, &prometheus);
        let output = output(number).display().to_string();
        script.push_str(&format!("{{ {command}\n}} > {output} 2>&1 || exit 1\n"));
    }
    let status = shell(&network, &script, folder.path()).status().expect("bash runs");
    let ran: Vec<_> =
        (0..commands.len()).map_while(|number| fs::read_to_string(output(number)).ok()).collect();
    let last = ran.last().map_or("", String::as_str);
    assert!(status.success(), "$ {}\n{last}", commands[ran.len().saturating_sub(1)].0);
    for ((command, shown), seen) in commands.iter().zip(&ran) {
        if shown.is_empty() {
            continue;
        }
        let shown: Vec<_> = shown.iter().map(|line| normalize(line)).collect();
        let seen_lines: Vec<_> = seen.lines().map(normalize).collect();
        assert_eq!(seen_lines, shown, "$ {command}\n{seen}");
    }
}
