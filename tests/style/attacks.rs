//! Every test that docs/attacks.md names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The cases that the page must have a row for.
const CASES: [u32; 52] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
    27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 48, 49, 50, 51,
    52, 53,
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Whether a source has a test of this name: a function below an attribute that makes it one.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let heads = [format!("fn {name}("), format!("async fn {name}(")];
    let at = lines.iter().position(|line| heads.iter().any(|head| line.starts_with(head)));
    at.is_some_and(|at| {
        let above = lines[..at].iter().rev();
        let mut attributes =
            above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        attributes.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

#[test]
fn tests_of_the_attacks_page_exist() {
    let page = fs::read_to_string(root().join("docs/attacks.md")).expect("docs/attacks.md");
    let mut problems = Vec::new();
    let mut cases = BTreeSet::new();
    let mut tests = 0;
    for row in page.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [case, file, names] = cells[..] else {
            problems.push(format!("not three cells: {row}"));
            continue;
        };
        cases.extend(case.split(' ').next().and_then(|number| number.parse::<u32>().ok()));
        let [file] = quoted(file)[..] else {
            // The head of a table.
            continue;
        };
        let source = fs::read_to_string(root().join(file)).unwrap_or_default();
        for name in quoted(names) {
            tests += 1;
            if !has_test(&source, name) {
                problems.push(format!("{file} has no test {name}"));
            }
        }
    }
    problems.extend(
        CASES.iter().filter(|case| !cases.contains(case)).map(|case| format!("no case {case}")),
    );
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    assert!(tests > 80, "only {tests} tests found: has the page another form?");
}
