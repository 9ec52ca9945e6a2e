//! `docs/cli.md`: the help of every command, as it is printed.

use std::path::Path;

use clap::Command;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");

const INTRODUCTION: &str = "\
# The command line

The help of every command, as `--help` prints it. This page is written by
`UPDATE_CLI=1 cargo test -p pentad-cli reference`; a test holds it to what is printed. The global
options, which every command takes before and after its name, are shown once, under `pentad`.
`pentad man --out DIR` writes the same as manual pages, `pentad completions SHELL` teaches a shell.
";

/// Columns of a terminal.
const WIDTH: usize = 100;

fn page() -> String {
    let mut command = crate::command().term_width(WIDTH);
    command.build();
    let mut page = INTRODUCTION.to_owned();
    section(&mut command, "pentad", 0, &mut page);
    page
}

fn section(command: &mut Command, name: &str, depth: usize, page: &mut String) {
    let help = command.render_long_help().to_string();
    let help = if depth == 0 { help } else { without_globals(&help) };
    let marks = "#".repeat(2_usize.saturating_add(depth).min(4));
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let text = lines.join("\n");
    page.push_str(&format!("\n{marks} {name}\n\n```text\n{}\n```\n", text.trim_end()));
    for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
        let name = format!("{name} {}", inner.get_name());
        section(inner, &name, depth.saturating_add(1), page);
    }
}

/// Every command has the same ones.
fn without_globals(help: &str) -> String {
    let (before, after) = help.split_once("Global options:\n").expect("every command has them");
    let after = after.lines().skip_while(|line| line.is_empty() || line.starts_with(' '));
    let after = after.collect::<Vec<_>>().join("\n");
    if after.is_empty() { before.to_owned() } else { format!("{before}{after}\n") }
}

/// What to do when it is something else.
const HINT: &str = "`UPDATE_CLI=1 cargo test -p pentad-cli reference` rewrites docs/cli.md";

#[test]
fn the_page_shows_the_help_of_every_command() {
    let seen = page();
    if std::env::var_os("UPDATE_CLI").is_some() {
        std::fs::write(PAGE, seen).expect("a written page");
        return;
    }
    let page = std::fs::read_to_string(Path::new(PAGE)).expect("docs/cli.md");
    for (number, (shown, seen)) in page.lines().zip(seen.lines()).enumerate() {
        assert_eq!(shown, seen, "line {}: {HINT}", number.saturating_add(1));
    }
    assert_eq!(page.lines().count(), seen.lines().count(), "{HINT}");
}
