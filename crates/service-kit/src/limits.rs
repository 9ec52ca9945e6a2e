//! Every bound of a server, by name.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::stack::Rate;

/// The largest message, in bytes, that a server or client takes or gives: a block of 4 MB with its
/// payloads and certificate, even as hex digits. Set it with [`sized!`](crate::sized).
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Section `[server.limits]` of every service: bounds of one server, none of which is 0. The
/// defaults suit a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Unary calls at once: each may hold a thread of the store or a message in memory.
    #[serde(deserialize_with = "count")]
    pub unary_calls_max: usize,
    /// Streams at once: each holds a task and a bounded buffer.
    #[serde(deserialize_with = "count")]
    pub streams_max: usize,
    /// Calls at once that need no credential (health, reflection). Their own pool, so that
    /// strangers cannot use up the others.
    #[serde(deserialize_with = "count")]
    pub open_calls_max: usize,
    /// Calls that one caller may begin each second, on average. Nobody counts the node's owner.
    #[serde(deserialize_with = "count")]
    pub caller_calls_per_second: u32,
    /// Calls that it may begin at once after a rest.
    #[serde(deserialize_with = "count")]
    pub caller_calls_burst: u32,
    /// Unary calls at once of one caller, so that the others have room.
    #[serde(deserialize_with = "count")]
    pub caller_unary_calls_max: usize,
    /// Streams at once of one caller.
    #[serde(deserialize_with = "count")]
    pub caller_streams_max: usize,
    /// Calls that are refused to one address each second, on average, before it is told to wait
    /// rather than why. A good credential is looked at even so.
    #[serde(deserialize_with = "count")]
    pub refused_calls_per_second: u32,
    /// Calls that may be refused to it at once after a rest: a program that tries every method.
    #[serde(deserialize_with = "count")]
    pub refused_calls_burst: u32,
    /// Callers that are told apart; more of them share one place. Each takes about 100 bytes.
    #[serde(deserialize_with = "count")]
    pub callers_max: usize,
    /// How long a unary call may take when its caller names no deadline, and at most. Streams have
    /// only the deadline that the caller names.
    #[serde(rename = "unary_ms_max", deserialize_with = "milliseconds")]
    pub unary_time_max: Duration,
    /// TCP connections at once.
    #[serde(deserialize_with = "count")]
    pub connections_max: usize,
    /// TCP connections at once from one address, so that one client cannot lock out the others.
    #[serde(deserialize_with = "count")]
    pub connections_per_address_max: usize,
    /// Connections that one address may open each second, on average: a TLS handshake costs a
    /// fraction of a millisecond of CPU.
    #[serde(deserialize_with = "count")]
    pub address_connections_per_second: u32,
    /// Connections that it may open at once after a rest.
    #[serde(deserialize_with = "count")]
    pub address_connections_burst: u32,
    /// How long the TLS handshake of a new connection may take, and then how long it may take to
    /// say that it speaks HTTP/2.
    #[serde(rename = "handshake_ms_max", deserialize_with = "milliseconds")]
    pub handshake_time_max: Duration,
    /// HTTP/2 streams at once in one connection.
    #[serde(deserialize_with = "count")]
    pub connection_streams_max: u32,
    /// Bytes of all headers of one call.
    #[serde(deserialize_with = "count")]
    pub header_bytes_max: u32,
    /// HTTP/2 ping on a silent connection.
    #[serde(rename = "keepalive_interval_ms", deserialize_with = "milliseconds")]
    pub keepalive_interval: Duration,
    /// How long the ping may go unanswered.
    #[serde(rename = "keepalive_timeout_ms", deserialize_with = "milliseconds")]
    pub keepalive_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unary_calls_max: 1024,
            streams_max: 1024,
            open_calls_max: 256,
            caller_calls_per_second: 2000,
            caller_calls_burst: 4000,
            caller_unary_calls_max: 512,
            caller_streams_max: 512,
            refused_calls_per_second: 20,
            refused_calls_burst: 2000,
            callers_max: 4096,
            unary_time_max: Duration::from_secs(60),
            connections_max: 1024,
            connections_per_address_max: 512,
            address_connections_per_second: 200,
            address_connections_burst: 1000,
            handshake_time_max: Duration::from_secs(5),
            connection_streams_max: 256,
            header_bytes_max: 16 * 1024,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

impl Limits {
    pub(crate) const fn caller_rate(&self) -> Rate {
        Rate { per_second: self.caller_calls_per_second, burst: self.caller_calls_burst }
    }

    pub(crate) const fn refusal_rate(&self) -> Rate {
        Rate { per_second: self.refused_calls_per_second, burst: self.refused_calls_burst }
    }

    pub(crate) const fn connection_rate(&self) -> Rate {
        Rate {
            per_second: self.address_connections_per_second,
            burst: self.address_connections_burst,
        }
    }
}

/// At least 1, as 0 would let nobody in, and no more than semaphores and timers take.
fn count<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u32>,
{
    match u32::deserialize(deserializer)? {
        0 => Err(D::Error::custom("a limit is at least 1")),
        count => T::try_from(count).map_err(|_| D::Error::custom("too much for this machine")),
    }
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    count(deserializer).map(Duration::from_millis)
}

/// Sets the message size limits of a generated server or client (tonic's own default is 4 MiB in
/// and no limit out; its types share no trait, hence a macro).
///
/// ```
/// use tonic_health::{pb::health_server::HealthServer, server::{HealthReporter, HealthService}};
/// let health = HealthService::from_health_reporter(HealthReporter::new());
/// let server = pentad_service_kit::sized!(HealthServer::new(health));
/// # drop(server);
/// ```
#[macro_export]
macro_rules! sized {
    ($endpoint:expr) => {
        $endpoint
            .max_decoding_message_size($crate::limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size($crate::limits::MESSAGE_BYTES_MAX)
    };
}
