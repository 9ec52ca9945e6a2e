//! What the operations page says about trust: its commands do it, and print what it shows.

use pentad_tests::free_ports;

use crate::page::Page;

/// Name and port of the node on the page. What stands for them here has the same length, so that
/// tables keep their columns.
const NODE: &str = "node1.acme:9999";

/// The node has taken so many changes of its files.
macro_rules! reread {
    ($count:literal) => {
        concat!("[ $(grep -c \"read anew\" node.log) -ge ", $count, " ]")
    };
}

#[test]
fn its_commands_print_what_it_shows() {
    let base = free_ports(3);
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto");
    let own = format!("--metrics 127.0.0.1:{} --set server.reload_ms=100", base + 2);
    let names = [
        (NODE, format!("localhost:{base}")),
        ("0.0.0.0:9999", format!("0.0.0.0:{base}")),
        ("0.0.0.0:5678", format!("0.0.0.0:{}", base + 1)),
        ("pentad-node --chain", format!("pentad-node {own} --chain")),
        ("127.0.0.1:10999", format!("127.0.0.1:{}", base + 2)),
        ("-import-path proto", format!("-import-path {proto}")),
    ];
    let names = names.map(|(shown, here)| (shown.to_owned(), here)).into();
    let until = |command: &str| match command {
        _ if command.starts_with("pentad-node") => Some("grep -q ready node.log"),
        _ if command.contains("renew --dir certs --name") => Some(reread!(1)),
        _ if command.contains("renew --dir certs --authority") => Some(reread!(2)),
        _ if command.contains("renew --dir certs") => Some(reread!(3)),
        _ if command.contains("certs retire") => Some(reread!(4)),
        _ if command.contains("certs revoke") => Some(reread!(5)),
        _ => None,
    };
    let name = "docs/operations.md";
    Page { name, test: file!(), update: "UPDATE_OPERATIONS", names, until }.hold();
}
