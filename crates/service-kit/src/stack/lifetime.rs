//! No call outlives its deadline or its server.
//!
//! A unary call ends at the caller's deadline (`grpc-timeout`) or at the server's own maximum,
//! whichever comes first. A stream lives until its caller's deadline, if there is one, and no
//! longer than its caller's credential; when the server drains it ends with UNAVAILABLE, which
//! tells the client to resume elsewhere or later.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use pentad_api::Failure;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::lease::Lease;
use super::{Method, refusal};

const TIMEOUT_HEADER: &str = "grpc-timeout";
/// The gRPC protocol allows at most 8 digits.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// The end of a server, in two steps.
#[derive(Clone, Debug, Default)]
pub struct Phases {
    /// Streams end; unary calls finish.
    pub draining: CancellationToken,
    /// The time to finish is over: every call ends.
    pub aborted: CancellationToken,
}

#[derive(Clone, Debug)]
pub(super) struct LifetimeLayer {
    unary_time_max: Duration,
    phases: Phases,
}

impl LifetimeLayer {
    pub(super) const fn new(unary_time_max: Duration, phases: Phases) -> Self {
        Self { unary_time_max, phases }
    }
}

impl<S> Layer<S> for LifetimeLayer {
    type Service = Lifetime<S>;

    fn layer(&self, inner: S) -> Lifetime<S> {
        Lifetime { layer: self.clone(), inner }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Lifetime<S> {
    layer: LifetimeLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Lifetime<S>
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let lease = request.extensions_mut().remove::<Lease>();
        let streaming = request.extensions().get::<Method>().is_some_and(|m| m.streaming);
        let asked = requested_timeout(request.headers());
        let most = (!streaming).then_some(self.layer.unary_time_max);
        let time = asked.into_iter().chain(most).min();
        let mut end: End = Box::pin(end(time, streaming, self.layer.phases.clone(), lease));
        let response = self.inner.call(request);
        Box::pin(async move {
            tokio::select! {
                biased;
                response = response => {
                    Ok(response?.map(|body| Body::new(Mortal { body, state: State::Alive(end) })))
                }
                status = &mut end => Ok(refusal(status)),
            }
        })
    }
}

/// Resolves when the call must end, and says why.
type End = BoxFuture<'static, Status>;

async fn end(
    time: Option<Duration>,
    streaming: bool,
    phases: Phases,
    lease: Option<Lease>,
) -> Status {
    let deadline = time.and_then(|time| Instant::now().checked_add(time));
    let expired = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let stopped = async {
        if streaming { phases.draining.cancelled().await } else { phases.aborted.cancelled().await }
    };
    let revoked = async {
        match lease {
            Some(lease) => lease.ended().await,
            None => std::future::pending().await,
        }
    };
    let failure = tokio::select! {
        biased;
        () = expired => Failure::new(
            Code::DeadlineExceeded,
            "DEADLINE_EXCEEDED",
            "the call took longer than its deadline allows",
        ),
        () = stopped => Failure::new(
            Code::Unavailable,
            "SHUTTING_DOWN",
            "the server is shutting down; call again",
        ),
        failure = revoked => failure,
    };
    failure.into()
}

/// `grpc-timeout` as the gRPC protocol defines it; a malformed one counts as none.
pub(super) fn requested_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT_HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > TIMEOUT_DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value.saturating_mul(3600)),
        "M" => Duration::from_secs(value.saturating_mul(60)),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// A response body that ends when its call has to.
struct Mortal {
    body: Body,
    state: State,
}

enum State {
    Alive(End),
    /// The end has come. One frame that is ready may still go out: the health service's
    /// NOT_SERVING, say.
    Ending {
        status: Status,
        last_word: bool,
    },
    Ended,
}

impl http_body::Body for Mortal {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let State::Alive(end) = &mut self.state
            && let Poll::Ready(status) = end.as_mut().poll(context)
        {
            self.state = State::Ending { status, last_word: true };
        }
        let this = &mut *self;
        match &mut this.state {
            State::Alive(_) => Pin::new(&mut this.body).poll_frame(context),
            State::Ending { status, last_word } => {
                if std::mem::take(last_word)
                    && let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context)
                {
                    return Poll::Ready(frame);
                }
                let frame = trailers(status);
                this.state = State::Ended;
                Poll::Ready(Some(frame))
            }
            State::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended) || self.body.is_end_stream()
    }
}

fn trailers(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers)?;
    Ok(Frame::trailers(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(value: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(TIMEOUT_HEADER, value.parse().expect("a header value"));
        requested_timeout(&headers)
    }

    #[test]
    fn timeouts_as_in_the_grpc_protocol() {
        assert_eq!(timeout("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(timeout("3M"), Some(Duration::from_secs(180)));
        assert_eq!(timeout("1S"), Some(Duration::from_secs(1)));
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(timeout("0n"), Some(Duration::ZERO));
        for malformed in ["", "S", "5", "5s", "-1S", "+1S", "100000000S", "1 S"] {
            assert_eq!(timeout(malformed), None, "{malformed:?}");
        }
    }
}
