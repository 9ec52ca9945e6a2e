//! Random wallets, with rust-bitcoin on the other side.

use bitcoin::bip32::{ChildNumber, DerivationPath, Xpriv, Xpub};
use bitcoin::blockdata::opcodes::all::OP_CHECKMULTISIG;
use bitcoin::blockdata::script::Builder;
use bitcoin::secp256k1::Secp256k1;
use bitcoin::{NetworkKind, PrivateKey};
use pentad_crypto::{AddressVersions, SecretKey};
use pentad_keystore::{
    Chain, Issued, KdfCost, KeyPath, Keystore, MultisigAccount, Passphrase, Words,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

const CHEAP: KdfCost = KdfCost { memory_kib: 8, passes: 1, lanes: 1 };

fn config() -> Config {
    Config { failure_persistence: None, ..Config::with_cases(8) }
}

/// Of the words of some entropy.
fn master(entropy: &[u8]) -> (String, Xpriv) {
    let words = bip39::Mnemonic::from_entropy(entropy).expect("a length that BIP39 knows");
    let master = Xpriv::new_master(NetworkKind::Main, &words.to_seed("")).expect("a key");
    (words.to_string(), master)
}

fn child(key: &Xpub, place: KeyPath) -> bitcoin::PublicKey {
    let (chain, index) = place.numbers();
    let path = [chain, index].map(|number| ChildNumber::Normal { index: number });
    key.derive_pub(&Secp256k1::new(), &path).expect("a key").to_pub().into()
}

fn place(change: bool, index: u32) -> KeyPath {
    KeyPath { chain: if change { Chain::Change } else { Chain::Receive }, index }
}

proptest! {
    #![proptest_config(config())]

    /// A wallet of words that another program made: its addresses, its keys, its name as a
    /// cosigner.
    #[test]
    fn words_give_the_same_addresses_and_keys(entropy: [u8; 16], index in 0..8_u32) {
        let secp = Secp256k1::new();
        let (words, master) = master(&entropy);
        let account = |purpose: u32| {
            let path: DerivationPath = format!("m/{purpose}'/1'/0'").parse().unwrap();
            master.derive_priv(&secp, &path).unwrap()
        };
        let directory = tempfile::tempdir().unwrap();
        let keystore = Keystore::open(directory.path().to_owned(), CHEAP, None).unwrap();
        let passphrase = Passphrase::new("p".to_owned()).unwrap();
        let parsed = Words::parse(&words).unwrap();
        let issued = Issued { receive: 8, change: 8 };
        let wallet = keystore
            .restore(&"w".parse().unwrap(), &parsed, issued, Some(&passphrase))
            .unwrap()
            .unwrap();
        prop_assert_eq!(wallet.words(&passphrase).unwrap().to_string(), words);
        let addresses = wallet.addresses();
        let single = Xpub::from_priv(&secp, &account(44));
        for (offset, change) in [(0, false), (8, true)] {
            let theirs = child(&single, place(change, index));
            let theirs = bitcoin::Address::p2pkh(theirs, NetworkKind::Main).to_string();
            let ours = addresses[offset + index as usize].encode(&AddressVersions::default());
            prop_assert_eq!(ours, theirs);
        }
        let path = [0, index].map(|number| ChildNumber::Normal { index: number });
        let theirs = account(44).derive_priv(&secp, &path).unwrap().private_key;
        let ours = wallet.export(place(false, index), &passphrase).unwrap();
        let theirs = PrivateKey::new(theirs, NetworkKind::Main).to_wif();
        prop_assert_eq!(&ours.to_wif(0x80).to_string(), &theirs);
        let imported = SecretKey::from_wif(&theirs, 0x80).unwrap();
        let imported = keystore
            .import(&"i".parse().unwrap(), vec![imported], Some(&passphrase))
            .unwrap()
            .unwrap();
        prop_assert_eq!(imported.addresses()[0], addresses[index as usize]);
        let xpub = Xpub::from_priv(&secp, &account(87));
        let named = format!("[{}/87'/1'/0']{xpub}", master.fingerprint(&secp));
        prop_assert_eq!(wallet.cosigner(&passphrase).unwrap().to_string(), named);
    }

    /// m-of-n over sorted keys (BIP67), whatever the order of the cosigners.
    #[test]
    fn accounts_of_several_have_the_same_addresses(
        entropies in vec(any::<[u8; 16]>(), 1..=15),
        part in 0..15_usize,
        index in 0..1000_u32,
        change: bool,
        turn in 0..15_usize,
    ) {
        let secp = Secp256k1::new();
        let path: DerivationPath = "m/87'/1'/0'".parse().unwrap();
        let keys: Vec<(Xpub, String)> = entropies
            .iter()
            .map(|entropy| {
                let master = Xpriv::new_master(NetworkKind::Main, entropy).unwrap();
                let key = Xpub::from_priv(&secp, &master.derive_priv(&secp, &path).unwrap());
                (key, format!("[{}/87h/1h/0h]{key}", master.fingerprint(&secp)))
            })
            .collect();
        let required = 1 + part % keys.len();
        let mut texts: Vec<String> = keys.iter().map(|(_, text)| text.clone()).collect();
        texts.rotate_left(turn % keys.len());
        let account = MultisigAccount::new(u32::try_from(required).unwrap(), &texts).unwrap();
        let place = place(change, index);
        let mut theirs: Vec<_> = keys.iter().map(|(key, _)| child(key, place)).collect();
        theirs.sort_by_key(|key| key.inner.serialize());
        let mut script = Builder::new().push_int(i64::try_from(required).unwrap());
        for key in &theirs {
            script = script.push_key(key);
        }
        let script = script
            .push_int(i64::try_from(theirs.len()).unwrap())
            .push_opcode(OP_CHECKMULTISIG)
            .into_script();
        let ours = account.script(place).unwrap();
        let redeem = ours.redeem_script();
        prop_assert_eq!(redeem.as_bytes(), script.as_bytes());
        let theirs = bitcoin::Address::p2sh(&script, NetworkKind::Main).unwrap().to_string();
        let address = pentad_crypto::Address::P2sh(ours.script_hash());
        prop_assert_eq!(address.encode(&AddressVersions::default()), theirs);
    }
}
