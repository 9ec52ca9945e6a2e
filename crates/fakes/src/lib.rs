//! What the tests' fake services are made of: servers of the services in `proto/` of which a fake
//! writes only the methods that it serves; the others answer UNIMPLEMENTED.
//!
//! For tests and benchmarks alone: a real service writes every method, or it does not compile.

use futures_util::stream::unfold;
use tokio::sync::watch;
use tonic::codegen::BoxStream;

#[allow(missing_debug_implementations, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/services.rs"));
}

pub use generated::pentad::{chain, peer, wallet};

/// A stream of what `next` finds; where it finds nothing, it is asked again at the next change.
pub fn follow<T: Send + 'static>(
    changes: watch::Receiver<()>,
    next: impl FnMut() -> Option<T> + Send + 'static,
) -> BoxStream<T> {
    Box::pin(unfold((changes, next), |(mut changes, mut next)| async move {
        loop {
            if let Some(found) = next() {
                return Some((Ok(found), (changes, next)));
            }
            changes.changed().await.ok()?;
        }
    }))
}
