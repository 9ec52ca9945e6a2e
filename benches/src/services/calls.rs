//! What TLS costs a call: two chain services side by side, called in turns. One asks for a
//! certificate; the other, which listens on loopback alone, for the cookie.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use pentad_api::Connection;
use pentad_api::chain::v1::GetInfoRequest;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_bench::meter::{self, median_of};
use pentad_bench::payments::spec;
use pentad_bench::process::{Process, START_TIMEOUT, free_addresses, text};
use pentad_trust::Role;

use crate::site::{Certificates, Certified, start};

/// Rounds, of which the median counts; one more warms both up.
const ROUNDS: usize = 9;
/// Calls of a round over one connection.
const CALLS: u32 = 4_000;
/// Connections of a round, each for one call.
const CONNECTIONS: u32 = 400;
/// Limits that one caller who does nothing else would meet.
const UNLIMITED: [&str; 4] = [
    "caller_calls_per_second",
    "caller_calls_burst",
    "address_connections_per_second",
    "address_connections_burst",
];
/// Time between two tries to reach a process that starts.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A chain service, and who calls it.
struct Server {
    process: Process,
    address: String,
    caller: Caller,
}

enum Caller {
    Certified(Certified),
    Cookie(String),
}

/// What one of many calls took.
#[derive(Clone, Copy)]
struct Each {
    wall: f64,
    /// CPU time of the service.
    server: f64,
    /// CPU time of the caller.
    client: f64,
}

/// Prints what a call takes with TLS and without, and the ratio.
pub(crate) async fn measure(directory: &Path) {
    let chain = directory.join("work.toml");
    fs::write(&chain, spec(1).to_toml()).expect("writable");
    let spec = ["--chain".to_owned(), text(&chain).to_owned()];
    let certificates = Certificates::create(&directory.join("calls"));
    let certified = certificates.issue(Role::Chain);
    let limits = UNLIMITED.map(|limit| format!("server.limits.{limit}=1000000"));
    let limits = limits.into_iter().flat_map(|limit| ["--set".to_owned(), limit]);
    let spec: Vec<String> = spec.into_iter().chain(limits).collect();
    let flags = spec.iter().cloned().chain(certified.flags());
    let with = directory.join("with");
    let caller = Caller::Certified(certificates.issue(Role::Operator));
    let with = Server::start(&with, flags, |_| caller).await;
    let without = directory.join("without");
    let cookie = |data: &Path| {
        let cookie = fs::read_to_string(data.join("cookie")).expect("a cookie of a live service");
        Caller::Cookie(cookie.trim().to_owned())
    };
    let without = Server::start(&without, spec, cookie).await;
    println!("{:<44} {:>10} {:>12} {:>12}", "a call", "wall", "service CPU", "caller CPU");
    print("over an open connection", pairs([&with, &without], CALLS, Server::calls).await);
    let name = "over a connection of its own";
    print(name, pairs([&with, &without], CONNECTIONS, Server::connections).await);
}

/// Rounds with and without TLS, in turns.
async fn pairs<'a, F>(
    servers: [&'a Server; 2],
    count: u32,
    round: impl Fn(&'a Server, u32) -> F,
) -> Vec<[Each; 2]>
where
    F: Future<Output = ()>,
{
    let mut pairs = Vec::with_capacity(ROUNDS);
    for number in 0..=ROUNDS {
        let mut pair = Vec::new();
        for server in servers {
            let cpu = [server.process.cpu(), meter::cpu()];
            let begun = Instant::now();
            round(server, count).await;
            let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(count);
            pair.push(Each {
                wall: each(begun.elapsed()),
                server: each(server.process.cpu() - cpu[0]),
                client: each(meter::cpu() - cpu[1]),
            });
        }
        if number > 0 {
            pairs.push([pair[0], pair[1]]);
        }
    }
    pairs
}

fn print(name: &str, pairs: Vec<[Each; 2]>) {
    let parts: [fn(&Each) -> f64; 3] = [|it| it.wall, |it| it.server, |it| it.client];
    for (number, what) in ["with TLS", "without"].into_iter().enumerate() {
        let [wall, server, client] =
            parts.map(|part| median_of(pairs.iter().map(|pair| part(&pair[number])).collect()));
        let name = format!("  {name}, {what}");
        println!("{name:<44} {wall:>7.0} µs {server:>9.0} µs {client:>9.0} µs");
    }
    let [wall, server, client] = parts.map(|part| {
        median_of(pairs.iter().map(|[with, without]| part(with) / part(without)).collect())
    });
    println!("{:<44} {wall:>10.2} {server:>12.2} {client:>12.2}", "    ratio");
}

impl Server {
    async fn start(
        directory: &Path,
        flags: impl IntoIterator<Item = String>,
        caller: impl FnOnce(&Path) -> Caller,
    ) -> Self {
        let [address, metrics] = free_addresses();
        let process = start(Role::Chain, directory, [&address, &metrics], flags);
        let begun = Instant::now();
        // The cookie is there once the service listens.
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(begun.elapsed() < START_TIMEOUT, "pentad-chain does not answer");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let caller = caller(&directory.join(Role::Chain.name()));
        Self { process, address, caller }
    }

    fn connection(&self) -> Connection {
        match &self.caller {
            Caller::Certified(certified) => certified.connection(&self.address),
            Caller::Cookie(cookie) => {
                let connection = Connection::lazy(&format!("http://{}", self.address));
                connection.expect("an address").with_credential(cookie).expect("letters")
            }
        }
    }

    async fn calls(&self, count: u32) {
        let mut client = ChainServiceClient::new(self.connection());
        for _ in 0..count {
            client.get_info(GetInfoRequest {}).await.expect("a live service");
        }
    }

    async fn connections(&self, count: u32) {
        for _ in 0..count {
            let mut client = ChainServiceClient::new(self.connection());
            client.get_info(GetInfoRequest {}).await.expect("a live service");
        }
    }
}
