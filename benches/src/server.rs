//! A real `pentad-chain` process, reached over gRPC on loopback.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use pentad_api::Connection;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::admin_service_client::AdminServiceClient;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::submit_service_client::SubmitServiceClient;
use pentad_api::chain::v1::verify_response;
use pentad_bench::meter::Cost;
use pentad_bench::process::{Process, START_TIMEOUT, free_addresses, text};
use tokio::task::JoinSet;

/// Connections that hand in transactions at once, as in the reference.
const CONNECTIONS: usize = 16;
/// Transactions in one message of a stream.
const MESSAGE_LEN: usize = 16;
/// Time between two tries to reach a process that starts.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

pub(crate) struct Server {
    process: Process,
    address: String,
    cookie: PathBuf,
}

impl Server {
    /// Starts a process on a directory; returns once it answers, and how long that took.
    pub(crate) async fn start(chain_spec: &Path, data: &Path) -> (Self, Duration) {
        let [grpc, metrics] = free_addresses();
        let cookie = data.join("cookie");
        let begun = Instant::now();
        let place = ["--chain", text(chain_spec), "--data", text(data)];
        let arguments = place.into_iter().chain(["--grpc", &grpc, "--metrics", &metrics]);
        let process = Process::spawn("pentad-chain", arguments, &data.join("chain.log"));
        let server = Self { process, address: format!("http://{grpc}"), cookie };
        while !server.answers().await {
            assert!(begun.elapsed() < START_TIMEOUT, "pentad-chain does not answer");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        (server, begun.elapsed())
    }

    async fn answers(&self) -> bool {
        match self.try_connection() {
            Ok(connection) => {
                let info = proto::GetInfoRequest {};
                ChainServiceClient::new(connection).get_info(info).await.is_ok()
            }
            Err(_) => false,
        }
    }

    fn try_connection(&self) -> io::Result<Connection> {
        let cookie = fs::read_to_string(&self.cookie)?;
        let connection = Connection::lazy(&self.address).map_err(io::Error::other)?;
        connection.with_credential(cookie.trim()).map_err(io::Error::other)
    }

    /// A connection of its own.
    pub(crate) fn connection(&self) -> Connection {
        self.try_connection().expect("a live server")
    }

    /// Streams transactions over several connections, and waits for all answers.
    pub(crate) async fn submit(&self, transactions: &[Vec<u8>]) -> Cost {
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| self.connection()).collect();
        let share = transactions.len().div_ceil(CONNECTIONS);
        let (wall, cpu) = (Instant::now(), self.process.cpu());
        let mut streams = JoinSet::new();
        for (connection, share) in clients.into_iter().zip(transactions.chunks(share)) {
            let message = |some: &[Vec<u8>]| proto::SubmitTransactionsRequest {
                transactions: some.iter().map(|bytes| bytes.clone().into()).collect(),
                traced: Vec::new(),
            };
            let messages: Vec<_> = share.chunks(MESSAGE_LEN).map(message).collect();
            streams.spawn(stream(connection, messages));
        }
        while let Some(ended) = streams.join_next().await {
            ended.expect("no panic");
        }
        Cost { wall: wall.elapsed(), cpu: self.process.cpu() - cpu }
    }

    /// Hands in a block and waits until it is durable and readers see it.
    pub(crate) async fn connect(&self, connection: Connection, block: &[u8]) {
        let request =
            proto::SubmitBlockRequest { block: block.to_vec().into(), ..Default::default() };
        let answer = SubmitServiceClient::new(connection).submit_block(request).await;
        let outcome = answer.expect("a valid block").into_inner().outcome();
        assert_eq!(outcome, proto::BlockOutcome::Connected);
    }

    /// Has it verify what it has stored, signatures included, and follows its progress.
    pub(crate) async fn verify(&self) -> Cost {
        let (wall, cpu) = (Instant::now(), self.process.cpu());
        let request = proto::VerifyRequest {
            level: proto::VerifyLevel::Signatures.into(),
            ..Default::default()
        };
        let events = AdminServiceClient::new(self.connection()).verify(request).await;
        let mut events = events.expect("a stream").into_inner();
        let mut told = 0;
        while let Some(message) = events.message().await.expect("no error") {
            match message.event.expect("an event") {
                verify_response::Event::Progress(_) => told += 1,
                verify_response::Event::Damage(damage) => panic!("{damage:?}"),
                verify_response::Event::Report(report) => {
                    assert!(report.ok && told > 0, "{report:?}");
                }
            }
        }
        Cost { wall: wall.elapsed(), cpu: self.process.cpu() - cpu }
    }

    /// Bytes of memory that the process holds.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes()
    }

    /// Ends the process.
    pub(crate) fn stop(mut self) {
        self.process.kill();
    }
}

async fn stream(connection: Connection, messages: Vec<proto::SubmitTransactionsRequest>) {
    let mut client = SubmitServiceClient::new(connection);
    let answers = client.submit_transactions(tokio_stream::iter(messages)).await;
    let mut answers = answers.expect("a stream").into_inner();
    while let Some(answer) = answers.message().await.expect("no error") {
        for outcome in answer.outcomes {
            assert!(outcome.reason.is_empty() && !outcome.already_known, "{outcome:?}");
        }
    }
}
