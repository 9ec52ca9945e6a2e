//! A node's process under callers that it refuses.

use std::time::Instant;

use pentad_tests::{Curl, Devnet, buf_curl, metrics_page};
use serde_json::json;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

const GET_INFO: &str = "/pentad.chain.v1.ChainService/GetInfo";
/// So many calls are refused with a reason at once; see `Limits::refused_calls_burst`.
const BURST: usize = 2_000;

/// Calls without a credential until one is told to wait; how many were told why, and whether the
/// answer says when to come again.
async fn flood(address: String) -> (usize, bool) {
    let endpoint = Endpoint::try_from(address).expect("an address");
    let mut client = Grpc::new(endpoint.connect().await.expect("it listens"));
    for count in 0.. {
        client.ready().await.expect("it serves");
        let codec = ProstCodec::<(), ()>::default();
        let call = client.unary(Request::new(()), GET_INFO.parse().expect("a path"), codec);
        let status = call.await.expect_err("no credential");
        match status.code() {
            Code::Unauthenticated => assert!(count < 4 * BURST, "nothing stops it"),
            Code::ResourceExhausted => {
                let details = String::from_utf8_lossy(status.details()).into_owned();
                return (count, details.contains("google.rpc.RetryInfo"));
            }
            code => panic!("{code}: {status:?}"),
        }
    }
    unreachable!("it never ends")
}

/// Attack 51.
#[test]
fn a_flood_of_refused_calls_is_answered_shortly_and_others_are_served() {
    let devnet = Devnet::up(1);
    let node = devnet.node(1);
    let (began, runtime) = (Instant::now(), Runtime::new().expect("a runtime"));
    let (told_why, says_when) = runtime.block_on(flood(format!("http://{}", node.grpc())));
    assert!(told_why >= BURST, "only {told_why}");
    assert!(says_when, "it does not say when to come again");
    println!("{told_why} calls were told why, in {:?}", began.elapsed());
    // From the same address.
    let info = buf_curl(&node, "pentad.chain.v1.ChainService/GetInfo", &json!({}));
    assert_eq!(info.code, 0, "{}", info.text);
    let health = Curl::anonymous(&node, "grpc.health.v1.Health/Check", &json!({}));
    assert_eq!(health.json["status"], "SERVING", "{}", health.text);
    let page = metrics_page(&node.metrics()).expect("it runs");
    assert!(page.contains("pentad_calls_refused_total{reason=\"too_many\"}"), "{page}");
}
