//! What a role may call is what its service calls.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Services that call others, and the lists of their roles in the table.
const CALLERS: [(&str, &[&str]); 4] = [
    ("wallet", &["WALLET"]),
    ("miner", &["MINER", "WORKER"]),
    ("consensus", &["CONSENSUS"]),
    ("peer", &["PEER"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The paths in `const NAME: &[&str] = &[…];` of the table.
fn table(source: &str, name: &str) -> Vec<(String, String)> {
    let head = format!("const {name}: &[&str] = &[");
    let (_, list) = source.split_once(&head).expect("a list of the table");
    let (list, _) = list.split_once("];").expect("its end");
    let paths = list.split('"').skip(1).step_by(2);
    let parts = paths.map(|path| path.rsplit_once('/').expect("a path"));
    let service = |path: &str| path.rsplit('.').next().expect("a name").to_owned();
    parts.map(|(path, method)| (service(path), method.to_owned())).collect()
}

/// The sources of a service without its tests, in one text.
fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() && !is_test {
            sources(&path, text);
        } else if !is_test && path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn roles_may_call_what_their_services_call() {
    let role = root().join("crates/trust/src/role.rs");
    let role = fs::read_to_string(role).expect("the table of roles");
    for (service, lists) in CALLERS {
        let mut text = String::new();
        sources(&root().join("services").join(service).join("src"), &mut text);
        let granted: Vec<_> = lists.iter().flat_map(|list| table(&role, list)).collect();
        assert!(!granted.is_empty(), "{service}");
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
        let clients = words.filter_map(|word| word.strip_suffix("Client"));
        let called: BTreeSet<&str> = clients.filter(|name| name.ends_with("Service")).collect();
        let services: BTreeSet<&str> = granted.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(services, called, "what {service} may call, and what it has clients of");
        for (name, method) in &granted {
            let call = format!(".{}(", pentad_tests::words(method, '_'));
            assert!(text.contains(&call), "{service} may call {name}/{method}, and never does");
        }
    }
}
