//! What every call passes before it reaches a service, over TCP and in process alike.
//!
//! ```text
//! resolve    which method is it, what right does it need, does it stream
//! observe    a span that continues the caller's trace; metrics; panics end the call alone
//! rights     does the caller hold the right; who is refused too often is told when to come again
//! admission  is there room, and does the caller leave some to others, else RESOURCE_EXHAUSTED at
//!            once
//! lifetime   deadline, the end of the server, and of a stream's credential
//! routes     the services
//! ```

mod admission;
mod lease;
mod lifetime;
mod method;
mod observe;
mod origin;
mod quota;
mod refused;
mod rights;

use std::convert::Infallible;
use std::fmt;
use std::task::{Context, Poll};

use http::{Request, Response};
use pentad_api::Connection;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::util::{BoxCloneSyncService, MapRequestLayer};
use tower::{Service, ServiceBuilder};

use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::telemetry::propagation;

pub use lifetime::Phases;
pub use method::{Method, MethodTable};
pub use origin::{ClientCertificate, Origin};
pub(crate) use quota::{Bucket, Rate};
pub use rights::{Caller, Gate};

type Inner = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Services behind all layers: a tower service, served over TCP by
/// [`Server`](crate::Server) or called in process through [`Stack::connection`].
#[derive(Clone)]
pub struct Stack {
    inner: Inner,
    origin: Origin,
}

impl Stack {
    pub(crate) fn new(
        routes: Routes,
        methods: MethodTable,
        gate: Gate,
        metrics: &Metrics,
        limits: &Limits,
        phases: Phases,
    ) -> Self {
        let service = ServiceBuilder::new()
            .layer(MapRequestLayer::new(move |request| methods.resolve(request)))
            .layer(observe::ObserveLayer::new(metrics.rpc.clone()))
            .layer(rights::RightsLayer::new(gate, limits))
            .layer(admission::AdmissionLayer::new(limits))
            .layer(lifetime::LifetimeLayer::new(limits.unary_time_max, phases))
            .service(routes.prepare());
        Self { inner: BoxCloneSyncService::new(service), origin: Origin::InProcess }
    }

    /// The same stack for calls that come from elsewhere.
    pub(crate) fn for_calls_from(&self, origin: Origin) -> Self {
        Self { inner: self.inner.clone(), origin }
    }

    /// A connection for generated clients that calls this stack directly and passes the trace on.
    /// It carries no credential yet: see [`Connection::with_credential`].
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection::in_process(self.clone()).with_header_hook(propagation::inject)
    }
}

impl Service<Request<Body>> for Stack {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <Inner as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // Whatever a caller in this process noted there goes.
        request.extensions_mut().insert(self.origin.clone());
        self.inner.call(request)
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").finish_non_exhaustive()
    }
}

/// A call that ends before it reached its service.
fn refusal(status: impl Into<Status>) -> Response<Body> {
    status.into().into_http()
}
