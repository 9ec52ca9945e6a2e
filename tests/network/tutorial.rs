//! The tutorial's commands do what it says, and print what it shows.

use crate::page::{Page, devnets};

#[test]
fn its_commands_print_what_it_shows() {
    let until = |command: &str| {
        command.starts_with("TXID=").then_some(
            "pentad print 1 --node 2 && pentad print 1 --node 3 && pentad print 1 --node 4",
        )
    };
    let names = devnets(&["devnet up --engine pbft"]);
    let name = "docs/tutorial.md";
    Page { name, test: file!(), update: "UPDATE_TUTORIAL", names, until }.hold();
}
