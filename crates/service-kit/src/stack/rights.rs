//! May this caller call this method? Decided here alone, from the right that the proto declares.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use pentad_api::{Failure, Right};
use tonic::Code;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{Method, refusal};
use crate::cookie::Cookie;

const SCHEME: &str = "Bearer";

/// Knows who holds which rights. Today there is one credential, the cookie, and it holds all.
#[derive(Clone, Debug)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cookie: Cookie,
    cookie_file: PathBuf,
}

impl Gate {
    /// Lets in the holders of `cookie`; `cookie_file` is where a refused caller is sent to look.
    #[must_use]
    pub fn new(cookie: Cookie, cookie_file: &Path) -> Self {
        Self { inner: Arc::new(Inner { cookie, cookie_file: cookie_file.to_owned() }) }
    }

    /// The credential of this process's own clients.
    #[must_use]
    pub fn cookie(&self) -> &Cookie {
        &self.inner.cookie
    }

    fn check(
        &self,
        path: &str,
        method: Option<Method>,
        headers: &HeaderMap,
    ) -> Result<(), Failure> {
        let Some(method) = method else {
            return Err(undeclared(path));
        };
        if method.right == Right::Open {
            return Ok(());
        }
        let Some(header) = headers.get(AUTHORIZATION) else {
            return Err(self.unauthenticated("NO_CREDENTIAL", "the call carries no credential"));
        };
        match bearer(header.as_bytes()) {
            Some(token) if self.inner.cookie.matches(token) => Ok(()),
            _ => Err(self.unauthenticated("WRONG_CREDENTIAL", "the credential is not accepted")),
        }
    }

    fn unauthenticated(&self, reason: &'static str, message: &str) -> Failure {
        Failure::new(Code::Unauthenticated, reason, message).with_hint(format!(
            "send the metadata `authorization: Bearer <line>` with the line of the cookie file {}",
            self.inner.cookie_file.display()
        ))
    }
}

fn undeclared(path: &str) -> Failure {
    Failure::new(
        Code::PermissionDenied,
        "NO_DECLARED_RIGHT",
        format!("{path} declares no right here, so nobody may call it"),
    )
    .with_hint("check the name of the method; reflection may be switched off on this server")
}

/// The token of `Bearer <token>` (RFC 6750; the scheme's case does not matter).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(SCHEME.len())?;
    let token = token.strip_prefix(b" ")?;
    scheme.eq_ignore_ascii_case(SCHEME.as_bytes()).then(|| token.trim_ascii())
}

/// Puts a [`Gate`] in front of a service.
#[derive(Clone, Debug)]
pub(super) struct RightsLayer {
    gate: Gate,
}

impl RightsLayer {
    pub(super) const fn new(gate: Gate) -> Self {
        Self { gate }
    }
}

impl<S> Layer<S> for RightsLayer {
    type Service = Rights<S>;

    fn layer(&self, inner: S) -> Rights<S> {
        Rights { gate: self.gate.clone(), inner }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Rights<S> {
    gate: Gate,
    inner: S,
}

impl<S> Service<Request<Body>> for Rights<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let method = request.extensions().get::<Method>().copied();
        match self.gate.check(request.uri().path(), method, request.headers()) {
            Ok(()) => {
                // Nothing behind this layer needs it, so nothing behind it can leak it.
                request.headers_mut().remove(AUTHORIZATION);
                Either::Left(self.inner.call(request))
            }
            Err(failure) => Either::Right(ready(Ok(refusal(failure)))),
        }
    }
}
