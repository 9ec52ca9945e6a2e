//! `docs/rights.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pentad_api::status::code_name;
use pentad_trust::{Right, Role};

use crate::Matrix;
use crate::callers::Answer;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rights.md");
/// What to do when it is something else.
const HINT: &str = "`UPDATE_RIGHTS=1 cargo test -p pentad-node --test rights` rewrites it";

const INTRODUCTION: &str = "\
# Rights

Who may call what. This page is what a test sees that calls every method of a running node, over
TLS, as every kind of caller (`services/node/tests/rights`).
`UPDATE_RIGHTS=1 cargo test -p pentad-node --test rights` writes it.

Each method asks for one right, which stands in its proto. A token opens what asks for one of its
rights; the cookie, on its own machine, opens everything; a certificate opens what its role may
call. In the production profile reflection and methods that ask for `admin` are denied to everybody,
unless the configuration asks for them. A method that declares no right is called by nobody.
";

/// Roles that have a column, in the order of a reader's interest; the others call nobody.
const COLUMNS: [Role; 8] = [
    Role::Operator,
    Role::Application,
    Role::Reader,
    Role::Wallet,
    Role::Miner,
    Role::Consensus,
    Role::Peer,
    Role::Worker,
];

/// Callers to whom every method that asks for a right gives one answer.
fn strangers(matrix: &Matrix, methods: &BTreeMap<String, Right>, page: &mut String) {
    page.push_str(
        "\n## Who gets nothing but health and reflection\n\n| shows | gets |\n|---|---|\n",
    );
    for (caller, answers) in matrix {
        let closed = answers.iter().filter(|(path, _)| methods[*path] != Right::Open);
        let mut kinds: Vec<&Answer> = closed.map(|(_, answer)| answer).collect();
        kinds.dedup();
        let text = match kinds[..] {
            [Answer::Refused(code, reason)] => format!("{} `{reason}`", code_name(*code)),
            [Answer::NoHandshake] => "no connection: the TLS handshake fails".to_owned(),
            _ => continue,
        };
        writeln!(page, "| {caller} | {text} |").expect("a string takes any text");
    }
}

fn table(matrix: &Matrix, methods: &BTreeMap<String, Right>, page: &mut String) {
    let heads = COLUMNS.map(Role::name).join(" | ");
    let lines = "|:-:".repeat(COLUMNS.len());
    write!(page, "\n## Methods\n\n| method | right | {heads} |\n|---|---{lines}|\n").expect("text");
    for (path, right) in methods.iter().filter(|(_, right)| **right != Right::Open) {
        let cell = |role: Role| match &matrix[&format!("role {role}")][path] {
            Answer::Served => " x ",
            _ => "   ",
        };
        let cells = COLUMNS.map(cell).join("|");
        let name = path.trim_start_matches("/pentad.").replacen(".v1.", " ", 1);
        writeln!(page, "| {name} | {right} |{cells}|").expect("a string takes any text");
    }
}

fn callees(page: &mut String) {
    page.push_str("\n## Who connects to whom\n\n| role | to |\n|---|---|\n");
    for role in Role::ALL {
        let names = role.callees().into_iter().map(Role::name).collect::<Vec<_>>();
        let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        writeln!(page, "| {role} | {names} |").expect("a string takes any text");
    }
}

/// Holds the page to what was seen.
pub fn hold(matrix: &Matrix, methods: &BTreeMap<String, Right>) {
    let mut seen = INTRODUCTION.to_owned();
    strangers(matrix, methods, &mut seen);
    callees(&mut seen);
    table(matrix, methods, &mut seen);
    if std::env::var_os("UPDATE_RIGHTS").is_some() {
        std::fs::write(PAGE, seen).expect("a written page");
        return;
    }
    let page = std::fs::read_to_string(PAGE).expect("docs/rights.md");
    for (number, (shown, seen)) in page.lines().zip(seen.lines()).enumerate() {
        assert_eq!(shown, seen, "line {}: {HINT}", number + 1);
    }
    assert_eq!(page.lines().count(), seen.lines().count(), "{HINT}");
}
