use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use pentad_crypto::{Address, AddressVersions, PublicKey};
use pentad_ledger::spec::{Validator, is_name};
use serde::Serialize;

use super::genesis::make_wallet;
use crate::args::DATA_DIR;
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::secret_file::{create_directory, make_validator_key, validator_key_file};
use crate::table::pairs;

/// The wallet of each validator that its blocks pay their fees to.
pub const VALIDATOR_WALLET: &str = "validator";

#[derive(Debug, Args)]
pub struct ValidatorArgs {
    /// What it is called in the chain spec, 1 to 32 of a-z, 0-9 and -
    pub name: String,
    /// Data directory of the node that is to hold the wallet
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub data: PathBuf,
    /// The file for the key, which must not be there yet [default: DIR/validator.key]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// All that others need to know of a validator: `NAME:KEY:ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorLine(Validator);

impl ValidatorLine {
    /// What the chain spec says of it.
    pub const fn validator(&self) -> &Validator {
        &self.0
    }
}

impl fmt::Display for ValidatorLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Validator { name, key, payout } = &self.0;
        let payout = payout.encode(&AddressVersions::default());
        write!(f, "{name}:{}:{payout}", hex::encode(key.to_bytes()))
    }
}

impl FromStr for ValidatorLine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let [name, key, payout] = <[&str; 3]>::try_from(text.split(':').collect::<Vec<_>>())
            .map_err(|_| "expected NAME:KEY:ADDRESS, as `pentad validator` says it".to_owned())?;
        let key = hex::decode(key).ok().and_then(|bytes| PublicKey::from_bytes(&bytes).ok());
        let key = key.ok_or("the key must be a compressed public key, 66 hex digits")?;
        let payout = Address::decode(payout, &AddressVersions::default())
            .map_err(|error| format!("{payout}: {error}"))?;
        Ok(Self(Validator { name: name.to_owned(), key, payout }))
    }
}

#[derive(Debug, Serialize)]
struct Made {
    validator: String,
    key_file: PathBuf,
    wallet: &'static str,
    data_dir: PathBuf,
}

impl Answer for Made {
    fn to_table(&self) -> String {
        pairs([
            ("validator", self.validator.clone()),
            ("key file", self.key_file.display().to_string()),
            ("wallet", format!("{VALIDATOR_WALLET} in {}", self.data_dir.display())),
        ])
    }

    fn next(&self) -> Vec<String> {
        vec![format!("pentad genesis --out chain.toml --validator {} …", self.validator)]
    }
}

/// `validator`: a key and the wallet that its blocks pay their fees to.
///
/// # Errors
/// When one of them is there already or cannot be written.
pub fn validator(console: Console, arguments: &ValidatorArgs) -> Result<(), Fault> {
    if !is_name(&arguments.name) {
        return Err(Fault::usage("NAME must be 1 to 32 characters of a-z, 0-9 and -"));
    }
    let data_dir = arguments.data.clone();
    let key_file = arguments.key.clone().unwrap_or_else(|| validator_key_file(&data_dir));
    for directory in [Some(data_dir.as_path()), key_file.parent()].into_iter().flatten() {
        create_directory(directory)?;
    }
    let key = make_validator_key(&key_file)?.public_key();
    let payout = make_wallet(&data_dir, VALIDATOR_WALLET)?;
    let line = ValidatorLine(Validator { name: arguments.name.clone(), key, payout });
    let validator = line.to_string();
    console.answer(&Made { validator, key_file, wallet: VALIDATOR_WALLET, data_dir })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "org1:0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798:\
                        1BgGZ9tcN4rm9KBzDn7KprQz87SZ26SAMH";

    #[test]
    fn a_line_is_read_as_it_is_written() {
        let line: ValidatorLine = LINE.parse().expect("well-formed");
        assert_eq!(line.validator().name, "org1");
        assert_eq!(line.to_string(), LINE);
    }

    #[test]
    fn a_line_that_is_none_says_what_is_wrong() {
        for (line, said) in [
            ("org1", "NAME:KEY:ADDRESS"),
            ("org1:02:1BgGZ9tcN4rm9KBzDn7KprQz87SZ26SAMH", "66 hex digits"),
            (&LINE.replace("SAMH", "SAMh"), "1BgGZ9"),
        ] {
            let problem = line.parse::<ValidatorLine>().expect_err(line);
            assert!(problem.contains(said), "{line}: {problem}");
        }
    }
}
