use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::{GetInfoRequest, GetInfoResponse, GetProofRequest, GetProofResponse};
use pentad_api::proof_from_message;
use pentad_ledger::{ChainSpec, TransactionProof};
use pentad_primitives::encode::Decode as _;
use pentad_primitives::{BlockHeader, BlockHeight};
use pentad_proof::{Basis, PortableProof, Proven, Reason};
use serde::Serialize;

use super::READ_DEADLINE;
use crate::args::Globals;
use crate::console::{Answer, Console};
use crate::context::Place;
use crate::fault::Fault;
use crate::new_file::NewFile;
use crate::table::pairs;
use crate::target::{ANSWER_BYTES_MAX, Target};

/// Bytes of a proof's file: the largest transaction that a spec may allow, in hex, and some more.
const FILE_BYTES_MAX: u64 = 80_000_000;

#[derive(Debug, Args)]
pub struct ProofArgs {
    /// Id of a transaction of the main chain
    pub txid: String,
    /// The file to write; it must not be there yet
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
No node is asked and none need run: the chain spec names the validators, and their signatures are
in the proof.")]
pub struct VerifyProofArgs {
    /// The proof, as `pentad proof` wrote it
    pub file: PathBuf,
    /// The chain spec of the network that you mean [default: of the context]
    #[arg(long, value_name = "FILE")]
    pub chain: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Written {
    txid: String,
    height: u32,
    block_hash: String,
    file: String,
}

impl Answer for Written {
    fn to_table(&self) -> String {
        pairs([
            ("txid", self.txid.clone()),
            ("height", self.height.to_string()),
            ("block_hash", self.block_hash.clone()),
            ("file", self.file.clone()),
        ])
    }

    fn next(&self) -> Vec<String> {
        vec![format!("pentad verify-proof {}", self.file)]
    }
}

/// `proof TXID --out FILE`.
///
/// # Errors
/// When the transaction is not on the main chain, the file is there already, or the node does not
/// answer.
pub async fn proof(
    console: Console,
    globals: &Globals,
    arguments: &ProofArgs,
) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let file = NewFile::create(&arguments.out)?;
    let mut client =
        ChainServiceClient::new(target.connection()).max_decoding_message_size(ANSWER_BYTES_MAX);
    let info = target.call(READ_DEADLINE, client.get_info(GetInfoRequest {})).await?;
    let request = GetProofRequest { txid: arguments.txid.clone() };
    let found = target.call(READ_DEADLINE, client.get_proof(request)).await?;
    check_final(&info, &found)?;
    let proof = portable(info, &found)?;
    file.write(&proof.to_json())?;
    console.answer(&Written {
        txid: proof.transaction.transaction.txid().to_string(),
        height: proof.height.get(),
        block_hash: proof.transaction.header.block_hash().to_string(),
        file: arguments.out.display().to_string(),
    })
}

/// Where validators make blocks final, nobody takes the proof of one that is not.
fn check_final(info: &GetInfoResponse, found: &GetProofResponse) -> Result<(), Fault> {
    let GetProofResponse { height, .. } = found;
    match info.final_height {
        Some(last) if *height > last => {
            let text = format!("block {height}, which holds it, is not final: {last} is the last");
            Err(Fault::refused(text).with_hint(
                "ask again when it is; `final_height` of `pentad chain get-info` tells how far the \
                 validators are",
            ))
        }
        _ => Ok(()),
    }
}

fn portable(info: GetInfoResponse, found: &GetProofResponse) -> Result<PortableProof, Fault> {
    let unusable =
        |problem: String| Fault::refused(format!("the node's proof cannot be used: {problem}"));
    let message = found.proof.as_ref().ok_or_else(|| unusable("it is empty".to_owned()))?;
    let parts = proof_from_message(message).map_err(|error| unusable(error.to_string()))?;
    let (transaction, header, path) = parts;
    let spec_hash = info.spec_hash.parse().map_err(|_| unusable("its spec_hash".to_owned()))?;
    let height = BlockHeight::new(found.height);
    let transaction = TransactionProof { transaction, header, path };
    let proof =
        PortableProof::new(info.network, spec_hash, height, transaction, &found.certificate)
            .map_err(|error| unusable(error.to_string()))?;
    let successors = found.successors.iter().map(|bytes| BlockHeader::from_bytes(bytes));
    let successors = successors.collect::<Result<_, _>>();
    let successors = successors.map_err(|error| unusable(error.to_string()))?;
    Ok(PortableProof { successors, ..proof })
}

#[derive(Debug, Serialize)]
struct Verified {
    txid: String,
    block_hash: String,
    /// Null under proof of work, where a proof shows none.
    height: Option<u32>,
    time: u32,
    /// What it rests on: "certificate", "work" or "genesis".
    basis: &'static str,
    /// Names of the validators that signed the block.
    signers: Vec<String>,
    /// Null when the block is final.
    does_not_prove: Option<&'static str>,
}

impl Verified {
    fn new(proven: &Proven) -> Self {
        Self {
            txid: proven.txid.to_string(),
            block_hash: proven.block_hash.to_string(),
            height: proven.height.map(BlockHeight::get),
            time: proven.time,
            basis: match proven.basis {
                Basis::Genesis => "genesis",
                Basis::Certificate { .. } => "certificate",
                Basis::Work => "work",
            },
            signers: proven.signers().to_vec(),
            does_not_prove: proven.basis.does_not_prove(),
        }
    }
}

impl Answer for Verified {
    fn to_table(&self) -> String {
        let mut rows = vec![("txid", self.txid.clone()), ("block_hash", self.block_hash.clone())];
        rows.extend(self.height.map(|height| ("height", height.to_string())));
        rows.push(("time", self.time.to_string()));
        rows.push(("basis", self.basis.to_owned()));
        if !self.signers.is_empty() {
            rows.push(("signers", self.signers.join(", ")));
        }
        rows.extend(self.does_not_prove.map(|open| ("not proven", open.to_owned())));
        pairs(rows)
    }
}

/// `verify-proof FILE --chain FILE`.
///
/// # Errors
/// When the proof does not hold, or one of the files cannot be read.
pub fn verify_proof(
    console: Console,
    globals: &Globals,
    arguments: &VerifyProofArgs,
) -> Result<(), Fault> {
    let chain = match &arguments.chain {
        Some(chain) => chain.clone(),
        None => Place::of(globals)?.chain()?.ok_or_else(|| {
            Fault::usage("the context names no chain spec")
                .with_hint("--chain names the spec of the network that you mean")
        })?,
    };
    let spec = ChainSpec::from_toml(&read(&chain)?)
        .map_err(|error| Fault::usage(format!("{}: {error}", chain.display())))?;
    let text = read(&arguments.file)?;
    console.answer(&Verified::new(&verified(&text, &spec)?))
}

fn verified(text: &str, spec: &ChainSpec) -> Result<Proven, Fault> {
    let proven = PortableProof::from_json(text).and_then(|proof| proof.check(spec));
    proven.map_err(|error| {
        let fault = Fault::refused(format!("the proof does not hold: {error}"));
        match error.reason {
            Reason::NotFinal => fault.with_hint(
                "work alone can be undone: ask for another proof once validators have made the \
                 block final",
            ),
            _ => fault,
        }
    })
}

fn read(path: &Path) -> Result<String, Fault> {
    let unreadable = |problem: String| Fault::usage(format!("{}: {problem}", path.display()));
    let length = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(unreadable(format!("{length} bytes, more than any proof or spec has")));
    }
    fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use pentad_api::proof_message;
    use pentad_primitives::merkle;
    use tempfile::TempDir;

    use super::*;
    use crate::console::Format;
    use crate::fault::Exit;

    fn spec() -> ChainSpec {
        ChainSpec::development("test", 1_700_000_000, vec![]).expect("a valid spec")
    }

    /// What a node answers about the coinbase of genesis.
    fn answer() -> (GetInfoResponse, GetProofResponse) {
        let spec = spec();
        let genesis = spec.genesis_block();
        let path = merkle::prove(&[genesis.transactions[0].txid()], 0).expect("a tree");
        let info = GetInfoResponse {
            network: spec.name().to_owned(),
            spec_hash: spec.spec_hash().to_string(),
            ..Default::default()
        };
        let proof = Some(proof_message(&genesis.transactions[0], &genesis.header, &path));
        (info, GetProofResponse { proof, confirmations: 1, ..Default::default() })
    }

    fn proof_text() -> String {
        let (info, found) = answer();
        portable(info, &found).expect("whole").to_json()
    }

    #[test]
    fn shapes() {
        let proven = verified(&proof_text(), &spec()).expect("sound");
        let hash = spec().genesis_hash().to_string();
        let txid = spec().genesis_block().transactions[0].txid().to_string();
        let verified = Verified::new(&proven);
        assert_eq!(
            serde_json::to_string(&verified).expect("JSON"),
            format!(
                concat!(
                    r#"{{"txid":"{}","block_hash":"{}","height":0,"time":1700000000,"#,
                    r#""basis":"genesis","signers":[],"does_not_prove":null}}"#
                ),
                txid, hash
            )
        );
        let basis = Basis::Certificate { signers: vec!["a".to_owned(), "b".to_owned()] };
        let signed = Verified::new(&Proven { basis, ..proven.clone() });
        assert!(signed.to_table().ends_with("signers     a, b"), "{}", signed.to_table());
        let worked = Verified::new(&Proven { height: None, basis: Basis::Work, ..proven });
        let text = worked.to_table();
        assert!(text.contains("not proven  that the block is on the main chain"), "{text}");
        assert!(!text.contains("height  "), "{text}");
    }

    #[test]
    fn the_answer_is_no_for_an_unsound_proof_and_names_the_field() {
        let other = ChainSpec::development("other", 1_700_000_000, vec![]).expect("a valid spec");
        let fault = verified(&proof_text(), &other).expect_err("another network");
        assert_eq!(fault.exit(), Exit::Refused);
        assert!(fault.to_text().contains("`network`"), "{}", fault.to_text());
        let text = proof_text().replace("\"height\": 0", "\"height\": 1");
        let fault = verified(&text, &spec()).expect_err("genesis has height 0");
        assert!(fault.to_text().contains("`height`"), "{}", fault.to_text());
        let fault = verified("{", &spec()).expect_err("no JSON");
        assert_eq!(fault.exit(), Exit::Refused);
    }

    #[test]
    fn work_alone_is_a_no_where_validators_decide() {
        let key = pentad_crypto::SecretKey::from_bytes([1; 32]).expect("a key").public_key();
        let voters = [("v0".to_owned(), key)];
        let spec = ChainSpec::development_hybrid("test", 1_700_000_000, vec![], voters)
            .expect("a valid spec");
        let genesis = spec.genesis_block();
        let path = merkle::prove(&[genesis.transactions[0].txid()], 0).expect("a tree");
        // Not genesis itself, which needs no certificate.
        let header = BlockHeader { nonce: 1, ..genesis.header };
        let info = GetInfoResponse {
            network: spec.name().to_owned(),
            spec_hash: spec.spec_hash().to_string(),
            final_height: Some(1),
            ..Default::default()
        };
        let proof = Some(proof_message(&genesis.transactions[0], &header, &path));
        let found = GetProofResponse { proof, height: 2, ..Default::default() };
        let fault = check_final(&info, &found).expect_err("not final");
        assert!(fault.to_text().contains("block 2"), "{}", fault.to_text());
        assert_eq!(check_final(&info, &GetProofResponse { height: 1, ..found.clone() }), Ok(()));
        // Whoever writes the file by other means gets no further.
        let text = portable(info, &found).expect("whole").to_json();
        let fault = verified(&text, &spec).expect_err("not shown to be final");
        assert_eq!(fault.exit(), Exit::Refused);
        assert!(fault.to_text().contains("hint: work alone can be undone"), "{}", fault.to_text());
    }

    #[test]
    fn files_that_cannot_be_read_are_a_wrong_call() {
        let directory = TempDir::new().expect("a temporary directory");
        let [chain, file] = ["chain.toml", "proof.json"].map(|name| directory.path().join(name));
        let console = Console::new(Format::Json);
        let arguments = VerifyProofArgs { file: file.clone(), chain: Some(chain.clone()) };
        let run = || verify_proof(console, &Globals::default(), &arguments);
        let fault = run().expect_err("no spec");
        assert_eq!(fault.exit(), Exit::Usage);
        assert!(fault.to_text().contains("chain.toml"), "{}", fault.to_text());
        fs::write(&chain, "name = 1").expect("a writable directory");
        assert_eq!(run().expect_err("no valid spec").exit(), Exit::Usage);
        fs::write(&chain, spec().to_toml()).expect("a writable directory");
        let fault = run().expect_err("no proof");
        assert_eq!(fault.exit(), Exit::Usage);
        assert!(fault.to_text().contains("proof.json"), "{}", fault.to_text());
        fs::write(&file, proof_text()).expect("a writable directory");
        assert_eq!(run(), Ok(()));
    }

    #[test]
    fn what_a_node_sends_is_not_taken_for_granted() {
        let (info, found) = answer();
        let empty = GetProofResponse { proof: None, ..found.clone() };
        assert!(portable(info.clone(), &empty).is_err());
        let garbage = GetProofResponse { certificate: vec![1].into(), ..found.clone() };
        assert!(portable(info.clone(), &garbage).is_err());
        let garbage = GetProofResponse { successors: vec![vec![1].into()], ..found.clone() };
        assert!(portable(info.clone(), &garbage).is_err());
        let nameless = GetInfoResponse { spec_hash: String::new(), ..info };
        assert!(portable(nameless, &found).is_err());
    }
}
