//! How long `pentad` takes before and beside the work that it is asked for. `make bench-cli`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pentad_api::Connection;
use pentad_api::chain::v1::GetInfoRequest;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use tempfile::TempDir;

const RUNS: usize = 101;

fn pentad(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pentad"));
    command.arg("--dir").arg(directory).args(arguments).stdout(Stdio::null());
    command
}

/// Median and the worst but one in a hundred.
fn measure(mut run: impl FnMut()) -> [Duration; 2] {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    [times[RUNS / 2], times[RUNS - 2]]
}

fn print(what: &str, [median, worst]: [Duration; 2]) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{what:<42} p50 {:6.1} ms   p99 {:6.1} ms", ms(median), ms(worst));
}

fn command(directory: &Path, arguments: &[&str]) -> [Duration; 2] {
    measure(|| {
        let status = pentad(directory, arguments).status().expect("pentad runs");
        assert!(status.success(), "{arguments:?}: {status}");
    })
}

/// The call alone, over a connection of its own.
fn call(directory: &Path) -> [Duration; 2] {
    let text = std::fs::read_to_string(directory.join("network.json")).expect("a network file");
    let network: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let node = |key: &str| network["nodes"][0][key].as_str().expect(key).to_owned();
    let cookie = std::fs::read_to_string(node("cookie")).expect("a cookie");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    measure(|| {
        let asked = runtime.block_on(async {
            let connection = Connection::lazy(&format!("http://{}", node("grpc")))?;
            let connection = connection.with_credential(cookie.trim()).expect("a cookie");
            let mut client = ChainServiceClient::new(connection);
            Ok::<_, pentad_api::ConnectionError>(client.get_info(GetInfoRequest {}).await)
        });
        asked.expect("an address").expect("an answer");
    })
}

fn main() {
    let directory = TempDir::new().expect("a temporary directory");
    let directory = directory.path();
    print("pentad --help", command(directory, &["--help"]));
    print("pentad chain get-block --help", command(directory, &["chain", "get-block", "--help"]));
    let up = ["devnet", "up", "--nodes", "1", "--base-port", "0", "--detach"];
    let status = pentad(directory, &up).env_remove("HOME").status().expect("pentad runs");
    assert!(status.success(), "pentad-node must be beside pentad: use `make bench-cli`");
    let (whole, alone) = (command(directory, &["chain", "get-info"]), call(directory));
    print("pentad chain get-info", whole);
    print("the same call without pentad", alone);
    let status = pentad(directory, &["devnet", "down"]).status().expect("pentad runs");
    assert!(status.success(), "{status}");
}
