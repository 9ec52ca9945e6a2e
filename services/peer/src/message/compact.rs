//! Compact blocks as messages.

use bytes::Bytes;
use pentad_api::encoding::decode;
use pentad_api::wire::v1 as proto;
use pentad_primitives::{BlockHash, BlockHeader};
use pentad_wire::Kind;
use pentad_wire::compact::{CompactBlock, MISSING_MAX, SHORT_ID_LEN, ShortId, TRANSACTIONS_MAX};

use super::{Malformed, Message, at_most, check_certificate, hash};

pub(super) fn to_message(block: &CompactBlock) -> proto::CompactBlock {
    let short_ids: Vec<u8> = block.short_ids.iter().flat_map(|id| id.to_bytes()).collect();
    proto::CompactBlock {
        header: Bytes::copy_from_slice(&block.header),
        nonce: block.nonce,
        coinbase: block.coinbase.clone(),
        short_ids: short_ids.into(),
        certificate: block.certificate.clone(),
    }
}

/// One of the messages around compact blocks.
pub(super) fn from_payload(kind: Kind, payload: Bytes) -> Result<Message, Malformed> {
    let encoding = |source| Malformed::Encoding { kind, source };
    match kind {
        Kind::GetBlockTransactions => {
            let message: proto::GetBlockTransactions = decode(payload).map_err(encoding)?;
            at_most(kind, message.places.len(), MISSING_MAX)?;
            let hash = BlockHash::from_bytes(hash(kind, "hash", &message.hash)?);
            Ok(Message::GetBlockTransactions { hash, places: message.places })
        }
        Kind::BlockTransactions => {
            let message: proto::BlockTransactions = decode(payload).map_err(encoding)?;
            at_most(kind, message.transactions.len(), MISSING_MAX)?;
            let hash = BlockHash::from_bytes(hash(kind, "hash", &message.hash)?);
            Ok(Message::BlockTransactions { hash, transactions: message.transactions })
        }
        _ => from_message(decode(payload).map_err(encoding)?).map(Message::CompactBlock),
    }
}

fn from_message(message: proto::CompactBlock) -> Result<CompactBlock, Malformed> {
    let kind = Kind::CompactBlock;
    let length = message.header.len();
    let header: [u8; BlockHeader::LEN] = message.header[..]
        .try_into()
        .map_err(|_| Malformed::Length { kind, field: "header", length })?;
    check_certificate(kind, &message.certificate)?;
    let (ids, rest) = message.short_ids.as_chunks::<SHORT_ID_LEN>();
    if !rest.is_empty() || ids.is_empty() || ids.len() > TRANSACTIONS_MAX {
        let length = message.short_ids.len();
        return Err(Malformed::Length { kind, field: "short_ids", length });
    }
    Ok(CompactBlock {
        header,
        nonce: message.nonce,
        coinbase: message.coinbase,
        short_ids: ids.iter().map(|id| ShortId::from_bytes(*id)).collect(),
        certificate: message.certificate,
    })
}
