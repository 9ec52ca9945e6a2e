//! What tracing and metrics cost: two networks side by side, loaded in turns. In the one, clients
//! trace a tenth of their payments, nodes sample a tenth of what begins with them and export it,
//! and each node's metrics are read every second, as Prometheus would. In the other, nobody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use pentad_bench::meter::median_of;
use pentad_bench::node::Node;
use pentad_bench::validators::NODES;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::Bench;
use crate::load::{Load, Payment, sign};

/// One of so many payments is traced.
const TRACED_OF: usize = 10;
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// What one round took.
#[derive(Clone, Copy)]
struct Figures {
    /// Payments that became final in a second.
    rate: f64,
    /// CPU time of a node for a payment, seconds.
    cpu: f64,
}

/// Runs so many pairs of rounds of so many seconds, and prints the ratio of each pair and the
/// median of all.
pub(crate) async fn run(rate: usize, seconds: usize, pairs: usize) {
    let spans = Arc::new(AtomicU64::new(0));
    let endpoint = format!("telemetry.otlp_endpoint=\"{}\"", collect(Arc::clone(&spans)).await);
    let flags = ["--set", "telemetry.sample_ratio=0.1", "--set", &endpoint];
    let count = rate * seconds;
    let mut traced = Bench::start_with(count, &flags).await;
    let mut plain = Bench::start(count).await;
    println!("{:<6} {:>12} {:>12} {:>12} {:>12}", "round", "traced /s", "plain /s", "rate", "CPU");
    let mut ratios = Vec::with_capacity(pairs);
    for round in 0..=pairs {
        let payments = [&mut traced, &mut plain]
            .map(|bench| sign(&mut bench.coins, count, &bench.payee.clone()));
        // In turns, so that whoever comes second has no part in it.
        let [with, without] = if round % 2 == 0 {
            let with = offer(&traced, &payments[0], rate, true).await;
            [with, offer(&plain, &payments[1], rate, false).await]
        } else {
            let without = offer(&plain, &payments[1], rate, false).await;
            [offer(&traced, &payments[0], rate, true).await, without]
        };
        // The first pair warms both up.
        if round == 0 {
            continue;
        }
        let ratio = [with.rate / without.rate, with.cpu / without.cpu];
        let [of_rate, of_cpu] = ratio;
        let (with, without) = (with.rate, without.rate);
        println!("{round:<6} {with:>12.0} {without:>12.0} {of_rate:>12.3} {of_cpu:>12.3}");
        ratios.push(ratio);
    }
    let median = [0, 1].map(|at| median_of(ratios.iter().map(|ratio| ratio[at]).collect()));
    println!("{:<6} {:>12} {:>12} {:>12.3} {:>12.3}", "median", "", "", median[0], median[1]);
    let sum = |name: &str| traced.nodes.iter().map(|node| node.metric(name)).sum::<f64>();
    let exported = sum("pentad_telemetry_spans_exported_total");
    println!("spans exported {exported}, received {}", spans.load(Ordering::Relaxed));
    let ignored = sum("pentad_telemetry_contexts_ignored_total");
    println!("contexts of other nodes that were not continued {ignored}");
}

async fn offer(bench: &Bench, payments: &[Payment], rate: usize, is_traced: bool) -> Figures {
    let traced_of = is_traced.then_some(TRACED_OF);
    let load = Load::open(&bench.connections).tracing_one_of(traced_of);
    let before: Duration = bench.nodes.iter().map(Node::cpu).sum();
    let begun = Instant::now();
    let reading = async {
        if !is_traced {
            return std::future::pending().await;
        }
        let mut ticks = tokio::time::interval(SCRAPE_INTERVAL);
        loop {
            ticks.tick().await;
            for node in &bench.nodes {
                node.metric("pentad_chain_height_blocks");
            }
        }
    };
    let loading = async {
        load.offer(payments, rate, &bench.watch).await;
        bench.watch.all_are_final().await
    };
    let end = tokio::select! {
        end = loading => end,
        never = reading => never,
    };
    load.close().await;
    bench.watch.take_latencies();
    let cpu: Duration = bench.nodes.iter().map(Node::cpu).sum();
    let count = payments.len() as f64;
    Figures {
        rate: count / (end - begun).as_secs_f64(),
        cpu: (cpu - before).as_secs_f64() / count / NODES as f64,
    }
}

/// A receiver that counts spans and forgets them; its endpoint.
async fn collect(spans: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let service = TraceServiceServer::new(Counting(spans));
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    format!("http://{address}")
}

struct Counting(Arc<AtomicU64>);

#[tonic::async_trait]
impl TraceService for Counting {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let groups = request.into_inner().resource_spans;
        let scopes = groups.iter().flat_map(|group| &group.scope_spans);
        let count: usize = scopes.map(|scope| scope.spans.len()).sum();
        self.0.fetch_add(count as u64, Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
