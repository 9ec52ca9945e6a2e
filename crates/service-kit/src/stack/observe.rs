//! One span and one set of samples for every call, from its arrival to its last byte: the outcome
//! of a call stands in its trailers, not in its head.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use pentad_api::Failure;
use pentad_api::status::code_name;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, field};

use super::{Method, refusal};
use crate::metrics::RpcMetrics;
use crate::telemetry::{TraceContext, propagation};

const STATUS_HEADER: &str = "grpc-status";
/// Stands for every path that declares no right: strangers cannot make up new series.
const UNDECLARED: &str = "undeclared";

#[derive(Clone, Debug)]
pub(super) struct ObserveLayer {
    metrics: RpcMetrics,
}

impl ObserveLayer {
    pub(super) const fn new(metrics: RpcMetrics) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { metrics: self.metrics.clone(), inner }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Observe<S> {
    metrics: RpcMetrics,
    inner: S,
}

impl<S> Service<Request<Body>> for Observe<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = Call::begin(self.metrics.clone(), &request);
        let span = call.span.clone();
        let response = span.in_scope(|| self.inner.call(request));
        let observed = async move {
            let response = match AssertUnwindSafe(response).catch_unwind().await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(panic) => refusal(panicked(panic.as_ref())),
            };
            Ok(match code_in(response.headers()) {
                Some(code) => {
                    call.end(code);
                    response
                }
                None => response.map(|body| Body::new(Observed { body, call: Some(call) })),
            })
        };
        Box::pin(observed.instrument(span))
    }
}

/// A call while it is served. Dropped before its end, it counts as cancelled by the caller.
struct Call {
    span: Span,
    metrics: RpcMetrics,
    method: String,
    started: Instant,
    code: Code,
}

impl Call {
    fn begin(metrics: RpcMetrics, request: &Request<Body>) -> Self {
        let declared = request.extensions().get::<Method>().is_some();
        let path = if declared { request.uri().path() } else { UNDECLARED };
        let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or(("", path));
        let span = tracing::info_span!(
            "rpc",
            otel.name = path.trim_start_matches('/'),
            otel.kind = "server",
            otel.status_code = field::Empty,
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
            rpc.grpc.status_code = field::Empty,
        );
        propagation::join(&span, request.headers());
        metrics.on_start(path);
        let method = path.to_owned();
        Self { span, metrics, method, started: Instant::now(), code: Code::Cancelled }
    }

    fn end(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        self.metrics.on_end(&self.method, self.code, duration, TraceContext::of(&self.span));
        self.span.record("rpc.grpc.status_code", self.code as i32);
        if is_server_fault(self.code) {
            self.span.record("otel.status_code", "ERROR");
        }
        let _entered = self.span.enter();
        let (code, latency_ms) = (code_name(self.code), duration.as_secs_f64() * 1e3);
        match self.code {
            Code::Internal | Code::Unknown | Code::DataLoss => {
                tracing::warn!(code, latency_ms, "call failed");
            }
            _ => tracing::debug!(code, latency_ms, "call ended"),
        }
    }
}

/// The codes by which OpenTelemetry's conventions call a server span failed.
const fn is_server_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get(STATUS_HEADER).map(|value| Code::from_bytes(value.as_bytes()))
}

/// A bug in one call must not take the connection's other calls, or an in-process caller, with it.
fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let what = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of an unknown kind");
    tracing::error!(what, "the service panicked");
    Failure::new(Code::Internal, "PANIC", "the service failed at this call; see its log")
}

/// A response body that tells its call how it ended.
struct Observed {
    body: Body,
    call: Option<Call>,
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let span = this.call.as_ref().map_or_else(Span::none, |call| call.span.clone());
        let polled = span.in_scope(|| Pin::new(&mut this.body).poll_frame(context));
        let code = match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                frame.trailers_ref().map(|trailers| code_in(trailers).unwrap_or(Code::Unknown))
            }
            Poll::Ready(Some(Err(status))) => Some(status.code()),
            Poll::Ready(None) => Some(Code::Unknown),
            Poll::Pending => None,
        };
        if let Some(code) = code
            && let Some(call) = this.call.take()
        {
            call.end(code);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
