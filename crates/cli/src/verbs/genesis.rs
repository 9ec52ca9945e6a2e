use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pentad_crypto::Address;
use pentad_keystore::{KdfCost, KeystoreError, Passphrase, Unlock};
use pentad_ledger::spec::{Allocation, ChainSpec, Parameters, SpecError, Validator};
use pentad_primitives::Amount;
use serde::Serialize;

use crate::args::GenesisArgs;
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::new_file::NewFile;
use crate::secret_file::{create_directory, passphrase_file};
use crate::table::pairs;

/// The wallet that genesis pays.
pub const GENESIS_WALLET: &str = "genesis";

/// How a network begins.
#[derive(Debug)]
pub struct Beginning<'a> {
    /// Its name.
    pub name: &'a str,
    /// Who gets the first coins.
    pub address: Address,
    /// How many.
    pub amount: Amount,
    /// Who orders the blocks.
    pub order: Order,
}

/// Who orders the blocks of a network.
#[derive(Debug)]
pub enum Order {
    /// Work, at a fixed easy target.
    EasyWork,
    /// Work, at a difficulty that follows the hash rate.
    Work,
    /// These validators.
    Validators(Vec<Validator>),
}

impl Beginning<'_> {
    /// The chain spec, with the present as its genesis time.
    ///
    /// # Errors
    /// When a spec cannot have this name or amount.
    pub fn chain_spec(&self) -> Result<ChainSpec, Fault> {
        let time = now()?;
        let allocations = vec![Allocation { address: self.address, amount: self.amount }];
        let spec = match &self.order {
            Order::Work => Parameters::new(self.name, time, allocations).and_then(ChainSpec::new),
            Order::EasyWork => ChainSpec::development(self.name, time, allocations),
            Order::Validators(validators) => {
                ChainSpec::development_pbft(self.name, time, allocations, validators.clone())
            }
        };
        spec.map_err(|error| match error {
            SpecError::Name => Fault::usage(format!("--name: {error}")),
            SpecError::AllocationZero { .. } => Fault::usage("--amount: must be more than 0"),
            SpecError::Validators
            | SpecError::ValidatorName { .. }
            | SpecError::ValidatorNameTwice { .. }
            | SpecError::ValidatorKeyTwice { .. } => Fault::usage(format!("--validator: {error}")),
            error => Fault::refused(error.to_string()),
        })
    }

    /// The address as the network writes it.
    pub fn address_text(&self) -> String {
        self.address.encode(&Default::default())
    }
}

fn now() -> Result<u32, Fault> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u32::try_from(since.as_secs()).ok())
        .ok_or_else(|| Fault::refused("the clock of this machine is outside of 1970 to 2106"))
}

#[derive(Debug, Serialize)]
struct Begun {
    chain_spec: PathBuf,
    wallet: &'static str,
    address: String,
    data_dir: PathBuf,
}

impl Answer for Begun {
    fn to_table(&self) -> String {
        pairs([
            ("chain spec", self.chain_spec.display().to_string()),
            ("wallet", format!("{GENESIS_WALLET} in {}", self.data_dir.display())),
            ("address", self.address.clone()),
        ])
    }

    fn next(&self) -> Vec<String> {
        let (chain, data) = (self.chain_spec.display(), self.data_dir.display());
        vec![
            format!("pentad start --chain {chain} --data {data}"),
            format!("pentad --dir {data} balance {}", self.address),
        ]
    }
}

/// `genesis`: a wallet, and a chain spec that pays it.
///
/// # Errors
/// When the spec or the wallet is there already, or cannot be written.
pub fn genesis(console: Console, arguments: &GenesisArgs) -> Result<(), Fault> {
    // Everything that may be refused comes before the wallet is made: the place of the file is
    // taken, and the spec tried with a stand-in for its address.
    let out = NewFile::create(&arguments.out)?;
    let beginning = |address| Beginning {
        name: &arguments.name,
        address,
        amount: arguments.amount,
        order: order(arguments),
    };
    beginning(Address::P2pkh(pentad_crypto::KeyHash::from_bytes([0; 20]))).chain_spec()?;
    create_directory(&arguments.data)?;
    let beginning = beginning(make_wallet(&arguments.data, GENESIS_WALLET)?);
    out.write(&beginning.chain_spec()?.to_toml())?;
    console.answer(&Begun {
        chain_spec: arguments.out.clone(),
        wallet: GENESIS_WALLET,
        address: beginning.address_text(),
        data_dir: arguments.data.clone(),
    })
}

fn order(arguments: &GenesisArgs) -> Order {
    if !arguments.validators.is_empty() {
        let validators = arguments.validators.iter();
        Order::Validators(validators.map(|line| line.validator().clone()).collect())
    } else if arguments.retarget {
        Order::Work
    } else {
        Order::EasyWork
    }
}

/// Makes a wallet in a data directory, under the node's own passphrase file.
///
/// # Errors
/// When it is there already or cannot be written.
pub fn make_wallet(data_dir: &Path, name: &str) -> Result<Address, Fault> {
    let (path, _) = passphrase_file(data_dir)?;
    let passphrase =
        Passphrase::from_file(&path).map_err(|error| Fault::refused(error.to_string()))?;
    let wallet = name.parse().map_err(|error| Fault::refused(format!("{error}")))?;
    pentad_keystore::create(data_dir, &wallet, &passphrase, Unlock::Service, KdfCost::default())
        .map_err(|error| match error {
            KeystoreError::WalletExists(_) => {
                let text = format!("{} has a wallet {name} already", data_dir.display());
                Fault::refused(text).with_hint("name another data directory with --data")
            }
            error => Fault::refused(error.to_string()),
        })
}

#[cfg(test)]
mod tests {
    use pentad_crypto::KeyHash;

    use super::*;

    fn beginning(name: &str, amount: u64) -> Beginning<'_> {
        Beginning {
            name,
            address: Address::P2pkh(KeyHash::from_bytes([7; 20])),
            amount: Amount::from_units(amount).expect("an amount"),
            order: Order::EasyWork,
        }
    }

    #[test]
    fn the_spec_pays_the_wallet_and_survives_its_file() {
        let spec = beginning("devnet", 100_000_000_000).chain_spec().expect("valid");
        let read = ChainSpec::from_toml(&spec.to_toml()).expect("its own text");
        assert_eq!(read.spec_hash(), spec.spec_hash());
        let genesis = &spec.parameters().genesis;
        assert_eq!(genesis.allocations.len(), 1);
        assert_eq!(genesis.allocations[0].amount.to_string(), "1000.00000000");
    }

    #[test]
    fn what_no_spec_may_have_is_called_by_its_flag() {
        let text = beginning("no such name", 1).chain_spec().expect_err("refused").to_text();
        assert!(text.contains("--name"), "{text}");
        let text = beginning("net", 0).chain_spec().expect_err("refused").to_text();
        assert!(text.contains("--amount"), "{text}");
    }
}
