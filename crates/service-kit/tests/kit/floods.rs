//! Attack 51, floods: one caller uses up what is its own, and the others are served.

use std::fs;
use std::time::Duration;

use pentad_api::{Connection, status};
use pentad_service_kit::Limits;
use pentad_trust::{Right, Tokens};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::{Code, Request, Status};

use crate::echo::{SAY, call, listen, say};
use crate::rig::{Plan, Rig, now, soon, until};

/// A server that knows two callers by their tokens.
async fn two_callers(limits: Limits) -> (Rig, [Connection; 2]) {
    let dir = TempDir::new().expect("a temporary directory");
    let file = dir.path().join("tokens.toml");
    let mut tokens = Tokens::default();
    let names = ["alice", "bob"];
    let made = names
        .map(|name| tokens.add(name, &[Right::Read, Right::Spend], 1, now()).expect("made").token);
    fs::write(&file, tokens.to_toml().expect("TOML")).expect("written");
    let rig = Rig::with(Plan { limits, tokens: Some(file), ..Plan::default() }).await;
    let connections = made.map(|token| rig.stranger().with_credential(&token).expect("a token"));
    (rig, connections)
}

/// What a caller is told that has to wait: why, and how long.
fn told(status: &Status) -> (String, Duration) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let explanation = status::explain(status);
    (explanation.reason, explanation.retry_after.expect("when to come again"))
}

#[tokio::test]
async fn one_caller_that_opens_many_streams_leaves_room_for_others() {
    let (rig, [alice, bob]) =
        two_callers(Limits { caller_streams_max: 4, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(soon(listen(&alice)).await.expect("room"));
    }
    let refused = soon(listen(&alice)).await.expect_err("no room");
    assert_eq!(told(&refused).0, "CALLER_BUSY");
    let mut numbers = soon(listen(&bob)).await.expect("another caller");
    soon(numbers.message()).await.expect("served").expect("a number");
    soon(say(&alice, SAY, "")).await.expect("unary calls have their own room");
    drop(held);
    until("the room is given back", async || listen(&alice).await.is_ok()).await;
    rig.stop().await;
}

#[tokio::test]
async fn headers_that_are_too_long_get_an_answer_of_http() {
    let rig = Rig::limited(Limits { header_bytes_max: 4096, ..Limits::default() }).await;
    let mut request = Request::new(String::new());
    let long = "a".repeat(8192).parse().expect("a header value");
    request.metadata_mut().insert("long", long);
    let status = soon(call(&rig.tcp(), SAY, request)).await.expect_err("too long");
    assert_eq!(status.code(), Code::Unknown, "{status:?}");
    assert!(status.message().contains("431"), "{status:?}");
    soon(say(&rig.tcp(), SAY, "")).await.expect("others are served");
    rig.stop().await;
}

#[tokio::test]
async fn one_caller_that_calls_too_often_waits_and_others_do_not() {
    let limits = Limits { caller_calls_per_second: 1, caller_calls_burst: 3, ..Limits::default() };
    let (rig, [alice, bob]) = two_callers(limits).await;
    let refused = soon(async {
        loop {
            if let Err(status) = say(&alice, SAY, "").await {
                break status;
            }
        }
    });
    let (reason, retry_after) = told(&refused.await);
    assert_eq!(reason, "CALLER_RATE");
    assert!(retry_after <= Duration::from_secs(1), "{retry_after:?}");
    soon(say(&bob, SAY, "")).await.expect("another caller");
    for _ in 0..20 {
        soon(say(&rig.tcp(), SAY, "")).await.expect("the owner is not counted");
    }
    rig.stop().await;
}

#[tokio::test]
async fn who_is_refused_too_often_waits_and_a_good_credential_is_served_even_so() {
    let limits =
        Limits { refused_calls_per_second: 1, refused_calls_burst: 3, ..Limits::default() };
    let (rig, [alice, _]) = two_callers(limits).await;
    let wrong = rig.stranger().with_credential("pentad_wrong").expect("a token");
    let refused = soon(async {
        loop {
            let status = say(&wrong, SAY, "").await.expect_err("wrong");
            if status.code() != Code::Unauthenticated {
                break status;
            }
        }
    });
    let (reason, retry_after) = told(&refused.await);
    assert_eq!(reason, "REFUSED_TOO_OFTEN");
    assert!(retry_after <= Duration::from_secs(1), "{retry_after:?}");
    let none = soon(say(&rig.stranger(), SAY, "")).await.expect_err("of the same address");
    assert_eq!(told(&none).0, "REFUSED_TOO_OFTEN");
    for _ in 0..20 {
        soon(say(&alice, SAY, "")).await.expect("a token that is good");
        soon(say(&rig.tcp(), SAY, "")).await.expect("the owner");
    }
    let page = rig.metrics.encode().expect("text");
    let unheard = page.lines().find(|line| line.contains("{reason=\"too_many\"}"));
    assert!(unheard.is_some(), "{page}");
    until("it is told why again", async || {
        let status = say(&wrong, SAY, "").await.expect_err("wrong");
        status.code() == Code::Unauthenticated
    })
    .await;
    rig.stop().await;
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header as HPACK writes it without an index for its value; `name` is one of the static table.
fn header(name: u8, value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("short");
    // Seven bits of a length, or 127 and the rest.
    let length = if length < 127 { vec![length] } else { vec![127, length - 127] };
    let name = if name < 15 { vec![name] } else { vec![15, name - 15] };
    [name, length, value.as_bytes().to_vec()].concat()
}

/// A connection that has said hello.
async fn greeted(rig: &Rig) -> TcpStream {
    let mut stream = TcpStream::connect(rig.address).await.expect("accepted");
    stream.write_all(PREFACE).await.expect("written");
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.expect("written");
    stream
}

#[tokio::test]
async fn headers_that_never_end_are_cut_off() {
    let rig = Rig::start().await;
    let mut stream = greeted(&rig).await;
    stream.write_all(&frame(HEADERS, 0, 1, &[0x83, 0x86])).await.expect("written");
    // One header after the other, none of them large.
    let more = header(31, "application/grpc").repeat(800);
    let more = frame(CONTINUATION, 0, 1, &more);
    let other = rig.tcp();
    let flood = async {
        // 64 MiB, were they taken.
        for _ in 0..4096 {
            if stream.write_all(&more).await.is_err() {
                return true;
            }
            soon(say(&other, SAY, "")).await.expect("others are served");
            if matches!(stream.try_read(&mut [0; 4096]), Ok(0)) {
                return true;
            }
        }
        false
    };
    assert!(soon(flood).await, "all of it is taken");
    rig.stop().await;
}

#[tokio::test]
async fn calls_that_are_reset_at_once_leave_nothing_behind() {
    const CALLS: u32 = 5_000;
    let rig = Rig::start().await;
    let stream = greeted(&rig).await;
    let (mut reading, mut writing) = stream.into_split();
    let cookie = format!("Bearer {}", rig.gate.cookie().reveal());
    // POST, http, the path, the credential, the kind of content.
    let head = [
        vec![0x83, 0x86],
        header(4, "/test.Echo/Nap"),
        header(23, &cookie),
        header(31, "application/grpc"),
    ]
    .concat();
    let flood = tokio::spawn(async move {
        for call in 0..CALLS {
            let id = call * 2 + 1;
            let mut both = frame(HEADERS, END_HEADERS, id, &head);
            both.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
            // The server may have had enough.
            if writing.write_all(&both).await.is_err() {
                break;
            }
        }
        writing
    });
    let answers = tokio::spawn(async move {
        let mut rest = vec![0; 64 * 1024];
        while matches!(reading.read(&mut rest).await, Ok(1..)) {}
    });
    let other = rig.tcp();
    while !flood.is_finished() {
        soon(say(&other, SAY, "")).await.expect("others are served");
    }
    drop(soon(flood).await.expect("no panic"));
    soon(answers).await.expect("no panic");
    until("no call is left", async || {
        let page = rig.metrics.encode().expect("text");
        page.lines()
            .filter(|line| line.starts_with("pentad_rpc_in_flight"))
            .all(|line| line.ends_with(" 0"))
    })
    .await;
    rig.stop().await;
}
