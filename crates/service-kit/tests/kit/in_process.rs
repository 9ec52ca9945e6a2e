//! The same stack without a socket.

use tonic::Code;

use crate::echo::{SAY, listen, say};
use crate::rig::{Rig, soon};

#[tokio::test]
async fn calls_before_and_after_the_binding_are_unavailable() {
    let rig = Rig::start().await;
    let unbound = pentad_service_kit::InProcess::default();
    let early = unbound.connection(&rig.gate).expect("a token");
    assert_eq!(say(&early, SAY, "").await.expect_err("unbound").code(), Code::Unavailable);

    let local = rig.local();
    assert_eq!(say(&local, SAY, "hello").await.expect("bound"), "hello");
    let mut numbers = listen(&local).await.expect("a stream");
    drop(rig.binding);
    let status = soon(async {
        loop {
            if let Err(status) = numbers.message().await {
                return status;
            }
        }
    })
    .await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(say(&local, SAY, "").await.expect_err("unbound").code(), Code::Unavailable);
    rig.shutdown.cancel();
    soon(rig.serving).await.expect("no panic");
}

#[tokio::test]
async fn dropping_the_binding_breaks_the_circle_of_services() {
    let rig = Rig::start().await;
    let naps = std::sync::Arc::downgrade(&rig.echo.naps);
    let local = rig.local();
    say(&local, SAY, "").await.expect("bound");
    rig.shutdown.cancel();
    soon(rig.serving).await.expect("no panic");
    drop((rig.echo, rig.binding));
    assert!(naps.upgrade().is_none(), "a connection keeps the service alive");
    drop(local);
}
