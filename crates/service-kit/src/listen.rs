//! Where a service listens, and what may go wrong with it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use tokio::net::TcpListener;

use crate::limits::Limits;

/// The metrics page listens this far above the gRPC port.
const METRICS_PORT_OFFSET: u16 = 1000;
/// How long calls in flight may finish after a stop signal: orchestrators kill at 30 s.
const DRAIN_MS_DEFAULT: u64 = 10_000;
/// How soon a new certificate, or a token that was revoked, counts: reading a few small files costs
/// nothing.
const RELOAD_MS_DEFAULT: u64 = 5_000;
/// A shorter pause would keep a core busy with reading files.
const RELOAD_MS_MIN: u64 = 10;

/// Section `[server]` of every service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// gRPC address; loopback at the service's own port if left out.
    pub grpc: Option<SocketAddr>,
    /// Address of the metrics page, which is read without a credential and without TLS, has no
    /// secrets and takes no orders. Left out: the gRPC address 1000 ports up, or that port on
    /// loopback where only gRPC, with its TLS, is for others.
    pub metrics: Option<SocketAddr>,
    /// Allows a gRPC address beyond loopback without TLS: anybody on the way can read the
    /// credential and use it.
    pub insecure_listen: bool,
    /// What is on unless it is asked for.
    pub profile: Profile,
    /// Serves gRPC reflection; left out: as the profile says.
    pub reflection: Option<bool>,
    /// Serves methods that ask for the right `admin`; left out: as the profile says.
    pub admin: Option<bool>,
    /// Credential of local clients; `cookie` in the data directory if left out.
    pub cookie_file: Option<PathBuf>,
    /// Tokens that may be shown, by their hashes; none if left out.
    pub tokens_file: Option<PathBuf>,
    /// Milliseconds between two looks at the files of `[tls]` and the tokens, and at the
    /// credentials of open streams.
    pub reload_ms: u64,
    /// Milliseconds that calls in flight get to finish after a stop signal.
    pub drain_ms_max: u64,
    /// How much callers may ask for.
    pub limits: Limits,
}

/// Who a server is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Reflection and admin methods are on.
    #[default]
    Development,
    /// They are off.
    Production,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            grpc: None,
            metrics: None,
            insecure_listen: false,
            profile: Profile::default(),
            reflection: None,
            admin: None,
            cookie_file: None,
            tokens_file: None,
            reload_ms: RELOAD_MS_DEFAULT,
            drain_ms_max: DRAIN_MS_DEFAULT,
            limits: Limits::default(),
        }
    }
}

/// The two addresses of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// gRPC.
    pub grpc: SocketAddr,
    /// The metrics page.
    pub metrics: SocketAddr,
}

/// Why a service cannot listen.
#[derive(Debug, Error)]
pub enum ListenError {
    /// A bare address that others can reach.
    #[error(
        "refusing to listen on {field} address {address}: it is beyond loopback and there is no \
         TLS, so anybody on the way could read the credential; give it a certificate and key \
         (`pentad certs` makes them), use a loopback address, or set server.insecure_listen = true \
         to accept that"
    )]
    Insecure {
        /// The address.
        address: SocketAddr,
        /// The configuration field.
        field: &'static str,
    },
    /// The default metrics port would be above 65535.
    #[error("no metrics port {METRICS_PORT_OFFSET} above gRPC port {port}: set server.metrics")]
    MetricsPort {
        /// The gRPC port.
        port: u16,
    },
    /// Somebody else listens there.
    #[error(
        "{field} address {address} is in use: another process (perhaps this service, started \
         twice) listens there; stop it or set {field} to a free port"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
        /// The configuration field.
        field: &'static str,
    },
    /// The system refused for another reason.
    #[error("cannot listen on {field} address {address}: {source}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// The configuration field.
        field: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl ServerConfig {
    /// Fills in what was left out; `grpc_port` is the service's own, `has_tls` says that gRPC is
    /// served over TLS.
    ///
    /// # Errors
    /// When the gRPC address is beyond loopback without TLS and `insecure_listen` is off, or when
    /// there is no room for the metrics port.
    pub fn addresses(&self, grpc_port: u16, has_tls: bool) -> Result<Addresses, ListenError> {
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), grpc_port);
        let grpc = self.grpc.unwrap_or(loopback);
        let metrics = match (self.metrics, grpc.port()) {
            (Some(metrics), _) => metrics,
            // Any free port, for tests.
            (None, 0) => grpc,
            (None, port) => {
                let above = port.checked_add(METRICS_PORT_OFFSET);
                let above = above.ok_or(ListenError::MetricsPort { port })?;
                let ip = if self.insecure_listen { grpc.ip() } else { loopback.ip() };
                SocketAddr::new(ip, above)
            }
        };
        if !grpc.ip().is_loopback() && !has_tls && !self.insecure_listen {
            return Err(ListenError::Insecure { address: grpc, field: "server.grpc" });
        }
        Ok(Addresses { grpc, metrics })
    }

    /// Whether reflection is served.
    #[must_use]
    pub fn reflection(&self) -> bool {
        self.reflection.unwrap_or(self.profile == Profile::Development)
    }

    /// Whether admin methods are served.
    #[must_use]
    pub fn admin(&self) -> bool {
        self.admin.unwrap_or(self.profile == Profile::Development)
    }

    /// Pause between two looks at files that may change.
    #[must_use]
    pub const fn reload_pause(&self) -> Duration {
        let ms = if self.reload_ms < RELOAD_MS_MIN { RELOAD_MS_MIN } else { self.reload_ms };
        Duration::from_millis(ms)
    }

    /// How long calls in flight may take to finish.
    #[must_use]
    pub const fn drain_time(&self) -> Duration {
        Duration::from_millis(self.drain_ms_max)
    }
}

/// Listens on `address`; `field` is the configuration field to name in an error.
///
/// # Errors
/// When the port is taken or the system refuses.
pub async fn bind(address: SocketAddr, field: &'static str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address, field },
        _ => ListenError::Refused { address, field, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(grpc: &str) -> ServerConfig {
        ServerConfig { grpc: Some(grpc.parse().expect("an address")), ..Default::default() }
    }

    #[test]
    fn defaults_are_loopback_with_metrics_1000_above() {
        let addresses = ServerConfig::default().addresses(9992, false).expect("valid");
        assert_eq!(addresses.grpc.to_string(), "127.0.0.1:9992");
        assert_eq!(addresses.metrics.to_string(), "127.0.0.1:10992");
    }

    #[test]
    fn beyond_loopback_only_on_request() {
        let error = config("0.0.0.0:9992").addresses(1, false).expect_err("refused");
        assert!(error.to_string().contains("insecure_listen"), "{error}");
        let bold = ServerConfig { insecure_listen: true, ..config("0.0.0.0:9992") };
        assert_eq!(bold.addresses(1, false).expect("allowed").metrics.to_string(), "0.0.0.0:10992");
    }

    #[test]
    fn with_tls_grpc_is_for_others_and_the_metrics_page_only_when_it_is_said() {
        let addresses = config("0.0.0.0:9992").addresses(1, true).expect("allowed");
        assert_eq!(addresses.grpc.to_string(), "0.0.0.0:9992");
        assert_eq!(addresses.metrics.to_string(), "127.0.0.1:10992");
        let metrics = "0.0.0.0:1".parse().ok();
        let said = ServerConfig { metrics, ..config("0.0.0.0:9992") };
        assert_eq!(said.addresses(1, true).expect("allowed").metrics.to_string(), "0.0.0.0:1");
    }

    #[test]
    fn production_has_no_reflection_and_no_admin_methods_unless_they_are_asked_for() {
        let switches = |text: &str| {
            let config: ServerConfig = toml::from_str(text).expect("valid");
            (config.reflection(), config.admin())
        };
        assert_eq!(switches(""), (true, true));
        assert_eq!(switches("profile = 'production'"), (false, false));
        assert_eq!(switches("profile = 'production'\nadmin = true"), (false, true));
        assert_eq!(switches("reflection = false"), (false, true));
    }

    #[test]
    fn no_room_for_the_metrics_port() {
        let error = config("127.0.0.1:65000").addresses(1, false).expect_err("refused");
        assert!(error.to_string().contains("server.metrics"), "{error}");
    }

    #[tokio::test]
    async fn port_in_use_names_the_address() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener = bind(any, "server.grpc").await.expect("a free port");
        let taken = listener.local_addr().expect("bound");
        let error = bind(taken, "server.grpc").await.expect_err("taken");
        assert!(matches!(error, ListenError::InUse { .. }));
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
    }
}
