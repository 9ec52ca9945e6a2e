//! Amounts as people write them, in units of 10^-8 coins.

use pentad_tests::Devnet;

/// One coin.
pub const COIN: i64 = 100_000_000;

/// Units of `"200.00000000"`.
pub fn units(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or_else(|| panic!("{text:?}: no point"));
    assert_eq!(fraction.len(), 8, "{text:?} has not exactly eight decimals");
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let whole: i64 = whole.parse().expect("a whole number of coins");
    let fraction: i64 = fraction.parse().expect("eight digits");
    whole * COIN + sign * fraction
}

/// Confirmed, pending and immature units of an address on a node.
pub fn balance(devnet: &Devnet, node: usize, address: &str) -> [i64; 3] {
    devnet.balance(node, address).map(|text| units(&text))
}

/// A new wallet on a node: its address.
pub fn create_wallet(devnet: &Devnet, node: usize, name: &str) -> String {
    let reply = devnet.on(node, &["createwallet", name]).success();
    assert_eq!(reply["wallet"], name);
    reply["address"].as_str().expect("an address").to_owned()
}

/// The address that rewards of `generate` on this node go to.
pub fn miner_address(devnet: &Devnet, node: usize) -> String {
    let wallets = devnet.on(node, &["printwallet"]).success();
    let wallets = wallets["wallets"].as_array().expect("a list of wallets").clone();
    let miner = wallets.iter().find(|wallet| wallet["wallet"] == "miner");
    let miner = miner.expect("generate made wallet miner");
    miner["addresses"][0].as_str().expect("an address").to_owned()
}

/// Sends `amount` coins from an address; txid and fee in units.
pub fn send(devnet: &Devnet, node: usize, from: &str, to: &str, amount: &str) -> (String, i64) {
    let arguments = ["send", "--from", from, "--to", to, "--amount", amount];
    let reply = devnet.on(node, &arguments).success();
    let txid = reply["txid"].as_str().expect("a txid").to_owned();
    assert_eq!(txid.len(), 64);
    (txid, units(reply["fee"].as_str().expect("a fee")))
}
