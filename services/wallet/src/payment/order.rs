//! A payment as it was asked for, checked.

use pentad_api::wallet::v1::{Payment, SendRequest, send_request::From};
use pentad_crypto::script::data_script;
use pentad_crypto::{Address, KeyHash, sha256d};
use pentad_primitives::{Amount, TxOut};

use super::select::{Selection, Target};
use super::size::{fee, output_bytes, transaction_bytes};
use crate::audit::paid_to_others;
use crate::chain::Network;
use crate::error::WalletError;
use crate::labels::check as check_label;
use pentad_keystore::audit::Paid;
use pentad_keystore::{Wallet, WalletName};

/// Most payments in one transaction: their outputs take a third of its size.
pub const PAYMENTS_MAX: usize = 1000;
/// Longest idempotency key, in characters.
const KEY_CHARS_MAX: usize = 128;
/// Highest fee rate: one coin for 1000 bytes can only be a mistake.
const FEE_RATE_MAX: u64 = Amount::COIN.units();
/// What spending an output may cost, units per 1000 bytes: an output worth less is dust.
const DUST_FEE_RATE: u64 = 3000;
/// Bytes of the input that spends a pay-to-public-key-hash output.
const SPENDING_BYTES: u64 = super::size::INPUT_BYTES;
/// Longest transaction that the network takes.
pub(super) const TRANSACTION_BYTES_MAX: u64 = 100_000;
/// Change of fewer units is left to the miner; it is pay-to-public-key-hash.
pub(super) const CHANGE_DUST: u64 = dust(super::size::CHANGE_BYTES);

/// Replacement is asked for, relative lock times are not (BIP125, BIP68).
pub(crate) const SEQUENCE_REPLACEABLE: u32 = u32::MAX - 2;

/// Whose coins pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Those of one address, which also gets the change.
    Address(KeyHash),
    /// All of a wallet; change goes to its change chain.
    Wallet(WalletName),
}

/// A payment that is well formed on this network.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) source: Source,
    pub(crate) outputs: Vec<TxOut>,
    /// Units per 1000 bytes.
    pub(crate) fee_rate: u64,
    pub(crate) idempotency_key: Option<String>,
    /// Only say what would be paid.
    pub(crate) dry_run: bool,
    /// The fee comes out of the first output.
    pub(crate) subtract_fee: bool,
    pub(crate) lock_time: u32,
    /// Of every input: whether lock time and replacement count.
    pub(crate) sequence: u32,
    /// Our own unconfirmed change stays out.
    pub(crate) confirmed_only: bool,
    /// Nothing is to be signed, whatever the wallet.
    pub(crate) is_unsigned: bool,
    /// Bytes of each input, once it is signed.
    pub(crate) input_bytes: u64,
    /// The approval that it has; empty: none.
    pub(crate) approval: String,
    /// What to call the payment; empty: nothing.
    pub(crate) label: String,
    /// As it came.
    pub(crate) request: SendRequest,
    /// Of what was asked for, so that one key cannot stand for two payments.
    pub(crate) fingerprint: [u8; 32],
}

impl Order {
    /// Checks a request; `default_fee_rate` is for those that name none.
    pub(crate) fn check(
        request: SendRequest,
        network: &Network,
        default_fee_rate: u64,
    ) -> Result<Self, WalletError> {
        let fingerprint = fingerprint(&request);
        let sequence = sequence(&request);
        let kept = request.clone();
        let SendRequest {
            from,
            payments,
            fee_rate,
            idempotency_key,
            dry_run,
            data,
            lock_time,
            subtract_fee,
            replaceable: _,
            label,
        } = request;
        check_label(&label)?;
        let source = match from.ok_or(WalletError::NoSource)? {
            From::Address(text) => match decode(&text, "address", network)? {
                Address::P2pkh(key_hash) => Source::Address(key_hash),
                Address::P2sh(_) => return Err(WalletError::NotOurs(text)),
            },
            From::Wallet(name) => Source::Wallet(name.parse()?),
        };
        if !(1..=PAYMENTS_MAX).contains(&payments.len()) {
            return Err(WalletError::Payments(payments.len()));
        }
        let mut outputs = (0_usize..)
            .zip(payments)
            .map(|(index, payment)| output(index, &payment, network))
            .collect::<Result<Vec<_>, _>>()?;
        outputs.extend(data_output(&data)?);
        Amount::sum(outputs.iter().map(|output| output.amount))
            .map_err(|_| WalletError::TooMuch { field: "payments".to_owned() })?;
        Ok(Self {
            source,
            outputs,
            fee_rate: check_fee_rate(fee_rate, network, default_fee_rate)?,
            idempotency_key: check_key(idempotency_key)?,
            dry_run,
            subtract_fee,
            lock_time,
            sequence,
            confirmed_only: false,
            is_unsigned: false,
            input_bytes: SPENDING_BYTES,
            approval: String::new(),
            label,
            request: kept,
            fingerprint,
        })
    }

    /// What coins have to cover.
    pub(crate) fn target(&self) -> Target {
        Target {
            amount: self.outputs.iter().map(|output| output.amount.units()).sum(),
            outputs: self.outputs.len(),
            output_bytes: self
                .outputs
                .iter()
                .map(|output| output_bytes(output.script_pubkey.len()))
                .sum(),
            // Longer inputs count as dearer ones: see `refund`.
            fee_rate: (self.fee_rate * self.input_bytes).div_ceil(SPENDING_BYTES),
            dust: CHANGE_DUST,
            bytes_max: TRANSACTION_BYTES_MAX * SPENDING_BYTES / self.input_bytes,
            subtract_fee: self.subtract_fee,
        }
    }

    /// Gives back to the change what longer inputs made the rest of the transaction pay too much.
    pub(crate) fn refund(&self, mut selection: Selection) -> Selection {
        let outputs = self.outputs.iter().map(|output| output_bytes(output.script_pubkey.len()));
        let bytes = transaction_bytes(
            selection.coins.len(),
            self.outputs.len() + 1,
            outputs.sum::<u64>() + super::size::CHANGE_BYTES,
        ) + (self.input_bytes - SPENDING_BYTES) * selection.coins.len() as u64;
        let due = fee(bytes, self.fee_rate);
        if let Some(change) = selection.change.as_mut().filter(|_| due < selection.fee) {
            *change += selection.fee - due;
            selection.fee = due;
        }
        selection
    }

    /// What it pays to others than the wallet itself.
    pub(crate) fn paid_to_others(&self, wallet: &Wallet, network: &Network) -> Vec<Paid> {
        paid_to_others(&self.outputs, wallet, &network.versions)
    }

    /// The outputs, `deducted` units taken from the first one.
    pub(crate) fn outputs_less(&self, deducted: u64) -> Result<Vec<TxOut>, WalletError> {
        let mut outputs = self.outputs.clone();
        if let Some(first) = outputs.first_mut().filter(|_| deducted > 0) {
            let units = first.amount.units().saturating_sub(deducted);
            let amount = Amount::from_units(units).expect("a part of an amount");
            let least = Amount::from_units(dust(output_bytes(first.script_pubkey.len())))
                .expect("dust is far below what there can ever be");
            if amount < least {
                let field = "payments[0].amount".to_owned();
                return Err(WalletError::Dust { field, amount, least });
            }
            first.amount = amount;
        }
        Ok(outputs)
    }
}

/// BIP125 asks for a sequence below the last two; a lock time needs one below the last.
fn sequence(request: &SendRequest) -> u32 {
    match (request.replaceable, request.lock_time) {
        (true, _) => SEQUENCE_REPLACEABLE,
        (false, 0) => u32::MAX,
        (false, _) => u32::MAX - 1,
    }
}

fn data_output(data: &[u8]) -> Result<Option<TxOut>, WalletError> {
    if data.is_empty() {
        return Ok(None);
    }
    let script_pubkey = data_script(data).ok_or(WalletError::Data { found: data.len() })?;
    Ok(Some(TxOut { amount: Amount::ZERO, script_pubkey }))
}

fn output(index: usize, payment: &Payment, network: &Network) -> Result<TxOut, WalletError> {
    let field = |name: &str| format!("payments[{index}].{name}");
    let address = decode(&payment.address, &field("address"), network)?;
    let amount = Amount::from_units(payment.amount)
        .map_err(|_| WalletError::TooMuch { field: field("amount") })?;
    let script_pubkey = address.script_pubkey();
    let least = Amount::from_units(dust(output_bytes(script_pubkey.len())))
        .expect("dust is far below what there can ever be");
    if amount == Amount::ZERO {
        return Err(WalletError::Zero { field: field("amount") });
    }
    if amount < least {
        return Err(WalletError::Dust { field: field("amount"), amount, least });
    }
    Ok(TxOut { amount, script_pubkey })
}

fn decode(text: &str, field: &str, network: &Network) -> Result<Address, WalletError> {
    Address::decode(text, &network.versions)
        .map_err(|problem| WalletError::Address { field: field.to_owned(), problem })
}

/// The least amount worth spending of an output of so many bytes.
const fn dust(output_bytes: u64) -> u64 {
    fee(output_bytes + SPENDING_BYTES, DUST_FEE_RATE)
}

pub(crate) fn check_fee_rate(
    asked: Option<u64>,
    network: &Network,
    default: u64,
) -> Result<u64, WalletError> {
    let (least, most) = (network.min_fee_rate, FEE_RATE_MAX.max(network.min_fee_rate));
    match asked {
        None => Ok(default.clamp(least, most)),
        Some(rate) if (least..=most).contains(&rate) => Ok(rate),
        Some(asked) => Err(WalletError::FeeRate { asked, least, most }),
    }
}

pub(crate) fn check_key(key: String) -> Result<Option<String>, WalletError> {
    if key.is_empty() {
        return Ok(None);
    }
    if key.chars().count() > KEY_CHARS_MAX || key.chars().any(char::is_control) {
        return Err(WalletError::IdempotencyKey);
    }
    Ok(Some(key))
}

/// sha256d over source, payments and fee rate as they were asked for: texts after their length
/// (u64), numbers little-endian. What was left out adds nothing.
fn fingerprint(request: &SendRequest) -> [u8; 32] {
    let mut bytes = Vec::new();
    let (kind, source) = match &request.from {
        None => (0, ""),
        Some(From::Address(address)) => (1, address.as_str()),
        Some(From::Wallet(wallet)) => (2, wallet.as_str()),
    };
    bytes.push(kind);
    put(&mut bytes, source);
    for Payment { address, amount } in &request.payments {
        put(&mut bytes, address);
        bytes.extend_from_slice(&amount.to_le_bytes());
    }
    bytes.push(u8::from(request.fee_rate.is_some()));
    bytes.extend_from_slice(&request.fee_rate.unwrap_or(0).to_le_bytes());
    let flags = [(1, request.subtract_fee), (2, request.replaceable)];
    bytes.extend(flags.into_iter().filter(|(_, is_set)| *is_set).map(|(number, _)| number));
    if request.lock_time != 0 {
        bytes.push(3);
        bytes.extend_from_slice(&request.lock_time.to_le_bytes());
    }
    if !request.data.is_empty() {
        bytes.push(4);
        put(&mut bytes, &request.data);
    }
    sha256d(&bytes).to_bytes()
}

fn put(bytes: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    let text = text.as_ref();
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dust_of_a_key_hash_output_is_546() {
        assert_eq!(dust(34), 546);
        assert_eq!(dust(32), 540);
    }

    #[test]
    fn fee_rates_have_bounds() {
        let network = Network {
            versions: pentad_crypto::AddressVersions::default(),
            maturity: 1,
            min_fee_rate: 1000,
            replacement_fee_rate: 1000,
        };
        assert_eq!(check_fee_rate(None, &network, 1).expect("clamped"), 1000);
        assert_eq!(check_fee_rate(Some(1000), &network, 1).expect("in range"), 1000);
        assert!(check_fee_rate(Some(999), &network, 1).is_err());
        assert!(check_fee_rate(Some(FEE_RATE_MAX + 1), &network, 1).is_err());
    }

    #[test]
    fn fingerprints_tell_orders_apart() {
        let payment = |address: &str, amount| Payment { address: address.to_owned(), amount };
        let base = SendRequest {
            from: Some(From::Wallet("a".to_owned())),
            payments: vec![payment("x", 1)],
            fee_rate: None,
            idempotency_key: "k".to_owned(),
            ..SendRequest::default()
        };
        let retry = SendRequest { idempotency_key: String::new(), ..base.clone() };
        assert_eq!(fingerprint(&base), fingerprint(&retry));
        assert_eq!(
            hex::encode(fingerprint(&base)),
            "637c03b9571208f5eab8ea3ee707936fbaa25cbbe70650833e39f48c06f04b90",
            "retries of requests that a version before this one wrote down"
        );
        for other in [
            SendRequest { subtract_fee: true, ..base.clone() },
            SendRequest { replaceable: true, ..base.clone() },
            SendRequest { lock_time: 1, ..base.clone() },
            SendRequest { data: vec![1].into(), ..base.clone() },
            SendRequest { from: Some(From::Address("a".to_owned())), ..base.clone() },
            SendRequest { payments: vec![payment("x", 2)], ..base.clone() },
            SendRequest { payments: vec![payment("x", 1), payment("x", 1)], ..base.clone() },
            SendRequest { fee_rate: Some(0), ..base.clone() },
        ] {
            assert_ne!(fingerprint(&base), fingerprint(&other), "{other:?}");
        }
    }
}
