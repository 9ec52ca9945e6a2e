//! Commands of a page, typed as an operator does it.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use pentad_tests::{Typed, normalize, typed};
use tempfile::TempDir;

/// Runs the commands of a session in one shell, which ends with the first that fails; what they
/// wrote. `tools` is a folder of commands that it finds first.
///
/// # Panics
/// When a command fails, or writes what the session does not show.
pub fn run(session: &str, tools: &Path, variables: &[(&str, String)]) -> Vec<String> {
    let commands = typed(session);
    let folder = TempDir::new().expect("a temporary folder");
    let output = |number: usize| folder.path().join(format!("{number}.out"));
    let mut script = String::new();
    for (number, Typed { command, .. }) in commands.iter().enumerate() {
        let output = output(number).display().to_string();
        script.push_str(&format!("{{ {command}\n}} > {output} 2>&1 || exit 1\n"));
    }
    let status = shell(&script, tools, variables).status().expect("bash runs");
    let ran: Vec<_> =
        (0..commands.len()).map_while(|number| fs::read_to_string(output(number)).ok()).collect();
    let last = ran.last().map_or("", String::as_str);
    assert!(status.success(), "$ {}\n{last}", commands[ran.len().saturating_sub(1)].command);
    for (Typed { command, shown }, seen) in commands.iter().zip(&ran) {
        // Where the page shows nothing, the command only has to succeed.
        if shown.is_empty() {
            continue;
        }
        let shown: Vec<_> = shown.iter().map(|line| normalize(line)).collect();
        let seen_lines: Vec<_> = seen.lines().map(normalize).collect();
        assert_eq!(seen_lines, shown, "$ {command}\n{seen}");
    }
    ran
}

/// A shell at the root of the project.
fn shell(script: &str, tools: &Path, variables: &[(&str, String)]) -> Command {
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
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env("PATH", format!("{}:{path}", tools.display()));
    bash
}
