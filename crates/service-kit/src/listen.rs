//! Where a service listens, and what may go wrong with it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use tokio::net::TcpListener;

/// The metrics page listens this far above the gRPC port.
const METRICS_PORT_OFFSET: u16 = 1000;
/// How long calls in flight may finish after a stop signal: orchestrators kill at 30 s.
const DRAIN_MS_DEFAULT: u64 = 10_000;

/// Section `[server]` of every service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// gRPC address; loopback at the service's own port if left out.
    pub grpc: Option<SocketAddr>,
    /// Address of the metrics page; the gRPC address 1000 ports up if left out.
    pub metrics: Option<SocketAddr>,
    /// Allows addresses beyond loopback without TLS: anybody on the way can read the credential and
    /// use it.
    pub insecure_listen: bool,
    /// Serves gRPC reflection; switch it off in production.
    pub reflection: bool,
    /// Credential of local clients; `cookie` in the data directory if left out.
    pub cookie_file: Option<PathBuf>,
    /// Milliseconds that calls in flight get to finish after a stop signal.
    pub drain_ms_max: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            grpc: None,
            metrics: None,
            insecure_listen: false,
            reflection: true,
            cookie_file: None,
            drain_ms_max: DRAIN_MS_DEFAULT,
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
         TLS, so anybody on the way could read the credential; use a loopback address, or set \
         server.insecure_listen = true to accept that"
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
    /// Fills in what was left out; `grpc_port` is the service's own.
    ///
    /// # Errors
    /// When an address is beyond loopback and `insecure_listen` is off, or when there is no room
    /// for the metrics port.
    pub fn addresses(&self, grpc_port: u16) -> Result<Addresses, ListenError> {
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), grpc_port);
        let grpc = self.grpc.unwrap_or(loopback);
        let metrics = match (self.metrics, grpc.port()) {
            (Some(metrics), _) => metrics,
            // Any free port, for tests.
            (None, 0) => grpc,
            (None, port) => {
                let above = port.checked_add(METRICS_PORT_OFFSET);
                let above = above.ok_or(ListenError::MetricsPort { port })?;
                SocketAddr::new(grpc.ip(), above)
            }
        };
        for (address, field) in [(grpc, "server.grpc"), (metrics, "server.metrics")] {
            if !address.ip().is_loopback() && !self.insecure_listen {
                return Err(ListenError::Insecure { address, field });
            }
        }
        Ok(Addresses { grpc, metrics })
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
        let addresses = ServerConfig::default().addresses(9992).expect("valid");
        assert_eq!(addresses.grpc.to_string(), "127.0.0.1:9992");
        assert_eq!(addresses.metrics.to_string(), "127.0.0.1:10992");
    }

    #[test]
    fn beyond_loopback_only_on_request() {
        let error = config("0.0.0.0:9992").addresses(1).expect_err("refused");
        assert!(error.to_string().contains("insecure_listen"), "{error}");
        let bold = ServerConfig { insecure_listen: true, ..config("0.0.0.0:9992") };
        assert_eq!(bold.addresses(1).expect("allowed").metrics.to_string(), "0.0.0.0:10992");
    }

    #[test]
    fn no_room_for_the_metrics_port() {
        let error = config("127.0.0.1:65000").addresses(1).expect_err("refused");
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
