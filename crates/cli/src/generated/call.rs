//! Sending a call and printing what comes back.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use pentad_api::Connection;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status, Streaming};

use super::codec::DynamicCodec;
use super::render;
use super::request::{Call, Requests};
use super::schema::Schema;
use crate::args::Globals;
use crate::console::Console;
use crate::fault::Fault;
use crate::progress::patiently;
use crate::target::{ANSWER_BYTES_MAX, Target};

/// Requests of a stream that are read ahead.
const READ_AHEAD: usize = 16;

/// What to do about a request that the node takes for nonsense.
const HELP: &str = "--help behind the method lists what it takes";

/// Requests on their way.
pub type Outgoing = stream::BoxStream<'static, DynamicMessage>;

/// Sends a call and prints what comes back.
///
/// # Errors
/// The node's no, that it cannot be reached, or what is wrong with a request of a stream.
pub async fn run(
    console: Console,
    globals: &Globals,
    schema: &Schema,
    call: Call,
) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let Call { method, requests, timeout } = call;
    let unread = Unread::default();
    let outgoing = match requests {
        Requests::One(message) => stream::iter([message]).boxed(),
        Requests::Many(reader) => read(reader, method.input(), unread.clone()).boxed(),
    };
    let work = exchange(console, &target, schema, &method, outgoing, timeout);
    let outcome = match timeout {
        None => work.await,
        Some(timeout) => tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
            let message = format!("not within {} s", timeout.as_secs());
            Err(target.fault(&Status::deadline_exceeded(message)))
        }),
    };
    match unread.take() {
        Some(fault) => Err(fault),
        None => outcome,
    }
}

async fn exchange(
    console: Console,
    target: &Target,
    schema: &Schema,
    method: &MethodDescriptor,
    outgoing: Outgoing,
    timeout: Option<Duration>,
) -> Result<(), Fault> {
    let fault = |status: Status| match status.code() {
        Code::InvalidArgument => target.fault(&status).or_hint(HELP),
        _ => target.fault(&status),
    };
    let call = send(target.connection(), method, outgoing, timeout);
    let waiting = format!("waiting for {}", target.label());
    let mut answers = patiently(&waiting, call).await.map_err(fault)?;
    let is_stream = method.is_server_streaming();
    while let Some(answer) = answers.message().await.map_err(fault)? {
        console.answer(&render::Rendered::new(schema, &answer, is_stream))?;
    }
    Ok(())
}

/// One request or many, one answer or many: on the wire it is all the same.
///
/// # Errors
/// The node's no, or that it cannot be reached.
pub async fn send(
    connection: Connection,
    method: &MethodDescriptor,
    outgoing: Outgoing,
    timeout: Option<Duration>,
) -> Result<Streaming<DynamicMessage>, Status> {
    let mut client = Grpc::new(connection).max_decoding_message_size(ANSWER_BYTES_MAX);
    client.ready().await.map_err(Status::from_error)?;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path)
        .map_err(|error| Status::internal(format!("no path of a method: {error}")))?;
    let mut request = Request::new(outgoing);
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    Ok(client.streaming(request, path, DynamicCodec::of_answers(method)).await?.into_inner())
}

/// Why the requests of a stream could not be read to their end.
#[derive(Clone, Debug, Default)]
struct Unread(Arc<Mutex<Option<Fault>>>);

impl Unread {
    fn set(&self, fault: Fault) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    fn take(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Reads JSON values as the call takes them, so that a pipe may stay open for as long as it likes.
fn read(
    reader: Box<dyn Read + Send>,
    of: MessageDescriptor,
    unread: Unread,
) -> impl Stream<Item = DynamicMessage> + Send + 'static {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    // Not awaited: it ends with its input, or when nobody takes what it reads.
    tokio::task::spawn_blocking(move || {
        let values = serde_json::Deserializer::from_reader(reader).into_iter();
        for (index, value) in values.enumerate() {
            let message = value.and_then(|value: serde_json::Value| {
                DynamicMessage::deserialize(of.clone(), value)
            });
            match message {
                // Nobody takes it when the call is over.
                Ok(message) => {
                    if sender.blocking_send(message).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let number = index.saturating_add(1);
                    let name = of.name();
                    unread.set(Fault::usage(format!("request {number} is no {name}: {error}")));
                    return;
                }
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async move {
        let message = receiver.recv().await?;
        Some((message, receiver))
    })
}
