use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::spans::Spans;

const PAGE: &str = include_str!("page.html");
/// Names of spans come from whoever sends them: nothing but this page's own script runs in it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'",
);
/// A browser sends its few header bytes at once.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept: out of file descriptors, retrying at once would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the page, for as long as it is polled.
pub async fn serve_page(listener: TcpListener, spans: Spans) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let spans = spans.clone();
        let service = service_fn(move |request| {
            let response = respond(&request, &spans);
            async { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("a connection failed: {error}");
            }
        });
    }
}

/// `/` is the page, `/traces` what there is, `/traces/<id>` the spans of one.
fn respond(request: &Request<Incoming>, spans: &Spans) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n");
    }
    match request.uri().path() {
        "/" => answer(StatusCode::OK, "text/html; charset=utf-8", PAGE),
        "/traces" => json(&spans.traces()),
        path => match path.strip_prefix("/traces/") {
            Some(trace_id) => json(&spans.of(trace_id)),
            None => answer(StatusCode::NOT_FOUND, "text/plain", "there is only /\n"),
        },
    }
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    let text = serde_json::to_string(value).expect("texts and numbers");
    answer(StatusCode::OK, "application/json", text)
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}
