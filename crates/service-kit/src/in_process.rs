//! Services of one process, wired straight to each other.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use pentad_api::{Connection, ConnectionError, Failure};
use tonic::Code;
use tonic::body::Body;
use tower::Service;

use crate::server::{BuildError, Server};
use crate::stack::{Gate, Phases, Stack};
use crate::telemetry::propagation;

/// Connections to services that need not exist yet: services that call each other get their
/// connections first and are bound afterwards. Until then, and after the end, calls are
/// UNAVAILABLE.
///
/// A call passes the same layers as over TCP, at microseconds instead of hundreds.
///
/// ```no_run
/// # use pentad_service_kit::{Gate, InProcess, Server};
/// # fn wire(gate: &Gate, server: &Server) -> Result<(), Box<dyn std::error::Error>> {
/// let in_process = InProcess::default();
/// let chain = in_process.connection(gate)?; // for the wallet's client
/// // … build wallet and chain, add both to `server` …
/// let binding = in_process.bind(server)?;
/// // … serve; dropping the binding ends the in-process streams …
/// # drop((chain, binding)); Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct InProcess {
    stack: Arc<RwLock<Option<Stack>>>,
}

impl InProcess {
    /// A connection with the credential of this process.
    ///
    /// # Errors
    /// When no header can carry the credential.
    pub fn connection(&self, gate: &Gate) -> Result<Connection, ConnectionError> {
        Connection::in_process(self.clone())
            .with_header_hook(propagation::inject)
            .with_credential(gate.cookie().reveal())
    }

    /// Puts the services of `server` behind the connections.
    ///
    /// # Errors
    /// When the services cannot be put together.
    pub fn bind(&self, server: &Server) -> Result<Binding, BuildError> {
        let phases = Phases::default();
        self.set(Some(server.stack(phases.clone())?));
        Ok(Binding { in_process: self.clone(), phases })
    }

    fn set(&self, stack: Option<Stack>) {
        let before = {
            let mut slot = self.stack.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *slot, stack)
        };
        // Outside the lock: the last drop of a service may do anything.
        drop(before);
    }

    fn bound(&self) -> Option<Stack> {
        self.stack.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Keeps the services reachable. Dropped, it ends the calls in flight and breaks the circle of
/// services that hold connections to each other, so that they are dropped too.
#[derive(Debug)]
#[must_use = "the services are unreachable once the binding is dropped"]
pub struct Binding {
    in_process: InProcess,
    phases: Phases,
}

impl Drop for Binding {
    fn drop(&mut self) {
        self.phases.draining.cancel();
        self.phases.aborted.cancel();
        self.in_process.set(None);
    }
}

impl Service<Request<Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        <Stack as Service<Request<Body>>>::Future,
        std::future::Ready<Result<Response<Body>, Infallible>>,
    >;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The stack's layers are always ready: they refuse instead of making callers wait.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.bound() {
            Some(mut stack) => Either::Left(stack.call(request)),
            None => {
                let status: tonic::Status = Failure::new(
                    Code::Unavailable,
                    "NOT_BOUND",
                    "the service of this process is starting or shutting down",
                )
                .into();
                Either::Right(ready(Ok(status.into_http())))
            }
        }
    }
}
