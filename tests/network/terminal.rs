//! What people see at a terminal: `pentad top`, and the question before a payment.

use std::fs;
use std::path::Path;
use std::process::Command;

use pentad_tests::{Devnet, Terminal, binary, wait_for};
use vt100::{Color, Screen};

use crate::coins::create_wallet;

/// An SSH session of the usual size.
const LINES: u16 = 24;
const COLUMNS: u16 = 80;

fn pentad(devnet: &Devnet, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("pentad"));
    command.arg("--dir").arg(devnet.dir()).args(arguments);
    command
}

/// Payments that are final, each in a block of its own.
fn pay(devnet: &Devnet, to: &str, count: usize) {
    for _ in 0..count {
        let arguments = ["send", "--from", "genesis", "--to", to, "--amount", "0.5", "--wait"];
        devnet.on(1, &arguments).success();
    }
}

#[test]
fn top_shows_a_network_of_validators_in_80_columns() {
    let devnet = Devnet::up_pbft(4);
    let bob = create_wallet(&devnet, 2, "bob");
    pay(&devnet, &bob, 14);
    let mut terminal = Terminal::start(pentad(&devnet, &["top"]), LINES, COLUMNS);
    terminal.shows("nodes 4/4");
    wait_for("all nodes are final at one height, and all there is to see", || {
        let text = terminal.text();
        let is_final = |line: &&str| {
            line.split_whitespace().take(4).skip(1).eq(["up", "14", "14"].iter().copied())
        };
        let nodes = text.lines().filter(|line| line.starts_with("node"));
        let words = ["pentad top  devnet", "pbft", "primary", "backup", "tx/s", "q quit"];
        let is_whole = nodes.filter(is_final).count() == 4
            && words.iter().all(|words| text.contains(words))
            // Nothing is cut off: the lowest block that has room is whole.
            && text.lines().filter(|line| line.contains('…')).count() == 14;
        if is_whole { Ok(()) } else { Err(text) }
    });
    if std::env::var_os("UPDATE_TOP").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images/top.svg");
        fs::write(path, terminal.look(picture)).expect("a written picture");
    }
    terminal.type_in("s");
    terminal.shows("sort: height");
    terminal.type_in("p");
    terminal.shows("paused");
    terminal.type_in("q");
    assert!(terminal.wait().success());
    assert!(!terminal.look(Screen::alternate_screen), "the shell's own screen is back");
    assert!(!terminal.look(Screen::hide_cursor), "and the cursor");
}

#[test]
fn a_payment_is_asked_for_on_a_terminal_alone() {
    let devnet = Devnet::up(1);
    let bob = create_wallet(&devnet, 1, "bob");
    let send = ["send", "--from", "genesis", "--to", bob.as_str(), "--amount", "2"];
    let mut terminal = Terminal::start(pentad(&devnet, &send), LINES, COLUMNS);
    terminal.shows("Send 2.00000000 to");
    terminal.type_in("\n");
    assert_eq!(terminal.wait().code(), Some(1));
    terminal.shows("not confirmed, nothing was done");
    assert_eq!(devnet.balance(1, &bob)[1], "0.00000000");

    let mut terminal = Terminal::start(pentad(&devnet, &send), LINES, COLUMNS);
    terminal.shows("[y/N]");
    terminal.type_in("y\n");
    assert!(terminal.wait().success(), "{}", terminal.text());
    assert_eq!(devnet.balance(1, &bob)[1], "2.00000000");

    let unasked = [&send[..], &["--yes"]].concat();
    let mut terminal = Terminal::start(pentad(&devnet, &unasked), LINES, COLUMNS);
    assert!(terminal.wait().success(), "{}", terminal.text());
    assert_eq!(devnet.balance(1, &bob)[1], "4.00000000");
}

#[test]
fn no_color_turns_colors_and_bold_letters_off() {
    let is_plain = |variables: &[(&str, &str)]| {
        let mut command = Command::new(binary("pentad"));
        command.args(["context", "--help"]).env_remove("NO_COLOR").envs(variables.iter().copied());
        let mut terminal = Terminal::start(command, LINES, COLUMNS);
        terminal.shows("PENTAD_CONTEXTS");
        assert!(terminal.wait().success());
        let cells = (0..LINES).flat_map(|line| (0..COLUMNS).map(move |column| (line, column)));
        terminal.look(|screen| {
            cells
                .filter_map(|(line, column)| screen.cell(line, column))
                .all(|cell| cell.fgcolor() == Color::Default && !cell.bold() && !cell.underline())
        })
    };
    assert!(!is_plain(&[]), "headings stand out");
    assert!(is_plain(&[("NO_COLOR", "1")]));
}

/// Pixels of a letter.
const WIDTH: u16 = 9;
const HEIGHT: u16 = 18;
const MARGIN: u16 = 12;

/// The screen as a picture.
fn picture(screen: &Screen) -> String {
    let (lines, columns) = (LINES, COLUMNS);
    let (width, height) = (columns * WIDTH + 2 * MARGIN, lines * HEIGHT + 2 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace\" \
         font-size=\"15\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1c1f26\"/>\n"
    );
    for line in 0..lines {
        let y = MARGIN + line * HEIGHT + 14;
        let mut column = 0;
        while column < columns {
            let (style, text) = words(screen, line, &mut column);
            if text.trim().is_empty() {
                continue;
            }
            let letters = u16::try_from(text.chars().count()).expect("at most a line");
            let x = MARGIN + (column - letters) * WIDTH;
            let length = letters * WIDTH;
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            svg.push_str(&format!(
                "<text x=\"{x}\" y=\"{y}\" textLength=\"{length}\" {style}>{text}</text>\n"
            ));
        }
    }
    svg + "</svg>\n"
}

/// The words from a column on with one space between them that look alike, and how; or one space.
fn words(screen: &Screen, line: u16, column: &mut u16) -> (String, String) {
    let cell = |column| screen.cell(line, column).filter(|_| column < COLUMNS);
    let is_blank = |column| cell(column).is_none_or(|cell| cell.contents().trim().is_empty());
    let style = |column| {
        let color = match cell(column)?.fgcolor() {
            Color::Idx(1) => "#e06c75",
            Color::Idx(2) => "#98c379",
            Color::Idx(3) => "#e5c07b",
            _ => "#d7dae0",
        };
        let weight = if cell(column)?.bold() { " font-weight=\"bold\"" } else { "" };
        Some(format!("fill=\"{color}\"{weight}"))
    };
    let first = style(*column);
    let mut text = String::new();
    loop {
        let letter = cell(*column).filter(|cell| cell.has_contents()).map(|cell| cell.contents());
        text.push_str(letter.unwrap_or(" "));
        *column += 1;
        // The blank that ends a word belongs to the next call.
        let ends = is_blank(*column) && is_blank(*column + 1);
        if text.trim().is_empty() || ends || style(*column) != first {
            return (first.unwrap_or_default(), text);
        }
    }
}
