//! The commands of the operations page, in its order, against a network of their own.

use pentad_tests::{path_folder, sessions};
use tempfile::TempDir;

use crate::network::Network;
use crate::typed;

const PAGE: &str = include_str!("../../docs/operations.md");
const MARK: &str = "<!-- Run by tests/containers/operations.rs";
/// Where the page's network is, from the root of the project.
const DATA: &str = "deploy/compose/data";
/// Prometheus' port of org1, as the page has it.
const PROMETHEUS: &str = "127.0.0.1:19990";

#[test]
fn its_commands_do_what_it_says() {
    let network = Network::planned();
    let tools = TempDir::new().expect("a temporary folder");
    path_folder(tools.path(), &[]);
    let data = network.folder().display().to_string();
    let prometheus = network.prometheus(1);
    let session: String =
        sessions(PAGE, MARK).into_iter().map(|session| &PAGE[session.range]).collect();
    let session = session
        .replace(&format!("$PWD/{DATA}"), &data)
        .replace(DATA, &data)
        .replace(PROMETHEUS, &prometheus);
    let ran = typed::run(&session, tools.path(), &network.variables());
    assert!(ran.len() >= 20, "the marks are gone");
}
