//! What an image is: one binary, nobody's user, no shell.

use serde_json::{Value, json};

use crate::network::docker;

const SERVICES: [&str; 6] = ["node", "chain", "wallet", "miner", "consensus", "peer"];
/// What a node that is new has to fetch.
const IMAGE_BYTES_MAX: u64 = 30_000_000;

fn inspect(image: &str) -> Value {
    let text = docker(&["image", "inspect", image]);
    serde_json::from_str::<Value>(&text).expect("JSON")[0].take()
}

/// Paths in an image.
fn files(image: &str) -> Vec<String> {
    let container = docker(&["create", image]);
    let listed = std::process::Command::new("sh")
        .args(["-c", &format!("docker export {container} | tar -t")])
        .output()
        .expect("a shell of the host");
    docker(&["rm", "--volumes", &container]);
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn an_image_is_a_binary_and_a_place_for_data() {
    // Docker puts these into every container.
    let mounted = ["dev/", "etc/", "proc/", "sys/", ".dockerenv"];
    for image in SERVICES.map(|name| format!("pentad-{name}")) {
        let facts = inspect(&image);
        let size = facts["Size"].as_u64().expect("a size");
        println!("{image}: {size} bytes");
        assert!(size < IMAGE_BYTES_MAX, "{image} has {size} bytes");
        let config = &facts["Config"];
        assert_eq!(config["User"], "65532:65532", "{image}");
        assert_eq!(config["Entrypoint"], json!(["/service"]), "{image}");
        assert_eq!(
            config["Healthcheck"]["Test"],
            json!(["CMD", "/service", "--health"]),
            "{image}"
        );
        for label in ["title", "description", "version", "revision", "licenses"] {
            let value = &config["Labels"][format!("org.opencontainers.image.{label}")];
            assert!(value.as_str().is_some_and(|value| !value.is_empty()), "{image}: {label}");
        }
        let mut files = files(&image);
        files.retain(|file| !mounted.iter().any(|prefix| file.starts_with(prefix)));
        files.sort_unstable();
        assert_eq!(files, ["data/", "service"], "{image}");
    }
}

#[test]
fn a_container_with_a_read_only_root_runs_without_any_right() {
    let arguments = ["run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none"];
    for image in SERVICES.map(|name| format!("pentad-{name}")) {
        let said = docker(&[&arguments[..], &[&image, "--version"]].concat());
        assert_eq!(said, format!("{image} {}", env!("CARGO_PKG_VERSION")));
    }
}
