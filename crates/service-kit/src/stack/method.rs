use std::fmt;
use std::sync::Arc;

use http::Request;
use pentad_api::{Right, rights};
use tonic::body::Body;

/// What the layers know of a method before they look at the call. It stands in the extensions of
/// the request, where there is a declared right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// What its caller must hold.
    pub right: Right,
    /// Whether requests or responses are streams: such calls live as long as their caller wants.
    pub streaming: bool,
}

type Lookup = dyn Fn(&str) -> Option<Method> + Send + Sync;

/// The methods that may be called at all, by path (`/package.Service/Method`).
#[derive(Clone)]
pub struct MethodTable(Arc<Lookup>);

impl MethodTable {
    /// A table of one's own; [`MethodTable::declared`] is the one of the protos.
    pub fn new(lookup: impl Fn(&str) -> Option<Method> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    /// The rights that the protos declare; reflection and admin methods only if they are on.
    #[must_use]
    pub fn declared(reflection: bool, admin: bool) -> Self {
        Self::new(move |path| {
            if !reflection && path.starts_with("/grpc.reflection.") {
                return None;
            }
            let right = rights::required(path).filter(|right| admin || *right != Right::Admin)?;
            Some(Method { right, streaming: rights::is_streaming(path) })
        })
    }

    /// The method at `path`, if it declares a right.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Method> {
        (self.0)(path)
    }

    /// Notes the method in the request; whatever a caller in this process noted there goes.
    pub(super) fn resolve(&self, mut request: Request<Body>) -> Request<Body> {
        request.extensions_mut().remove::<Method>();
        if let Some(method) = self.get(request.uri().path()) {
            request.extensions_mut().insert(method);
        }
        request
    }
}

impl fmt::Debug for MethodTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodTable").finish_non_exhaustive()
    }
}
