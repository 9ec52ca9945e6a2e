//! The README's commands do what it says, and print what it shows.

use crate::page::{Page, devnets};

#[test]
fn its_commands_print_what_it_shows() {
    let until = |command: &str| match command {
        _ if command.contains(" generate ") => Some("pentad --dir mined print 1 --node 2"),
        _ if command.starts_with("TXID=") => {
            Some("pentad print 2 --node 2 && pentad print 2 --node 3 && pentad print 2 --node 4")
        }
        _ => None,
    };
    let names = devnets(&["devnet up --engine pbft", "devnet up --engine pow"]);
    Page { name: "README.md", test: file!(), update: "UPDATE_README", names, until }.hold();
}
