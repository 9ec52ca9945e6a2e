//! What every service needs, so that its `main` is config → build → spawn → drain.
//!
//! - [`config`]: one struct from file, environment and flags; errors name the place.
//! - [`telemetry`]: logs, OTLP traces, W3C trace context over every hop.
//! - [`Server`]: services behind one [`stack`] of layers (rights, limits, deadlines, spans,
//!   metrics), over TCP or [in process](InProcess).
//! - [`Trust`]: certificates and tokens, read anew when they change.
//! - [`health`]: truth per dependency, and a [`Question`] about it. [`Metrics`] and their page.
//!   [`shutdown`].
//! - [`Backoff`]: growing pauses between attempts to reach another service.
//! - [`run`]: all of it, from `main` to a clean end.
//!
//! Invariant: a method whose proto declares no right is called by nobody.
//! Invariant: a secret is in no log line and in no error message.
//! Invariant: nothing listens beyond loopback without TLS unless the operator says so.
//! Invariant: what cannot be used never replaces a certificate, an authority or tokens in use.

pub mod app;
mod backoff;
mod clock;
pub mod config;
pub mod cookie;
pub mod health;
mod in_process;
pub mod limits;
pub mod listen;
pub mod metrics;
mod self_check;
pub mod server;
pub mod shutdown;
pub mod stack;
mod supervisor;
pub mod telemetry;
pub mod trust;
mod upstream;

pub use app::{App, Service, Settings, run};
pub use backoff::Backoff;
pub use clock::since_1970;
pub use cookie::Cookie;
pub use health::{HealthProbe, Probe};
pub use in_process::{Binding, InProcess};
pub use limits::Limits;
pub use listen::ServerConfig;
pub use metrics::Metrics;
pub use pentad_trust::{Tls, TlsFiles};
pub use self_check::Question;
pub use server::Server;
pub use stack::{Caller, Gate, Origin, Stack};
pub use supervisor::{Supervisor, TaskFailure};
pub use telemetry::TelemetryConfig;
pub use trust::Trust;
pub use upstream::Upstream;
