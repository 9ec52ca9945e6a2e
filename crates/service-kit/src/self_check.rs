//! A service is asked for its health by its own binary: a container without a shell has nothing
//! else that could ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use pentad_api::{Connection, ConnectionError};
use pentad_trust::Tls;
use thiserror::Error;
use tokio::time::timeout;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// A service on loopback answers in milliseconds; orchestrators give such a check a few seconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// What a service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Question {
    /// Whether it serves, with all that it depends on
    Serving,
    /// Whether it answers, whatever its health is: one that does not is restarted
    Answering,
}

/// Why the answer is no.
#[derive(Debug, Error)]
pub(crate) enum No {
    /// The address cannot be called.
    #[error(transparent)]
    Address(#[from] ConnectionError),
    /// The call failed.
    #[error("no answer from {address}: {}: {}", status.code(), status.message())]
    Failed {
        /// Where.
        address: SocketAddr,
        /// How.
        status: Box<Status>,
    },
    /// Nothing came back.
    #[error("no answer from {address} within {ANSWER_TIME_MAX:?}")]
    Late {
        /// Where.
        address: SocketAddr,
    },
    /// It says so itself.
    #[error("{address} is not serving: something that it depends on is away, or it is draining")]
    NotServing {
        /// Where.
        address: SocketAddr,
    },
}

/// Asks the service that listens on `listener`, all its services together; over TLS where it has a
/// certificate, which then has to name the address that it is asked at.
pub(crate) async fn ask(
    listener: SocketAddr,
    tls: Option<&Tls>,
    question: Question,
) -> Result<(), No> {
    let address = reachable(listener);
    let scheme = match tls.is_some_and(|tls| tls.current().server.is_some()) {
        true => "https",
        false => "http",
    };
    let connection = Connection::open(&format!("{scheme}://{address}"), tls)?;
    let mut client = HealthClient::new(connection);
    let whole = HealthCheckRequest { service: String::new() };
    let answer = timeout(ANSWER_TIME_MAX, client.check(whole)).await;
    let answer = answer.map_err(|_| No::Late { address })?;
    let answer = answer.map_err(|status| No::Failed { address, status: Box::new(status) })?;
    match (question, answer.into_inner().status()) {
        (Question::Answering, _) | (Question::Serving, ServingStatus::Serving) => Ok(()),
        (Question::Serving, _) => Err(No::NotServing { address }),
    }
}

/// Who listens on every address is reached on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        for (listener, asked) in [
            ("0.0.0.0:9992", "127.0.0.1:9992"),
            ("[::]:9992", "[::1]:9992"),
            ("10.0.0.7:9992", "10.0.0.7:9992"),
        ] {
            let address = listener.parse().expect("an address");
            assert_eq!(reachable(address).to_string(), asked);
        }
    }
}
