//! Another service, by address.

use std::path::PathBuf;
use std::sync::OnceLock;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use pentad_api::{Connection, ConnectionError};
use pentad_trust::Tls;
use serde::Deserialize;

use crate::cookie::Cookie;
use crate::telemetry::propagation;

/// A section such as `[chain]` of a service that calls another one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// `http://host:port`, or `https://host:port` for TLS, where the certificate of `[tls]` is
    /// shown. Left out: loopback at the other service's own port, with TLS where `[tls]` names an
    /// authority.
    pub address: Option<String>,
    /// The other service's cookie file; no cookie is sent if left out.
    pub cookie_file: Option<PathBuf>,
}

impl Upstream {
    /// Connects at the first call; `grpc_port` is the other service's own. Traces go with every
    /// call. The cookie is read when it is first needed, so services may start in any order.
    ///
    /// # Errors
    /// When the address is malformed, or asks for TLS and there is no authority.
    pub fn connect(
        &self,
        grpc_port: u16,
        tls: Option<&Tls>,
    ) -> Result<Connection, ConnectionError> {
        let scheme = match tls.is_some_and(|tls| tls.current().client.is_some()) {
            true => "https",
            false => "http",
        };
        let local = || format!("{scheme}://127.0.0.1:{grpc_port}");
        let connection = Connection::open(&self.address.clone().unwrap_or_else(local), tls)?;
        let cookie_file = self.cookie_file.clone();
        let credential = OnceLock::new();
        Ok(connection.with_header_hook(move |headers: &mut HeaderMap| {
            propagation::inject(headers);
            let Some(path) = &cookie_file else { return };
            if credential.get().is_none() {
                match Cookie::load(path) {
                    Ok(cookie) => {
                        credential.get_or_init(|| bearer(&cookie));
                    }
                    Err(error) => tracing::warn!(%error, "calling without a credential"),
                }
            }
            if let Some(value) = credential.get() {
                headers.insert(AUTHORIZATION, value.clone());
            }
        }))
    }
}

fn bearer(cookie: &Cookie) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", cookie.reveal()))
        .expect("a cookie is hex digits");
    value.set_sensitive(true);
    value
}
