//! Dependencies point downward only.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

const PURE: [&str; 8] = [
    "pentad-sha256-pair",
    "pentad-primitives",
    "pentad-crypto",
    "pentad-ledger",
    "pentad-pbft",
    "pentad-wire",
    "pentad-proof",
    "pentad-psbt",
];
/// No IO, no clock, no entropy, no RPC in what must be tabled, fuzzed and simulated.
const FORBIDDEN_IN_PURE: [&str; 14] = [
    "tokio",
    "mio",
    "tonic",
    "prost",
    "lsm-tree",
    "sled",
    "hyper",
    "socket2",
    "getrandom",
    "rand",
    "fastrand",
    "chrono",
    "time",
    "pentad-whole-file",
];
const SERVICES: [&str; 5] =
    ["pentad-wallet", "pentad-chain", "pentad-miner", "pentad-consensus", "pentad-peer"];
/// The crate that composes the services in one process.
const NODE: &str = "pentad-node";

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .expect("cargo metadata reads the workspace")
}

/// Names of the packages that `name` links, directly or not, without dev- and build-dependencies.
fn links(metadata: &Metadata, name: &str) -> Option<BTreeSet<String>> {
    let names: BTreeMap<&PackageId, &str> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let nodes: BTreeMap<&PackageId, _> = metadata
        .resolve
        .as_ref()
        .expect("metadata holds the resolved graph")
        .nodes
        .iter()
        .map(|node| (&node.id, node))
        .collect();
    let root = metadata.workspace_packages().into_iter().find(|p| p.name.as_str() == name)?;
    let mut found = BTreeSet::new();
    let mut open = vec![&root.id];
    while let Some(id) = open.pop() {
        for dep in &nodes[id].deps {
            let linked = dep.dep_kinds.iter().any(|kind| {
                kind.kind == DependencyKind::Normal
                    && !kind.target.as_ref().is_some_and(|target| {
                        let target = target.to_string();
                        target.contains("wasm") || target.contains("windows")
                    })
            });
            if linked && found.insert(names[&dep.pkg].to_owned()) {
                open.push(&dep.pkg);
            }
        }
    }
    Some(found)
}

#[test]
fn pure_crates_know_no_io_clock_or_entropy() {
    let metadata = metadata();
    let mut checked = 0;
    for pure in PURE {
        let Some(linked) = links(&metadata, pure) else {
            continue;
        };
        checked += 1;
        for forbidden in FORBIDDEN_IN_PURE {
            assert!(!linked.contains(forbidden), "{pure} links {forbidden}");
        }
    }
    assert!(checked >= 4, "only {checked} pure crates found");
}

#[test]
fn only_api_and_the_command_line_know_prost() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let direct = package
            .dependencies
            .iter()
            .filter(|dep| dep.kind == DependencyKind::Normal)
            .find(|dep| dep.name == "prost" || dep.name == "prost-types");
        assert!(
            direct.is_none() || name == "pentad-api",
            "{name} depends on {}: messages belong to pentad-api",
            direct.map_or("", |dep| dep.name.as_str())
        );
    }
}

#[test]
fn services_never_link_each_other() {
    let metadata = metadata();
    for service in SERVICES {
        let Some(linked) = links(&metadata, service) else {
            continue;
        };
        for other in SERVICES.into_iter().chain([NODE]) {
            assert!(!linked.contains(other), "{service} links {other}");
        }
    }
    let node = links(&metadata, NODE).expect("the node is in the workspace");
    assert!(node.contains("pentad-chain"), "the check sees no dependencies at all");
}

#[test]
fn crates_never_link_services() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        if !package.manifest_path.as_str().contains("/crates/") {
            continue;
        }
        let linked = links(&metadata, name).expect("a workspace package");
        for service in SERVICES {
            assert!(!linked.contains(service), "{name} links {service}");
        }
    }
}

/// A real service writes every method, or it does not compile.
#[test]
fn only_tests_use_the_servers_of_fakes() {
    let metadata = metadata();
    let mut tests = 0;
    for package in metadata.workspace_packages() {
        for dep in package.dependencies.iter().filter(|dep| dep.name == "pentad-fakes") {
            assert_eq!(dep.kind, DependencyKind::Development, "{} links fakes", package.name);
            tests += 1;
        }
    }
    assert!(tests > 0, "the check sees no dependencies at all");
}
