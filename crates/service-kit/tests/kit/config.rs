//! Every error names the place.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use pentad_service_kit::config::{ConfigError, Secret, Sources, load};
use pentad_service_kit::{Limits, ServerConfig, TelemetryConfig};
use serde::Deserialize;
use tempfile::TempDir;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    data_dir: PathBuf,
    name: String,
    passphrase: Secret<String>,
    threads: u16,
    server: ServerConfig,
    telemetry: TelemetryConfig,
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("service.toml");
    fs::write(&path, text).expect("written");
    (dir, path)
}

fn refusal(sources: &Sources) -> String {
    load::<Config>(sources).expect_err("refused").to_string()
}

#[test]
fn later_sources_win_and_what_nobody_names_keeps_its_default() {
    let (_dir, path) = file("threads = 1\nname = \"file\"\n[server]\ndrain_ms_max = 5\n");
    let sources = Sources::default()
        .file(path)
        .env([
            ("PENTAD_NAME", "environment"),
            ("PENTAD_SERVER__GRPC", "127.0.0.1:1234"),
            ("PENTAD_TELEMETRY__FORMAT", "json"),
            ("UNRELATED", "x"),
        ])
        .set("name", "flag");
    let config: Config = load(&sources).expect("valid");
    assert_eq!((config.threads, config.name.as_str()), (1, "flag"));
    assert_eq!(config.server.drain_ms_max, 5);
    assert_eq!(config.server.grpc.expect("set").port(), 1234);
    assert!(config.server.reflection(), "a section's own defaults hold for what it leaves out");
    assert_eq!(config.telemetry.log, "warn,pentad=info");
    assert_eq!(config.data_dir, PathBuf::new());
}

#[test]
fn text_fields_take_text_that_looks_like_something_else() {
    let sources = Sources::default().env([("PENTAD_NAME", "7"), ("PENTAD_THREADS", "7")]);
    let config: Config = load(&sources).expect("valid");
    assert_eq!((config.name.as_str(), config.threads), ("7", 7));
}

#[test]
fn errors_in_a_file_name_file_line_and_field() {
    let (_dir, path) = file("threads = 1\n\n[server]\nreflection = 3\n");
    let message = refusal(&Sources::default().file(&path));
    assert!(message.contains(&format!("{}:4:14:", path.display())), "{message}");
    assert!(message.contains("`server.reflection`"), "{message}");

    let (_dir, path) = file("thread = 1\n");
    let message = refusal(&Sources::default().file(&path));
    assert!(message.contains(":1:1: unknown field `thread`"), "{message}");

    let (_dir, path) = file("threads = \n");
    let message = refusal(&Sources::default().file(&path));
    assert!(message.contains("service.toml:1:"), "{message}");

    let missing = path.with_extension("none");
    let error = load::<Config>(&Sources::default().file(&missing)).expect_err("missing");
    assert!(matches!(error, ConfigError::Unreadable { .. }));
    assert!(error.to_string().contains("service.none"), "{error}");
}

#[test]
fn errors_in_the_environment_name_the_variable() {
    let message = refusal(&Sources::default().env([("PENTAD_SERVER__GRPC", "nowhere")]));
    assert!(message.contains("PENTAD_SERVER__GRPC"), "{message}");
    assert!(message.contains("`server.grpc`"), "{message}");
    let message = refusal(&Sources::default().env([("PENTAD_TYPO", "1")]));
    assert!(message.contains("PENTAD_TYPO"), "{message}");
    assert!(message.contains("unknown field `typo`"), "{message}");
}

#[test]
fn errors_in_flags_name_the_field() {
    let message = refusal(&Sources::default().set("server.drain_ms_max", "soon"));
    assert!(message.contains("`server.drain_ms_max`"), "{message}");
    let message = refusal(&Sources::default().set("threads.more", 1));
    assert!(message.contains("`threads.more`"), "{message}");
}

#[test]
fn secrets_are_in_no_error_and_no_debug_output() {
    let (_dir, path) = file("passphrase = 12345\n");
    let message = refusal(&Sources::default().file(path));
    assert!(message.contains("`passphrase`") && !message.contains("12345"), "{message}");
    let config: Config = load(&Sources::default().set("passphrase", "hunter2")).expect("valid");
    assert_eq!(config.passphrase.reveal(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn limits_are_settings_and_none_of_them_is_nothing() {
    let sources = Sources::default()
        .set("server.limits.caller_calls_per_second", 9)
        .set("server.limits.unary_ms_max", 1500);
    let limits = load::<Config>(&sources).expect("valid").server.limits;
    assert_eq!((limits.caller_calls_per_second, limits.unary_time_max.as_millis()), (9, 1500));
    assert_eq!(limits.streams_max, Limits::default().streams_max);
    for (field, value) in [
        ("callers_max", 0_i64),
        ("handshake_ms_max", 0),
        ("streams_max", -1),
        ("streams_max", 1 << 40),
    ] {
        let field = format!("server.limits.{field}");
        let message = refusal(&Sources::default().set(&field, value));
        assert!(message.contains(&format!("`{field}`")), "{message}");
    }
}

#[test]
fn the_operations_page_shows_the_default_limits() {
    const PAGE: &str = include_str!("../../../../docs/operations.md");
    let (_, block) = PAGE.split_once("```toml\n[server.limits]\n").expect("the block");
    let (block, _) = block.split_once("```").expect("its end");
    let shown = block.lines().filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()));
    let shown: BTreeSet<String> = shown.collect();
    let message = refusal(&Sources::default().set("server.limits.none", 1));
    let (_, known) = message.split_once("expected one of ").expect("the fields that there are");
    let known: BTreeSet<String> = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(shown, known, "what is not shown would be compared with itself");
    let (_dir, path) = file(&format!("[server.limits]\n{block}"));
    let config: Config = load(&Sources::default().file(path)).expect("valid");
    assert_eq!(config.server.limits, Limits::default());
}
