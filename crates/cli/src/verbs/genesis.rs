use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pentad_crypto::{Address, PublicKey};
use pentad_keystore::{KdfCost, KeystoreError, Passphrase, Unlock};
use pentad_ledger::spec::{Allocation, ChainSpec, Parameters, SpecError, Validator};
use pentad_primitives::Amount;
use serde::Serialize;

use crate::args::{EngineName, GenesisArgs};
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
    /// As `EasyWork`, and these voters make the blocks final.
    EasyHybrid(Vec<Voter>),
    /// As `Work`, and these voters make the blocks final.
    Hybrid(Vec<Voter>),
}

/// Who makes blocks final that others have worked for: a name and a key.
pub type Voter = (String, PublicKey);

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
            Order::EasyHybrid(voters) => {
                ChainSpec::development_hybrid(self.name, time, allocations, voters.clone())
            }
            Order::Hybrid(voters) => {
                Parameters::hybrid(self.name, time, allocations, voters.clone())
                    .and_then(ChainSpec::new)
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
    let mut beginning = Beginning {
        name: &arguments.name,
        address: Address::P2pkh(pentad_crypto::KeyHash::from_bytes([0; 20])),
        amount: arguments.amount,
        order: order(arguments)?,
    };
    beginning.chain_spec()?;
    create_directory(&arguments.data)?;
    beginning.address = make_wallet(&arguments.data, GENESIS_WALLET)?;
    out.write(&beginning.chain_spec()?.to_toml())?;
    console.answer(&Begun {
        chain_spec: arguments.out.clone(),
        wallet: GENESIS_WALLET,
        address: beginning.address_text(),
        data_dir: arguments.data.clone(),
    })
}

fn order(arguments: &GenesisArgs) -> Result<Order, Fault> {
    let GenesisArgs { validators, retarget, .. } = arguments;
    let unless_told = if validators.is_empty() { EngineName::Pow } else { EngineName::Pbft };
    let engine = arguments.engine.unwrap_or(unless_told);
    let validators = validators.iter().map(|line| line.validator().clone());
    match (engine, validators.len(), retarget) {
        (EngineName::Pow, 1.., _) => Err(Fault::usage("--validator: engine pow has no validators")
            .with_hint("--engine pbft and --engine hybrid have validators")),
        (EngineName::Pbft | EngineName::Hybrid, 0, _) => {
            let text = format!("--engine {}: no validator is named", engine.name());
            let hint = "--validator names one, as `pentad validator` says it";
            Err(Fault::usage(text).with_hint(hint))
        }
        (EngineName::Pbft, _, true) => {
            Err(Fault::usage("--retarget: validators order the blocks, nobody mines")
                .with_hint("--engine pow and --engine hybrid mine"))
        }
        (EngineName::Pow, 0, false) => Ok(Order::EasyWork),
        (EngineName::Pow, 0, true) => Ok(Order::Work),
        (EngineName::Pbft, _, false) => Ok(Order::Validators(validators.collect())),
        (EngineName::Hybrid, _, false) => Ok(Order::EasyHybrid(voters(validators))),
        (EngineName::Hybrid, _, true) => Ok(Order::Hybrid(voters(validators))),
    }
}

fn voters(validators: impl Iterator<Item = Validator>) -> Vec<Voter> {
    validators.map(|validator| (validator.name, validator.key)).collect()
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
    use clap::Parser as _;
    use pentad_crypto::KeyHash;

    use super::*;
    use crate::args::{Cli, Verb};
    use crate::fault::Exit;

    const VALIDATOR: &str = "o:0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798:\
                             1BgGZ9tcN4rm9KBzDn7KprQz87SZ26SAMH";

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

    fn ordered(flags: &str) -> Result<ChainSpec, Fault> {
        let line = format!("pentad genesis --out chain.toml {flags}");
        let parsed = Cli::try_parse_from(line.split_whitespace()).expect(&line);
        let Verb::Genesis(arguments) = parsed.verb else { panic!("{line}") };
        Beginning { order: order(&arguments)?, ..beginning("net", 1) }.chain_spec()
    }

    #[test]
    fn every_engine_can_be_had() {
        for (flags, name, depth, fixed_target) in [
            ("", "pow", None, Some(true)),
            ("--engine pow --retarget", "pow", None, Some(false)),
            (&format!("--validator {VALIDATOR}"), "pbft", Some(0), None),
            (&format!("--engine hybrid --validator {VALIDATOR}"), "hybrid", Some(6), Some(true)),
            (
                &format!("--engine hybrid --validator {VALIDATOR} --retarget"),
                "hybrid",
                Some(6),
                Some(false),
            ),
        ] {
            let spec = ordered(flags).expect(flags);
            assert_eq!((spec.engine().name(), spec.finality_depth()), (name, depth), "{flags}");
            assert_eq!(spec.pow().map(|pow| pow.fixed_target), fixed_target, "{flags}");
        }
    }

    #[test]
    fn engines_say_what_they_have_no_use_for() {
        for (flags, flag, hint) in [
            (&format!("--engine pow --validator {VALIDATOR}"), "--validator", "--engine hybrid"),
            (&format!("--retarget --validator {VALIDATOR}"), "--retarget", "--engine hybrid"),
            (&"--engine hybrid".to_owned(), "--engine hybrid", "--validator"),
            (&"--engine pbft".to_owned(), "--engine pbft", "--validator"),
        ] {
            let fault = ordered(flags).expect_err(flags);
            let text = fault.to_text();
            assert_eq!(fault.exit(), Exit::Usage, "{text}");
            assert!(text.contains(flag) && text.contains(hint), "{flags}: {text}");
        }
    }

    #[test]
    fn what_no_spec_may_have_is_called_by_its_flag() {
        let text = beginning("no such name", 1).chain_spec().expect_err("refused").to_text();
        assert!(text.contains("--name"), "{text}");
        let text = beginning("net", 0).chain_spec().expect_err("refused").to_text();
        assert!(text.contains("--amount"), "{text}");
    }
}
