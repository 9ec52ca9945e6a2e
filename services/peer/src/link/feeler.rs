//! A short connection that only looks whether a node of this network is there.

use std::sync::Arc;

use pentad_wire::handshake::{self, Reason};
use pentad_wire::{Direction, StaticKey};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::counters::Counters;
use super::transport::{self, LinkError};
use super::{End, Local, farewell, first_message, tune};

/// Goes through Noise, reads the other side's handshake and says goodbye in place of an own one: so
/// it takes no slot there. Returns the static key of the node.
pub(crate) async fn feel(local: &Local, stream: TcpStream) -> Result<StaticKey, End> {
    let limit = local.handshake_time_max;
    match timeout(limit, look(local, stream)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(LinkError::HandshakeTimeout(limit).into()),
    }
}

async fn look(local: &Local, stream: TcpStream) -> Result<StaticKey, End> {
    tune(&stream)?;
    let counters = Arc::new(Counters::new(local.totals.clone()));
    let (limit, own) = (local.write_time_max, &local.identity);
    let opening = transport::open(stream, Direction::Outbound, own, limit, counters);
    let (mut reader, writer, key) = opening.await?;
    let (handshake, _) = first_message(&mut reader).await?;
    let ours = (&local.hello, &own.public());
    let checked = handshake::check(ours, (&handshake.hello, &key)).map_err(End::Incompatible);
    farewell(reader, writer, Reason::Feeler, "only a look").await;
    checked.map(|_| key)
}
