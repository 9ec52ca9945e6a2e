use clap::{CommandFactory as _, FromArgMatches as _};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn what_can_be_typed() {
    for line in [
        "pentad devnet up",
        "pentad devnet up --nodes 4 --engine pow --dir D --base-port 0 --mine --detach",
        "pentad --dir D --node 2 --output json devnet status",
        "pentad devnet status --dir D --node 2 --output json",
        "pentad devnet --dir D down",
        "pentad start --chain chain.toml",
        "pentad start --chain c --data d --bootstrap a:1 --bootstrap b:2 --grpc 127.0.0.1:1",
        "pentad start --chain c --p2p 127.0.0.1:1 --metrics 127.0.0.1:2 --mine -- --set a=b",
        "pentad genesis --out chain.toml",
        "pentad genesis --out c --data d --name net --amount 0.5 --retarget",
        "pentad createwallet",
        "pentad createwallet bob --node 2",
        "pentad printwallet",
        "pentad balance 1abc",
        "pentad send --from a --to b --amount 100",
        "pentad send --from a --to b --amount 1.00000001 --fee-rate 0 --idempotency-key k",
        "pentad send --from a --to b --amount 1 --wait",
        "pentad send --from a --to b --amount 1 --dry-run --subtract-fee",
        "pentad send --from a --to b --amount 1 --replaceable --label rent",
        "pentad bump 00ff --from a",
        "pentad bump 00ff --from a --fee-rate 2000 --idempotency-key k --dry-run --yes",
        "pentad history a",
        "pentad history a --limit 1000 --page 3:1",
        "pentad print 0",
        "pentad print 1 --output=json",
        "pentad proof 00ff --out proof.json",
        "pentad verify-proof proof.json",
        "pentad verify-proof proof.json --chain chain.toml",
        "pentad explain-tx 00ff",
        "pentad explain-tx --raw 00ff",
        "pentad explain-stall --node 2",
        "pentad context list",
        "pentad context show --context lab",
        "pentad context use lab",
        "pentad context use --none",
        "pentad context set lab --dir D --node 2 --chain c",
        "pentad context forget lab",
        "pentad generate 10 --grpc 127.0.0.1:1 --cookie file",
        "pentad completions bash",
        "pentad man",
        "pentad man chain get-block",
        "pentad man --out D",
        "pentad verify",
        "pentad verify --level signatures --node 2",
        "pentad top --dir D --interval 5",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn what_cannot_is_named() {
    for (line, word) in [
        ("pentad no-such-verb", "no-such-verb"),
        ("pentad devnet", "devnet"),
        ("pentad devnet up --nodes 0", "--nodes"),
        ("pentad devnet up --nodes 101", "--nodes"),
        ("pentad devnet up --engine raft", "--engine"),
        ("pentad devnet up --base-port 70000", "--base-port"),
        ("pentad --node 0 printwallet", "--node"),
        ("pentad --output xml printwallet", "--output"),
        ("pentad --grpc= printwallet", "--grpc"),
        ("pentad start", "--chain"),
        ("pentad genesis", "--out"),
        ("pentad balance", "ADDRESS"),
        ("pentad print -1", "-1"),
        ("pentad print 4294967296", "HEIGHT"),
        ("pentad generate many", "BLOCKS"),
        ("pentad proof 00ff", "--out"),
        ("pentad send --from a --to b", "--amount"),
        ("pentad explain-tx", "TXID"),
        ("pentad explain-tx 00ff --raw 00", "--raw"),
        ("pentad context", "context"),
        ("pentad context use", "NAME"),
        ("pentad context use a --none", "--none"),
        ("pentad context set", "NAME"),
        ("pentad man send --out D", "--out"),
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(word), "{line}: {error}");
    }
}

#[test]
fn global_flags_are_taken_before_and_after_the_verb() {
    for line in [
        "pentad --dir D --node 2 --output json balance 1abc",
        "pentad balance --dir D 1abc --node 2 --output json",
        "pentad --dir D balance 1abc --node 2 --output json",
    ] {
        let globals = parse(line).expect(line).globals;
        assert_eq!(globals.dir, Some("D".into()));
        assert_eq!(globals.node, Some(2));
        assert_eq!(globals.output, Format::Json);
    }
}

#[test]
fn one_thing_names_the_network() {
    let settled = |line: &str| {
        let matches = Cli::command().try_get_matches_from(line.split(' ')).expect(line);
        let mut globals = Globals::from_arg_matches(&matches).expect(line);
        // As if it came from the environment.
        globals.grpc.get_or_insert_with(|| "far:1".to_owned());
        globals.settle(&matches).map(|()| (globals.context, globals.dir, globals.grpc))
    };
    for line in ["pentad --dir D printwallet", "pentad printwallet --dir D"] {
        assert_eq!(settled(line).expect(line), (None, Some("D".into()), None), "{line}");
    }
    let (context, _, grpc) = settled("pentad printwallet --context lab").expect("one");
    assert_eq!((context.as_deref(), grpc), (Some("lab"), None));
    let (.., grpc) = settled("pentad printwallet").expect("one");
    assert_eq!(grpc.as_deref(), Some("far:1"), "the environment's word counts");
    let error = settled("pentad printwallet --context lab --dir D").expect_err("two");
    assert!(error.to_string().contains("--context"), "{error}");
}

fn amount(text: &str) -> Result<Amount, clap::Error> {
    let line = ["pentad", "send", "--from", "a", "--to", "b", "--amount", text];
    Cli::try_parse_from(line).map(|cli| match cli.verb {
        Verb::Send(send) => send.amount,
        other => panic!("{other:?}"),
    })
}

#[test]
fn amounts_are_exact() {
    for (text, units) in [
        ("0", 0),
        ("1", 100_000_000),
        ("1.0", 100_000_000),
        ("0.00000001", 1),
        ("0.1", 10_000_000),
        ("0.3", 30_000_000),
        ("200.00000000", 20_000_000_000),
        // Floating point has no such number.
        ("20999999.99999999", 2_099_999_999_999_999),
        ("21000000", 2_100_000_000_000_000),
    ] {
        assert_eq!(amount(text).expect(text).units(), units, "{text}");
    }
    for text in [
        "",
        " ",
        "-1",
        "+1",
        "1.000000001",
        "1e3",
        "21000000.00000001",
        "21000001",
        "ten",
        "0x10",
        "1,5",
        "NaN",
        "inf",
        "1 ",
        ".",
        "--",
        "1_000",
        "٣",
        "1.-1",
    ] {
        let error = amount(text).expect_err(text);
        assert_eq!(error.exit_code(), 2, "{text:?}");
        assert!(error.to_string().contains("amount"), "{text:?}: {error}");
    }
}
