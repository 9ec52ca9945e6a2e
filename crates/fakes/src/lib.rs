//! What the tests' fake services are made of: servers of the services in `proto/` of which a fake
//! writes only the methods that it serves; the others answer UNIMPLEMENTED.
//!
//! For tests and benchmarks alone: a real service writes every method, or it does not compile.

#[allow(missing_debug_implementations, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/services.rs"));
}

pub use generated::pentad::{chain, peer, wallet};
