//! Room for so many calls; beyond it a call is refused at once instead of waiting in a queue that
//! only grows. A call holds its place until its last byte is sent.

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use pentad_api::{Failure, Right};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::quota::{Overuse, Part, Quotas};
use super::{Caller, Method, refusal};
use crate::limits::Limits;

/// What a refused caller is told to wait.
const RETRY_AFTER: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
pub(super) struct AdmissionLayer {
    places: Places,
    quotas: Quotas,
}

/// Each kind of call has its own room, so that a flood of one leaves the others alone.
#[derive(Clone, Debug)]
struct Places {
    open: Arc<Semaphore>,
    unary: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Places {
    fn take(&self, method: Option<&Method>) -> Option<OwnedSemaphorePermit> {
        let room = match method {
            Some(method) if method.right == Right::Open => &self.open,
            Some(method) if method.streaming => &self.streams,
            _ => &self.unary,
        };
        Arc::clone(room).try_acquire_owned().ok()
    }
}

impl AdmissionLayer {
    pub(super) fn new(limits: &Limits) -> Self {
        let room = |calls| Arc::new(Semaphore::new(calls));
        Self {
            places: Places {
                open: room(limits.open_calls_max),
                unary: room(limits.unary_calls_max),
                streams: room(limits.streams_max),
            },
            quotas: Quotas::new(limits),
        }
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Admission<S> {
        Admission { places: self.places.clone(), quotas: self.quotas.clone(), inner }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Admission<S> {
    places: Places,
    quotas: Quotas,
    inner: S,
}

impl<S> Service<Request<Body>> for Admission<S>
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
        let method = request.extensions().get::<Method>();
        let streaming = method.is_some_and(|method| method.streaming);
        let part = match request.extensions().get::<Caller>() {
            Some(caller) => match self.quotas.take(caller, streaming, Instant::now()) {
                Ok(part) => part,
                Err(overuse) => return Box::pin(ready(Ok(refusal(overused(overuse))))),
            },
            None => None,
        };
        let Some(place) = self.places.take(method) else {
            return Box::pin(ready(Ok(refusal(overloaded()))));
        };
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await?;
            Ok(response.map(|body| Body::new(Placed { body, _place: place, _part: part })))
        })
    }
}

fn overloaded() -> Failure {
    Failure::new(
        Code::ResourceExhausted,
        "OVERLOADED",
        "the server is serving as many calls of this kind as it may",
    )
    .with_retry_after(RETRY_AFTER)
}

fn overused(overuse: Overuse) -> Failure {
    let failure = |reason, message| Failure::new(Code::ResourceExhausted, reason, message);
    match overuse {
        Overuse::Rate(wait) => {
            failure("CALLER_RATE", "this caller begins more calls than one caller may")
                .with_retry_after(wait)
        }
        Overuse::AtOnce => {
            failure("CALLER_BUSY", "this caller has as many calls under way as one caller may")
                .with_retry_after(RETRY_AFTER)
        }
    }
}

/// A response body that holds its call's place.
struct Placed {
    body: Body,
    _place: OwnedSemaphorePermit,
    _part: Option<Part>,
}

impl http_body::Body for Placed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
