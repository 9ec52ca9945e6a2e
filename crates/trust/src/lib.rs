//! Who somebody is, and what that allows: certificates, roles, tokens.
//!
//! - [`Right`]: what a method asks for. [`Role`]: who a certificate says that somebody is, and
//!   [the methods](Role::may_call) that it may call.
//! - [`TlsFiles`] and [`TokenFile`]: files of PEM and TOML, [`Watched`] for changes.
//! - [`Authority`]: makes certificates.
//! - [`HandshakeError`]: why two do not come together.
//!
//! Invariant: a file that cannot be used never replaces one that could.
//! Invariant: a token is nowhere but with its holder; here is only its hash.

mod authority;
mod certificate;
mod error;
mod handshake;
mod right;
mod role;
mod tls;
mod token;
mod watched;

pub use authority::{Authority, Issued, Order};
pub use certificate::{Certificate, Identity};
pub use error::TrustError;
pub use handshake::HandshakeError;
pub use right::{Right, Rights};
pub use role::{Role, UnknownRole};
pub use tls::{Material, Tls, TlsFiles};
pub use token::{NewToken, Standing, TokenEntry, TokenFile, Tokens};
pub use tokio_rustls::rustls;
pub use watched::{Refresh, Source, Watched};
