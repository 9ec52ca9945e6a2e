//! A node in memory: enough of the chain service to put the ledger to the test.

use std::collections::BTreeMap;

use pentad_crypto::{Address, SecretKey, script};
use pentad_ledger::coinbase;
use pentad_ledger::connect::{Connected, connect, disconnect, genesis};
use pentad_ledger::header_tree::{HeaderTree, InsertError};
use pentad_ledger::spec::{Allocation, ChainSpec};
use pentad_ledger::utxo::{BlockUndo, UtxoChanges, UtxoOverlay, UtxoSet, UtxoView};
use pentad_ledger::verify::contextual::{self, BlockContext, TransactionError};
use pentad_ledger::verify::{
    self, CheckedBlock, CheckedTransaction, SignatureError, block_signatures, verify_signatures,
};
use pentad_primitives::hash::{BlockHash, Txid};
use pentad_primitives::pow::{HeaderHasher, Target};
use pentad_primitives::{
    Amount, Block, BlockHeader, BlockHeight, OutPoint, Script, Transaction, TxIn, TxOut, merkle,
    sighash,
};

pub const GENESIS_TIME: u32 = 1_700_000_000;
/// Far enough after genesis that no test's block is too far ahead.
pub const NOW: u32 = GENESIS_TIME + 1_000_000;

/// The secret key with this number.
pub fn key(number: u8) -> SecretKey {
    SecretKey::from_bytes([number; 32]).unwrap()
}

/// The address of the key with this number.
pub fn address(number: u8) -> Address {
    Address::P2pkh(key(number).public_key().key_hash())
}

pub fn script_of(number: u8) -> Script {
    address(number).script_pubkey()
}

pub fn units(units: u64) -> Amount {
    Amount::from_units(units).unwrap()
}

pub fn coins(coins: u64) -> Amount {
    units(coins * Amount::COIN.units())
}

/// An output to the key with this number.
pub fn output(number: u8, amount: Amount) -> TxOut {
    TxOut { amount, script_pubkey: script_of(number) }
}

/// An output to be spent by the key with this number.
#[derive(Clone, Debug)]
pub struct Coin {
    pub outpoint: OutPoint,
    pub output: TxOut,
    pub owner: u8,
}

impl Coin {
    pub fn amount(&self) -> Amount {
        self.output.amount
    }
}

/// Output `vout` of a transaction, paying the key `owner`.
pub fn coin(transaction: &Transaction, vout: u32, owner: u8) -> Coin {
    let output = transaction.outputs[vout as usize].clone();
    Coin { outpoint: OutPoint { txid: transaction.txid(), vout }, output, owner }
}

/// An unsigned transaction.
pub fn unsigned(coins: &[Coin], outputs: Vec<TxOut>) -> Transaction {
    let input = |coin: &Coin| TxIn {
        previous_output: coin.outpoint,
        script_sig: Script::default(),
        sequence: u32::MAX,
    };
    Transaction { version: 1, inputs: coins.iter().map(input).collect(), outputs, lock_time: 0 }
}

/// Signs all inputs.
pub fn sign(mut transaction: Transaction, coins: &[Coin]) -> Transaction {
    for (index, coin) in coins.iter().enumerate() {
        let hash = sighash::sighash_all(&transaction, index, &coin.output.script_pubkey).unwrap();
        let key = key(coin.owner);
        transaction.inputs[index].script_sig =
            script::p2pkh_script_sig(&key.sign(&hash), &key.public_key());
    }
    transaction
}

/// A signed transaction.
pub fn spend(coins: &[Coin], outputs: Vec<TxOut>) -> Transaction {
    sign(unsigned(coins, outputs), coins)
}

/// Spends one coin to one owner for a fee.
pub fn pay(coin: &Coin, to: u8, fee: u64) -> Transaction {
    let amount = units(coin.amount().units() - fee);
    spend(std::slice::from_ref(coin), vec![output(to, amount)])
}

/// Why a block was refused.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    Header(InsertError),
    Block(verify::BlockError),
    Context(contextual::BlockError),
    Signature(SignatureError),
}

/// A node in memory.
pub struct Chain {
    pub spec: ChainSpec,
    pub tree: HeaderTree,
    pub utxos: UtxoSet,
    pub bodies: BTreeMap<BlockHash, CheckedBlock>,
    pub undos: BTreeMap<BlockHash, BlockUndo>,
    /// Makes blocks with the same transactions differ.
    pub salt: u64,
}

impl Chain {
    pub fn new(spec: ChainSpec) -> Self {
        let mut utxos = UtxoSet::new();
        utxos.apply(&genesis(&spec));
        let genesis = CheckedBlock::assume_valid(spec.genesis_block().clone());
        Self {
            tree: HeaderTree::new(&spec),
            utxos,
            bodies: BTreeMap::from([(genesis.hash(), genesis)]),
            undos: BTreeMap::new(),
            salt: 0,
            spec,
        }
    }

    /// A development network that pays 1000 coins to each of keys 1, 2 and 3.
    pub fn development() -> Self {
        let allocate = |number| Allocation { address: address(number), amount: coins(1_000) };
        let spec = ChainSpec::development("test", GENESIS_TIME, vec![]).unwrap();
        let mut parameters = spec.parameters().clone();
        parameters.genesis.allocations = (1..=3).map(allocate).collect();
        // The default interval leaves room for one allocation.
        parameters.rewards.halving_interval = 10_000;
        Self::new(ChainSpec::new(parameters).unwrap())
    }

    /// The allocation of key 1, 2 or 3.
    pub fn allocation(&self, owner: u8) -> Coin {
        coin(&self.spec.genesis_block().transactions[0], u32::from(owner) - 1, owner)
    }

    pub fn context(&self) -> BlockContext {
        self.tree.tip_context().unwrap()
    }

    pub fn tip(&self) -> BlockHash {
        self.tree.tip()
    }

    pub fn checked(&self, transaction: &Transaction) -> CheckedTransaction {
        CheckedTransaction::check(transaction.clone(), &self.spec.limits()).unwrap()
    }

    /// A valid coinbase for a child of `parent`, which pays key 9.
    pub fn coinbase(&mut self, context: &BlockContext, fees: u64) -> Transaction {
        self.salt += 1;
        let tag = coinbase::tag(self.spec.genesis_hash().as_bytes());
        let mut salt = vec![8];
        salt.extend(self.salt.to_le_bytes());
        let script_sig = coinbase::script_sig(context.height, &tag, &salt);
        let reward = units(self.spec.subsidy(context.height).units() + fees);
        coinbase::transaction(script_sig, vec![output(9, reward)])
    }

    /// A solved child of `parent`.
    pub fn block_on(&mut self, parent: &BlockHash, transactions: &[Transaction]) -> Block {
        self.block_with_fees(parent, transactions, 0)
    }

    pub fn block_with_fees(
        &mut self,
        parent: &BlockHash,
        transactions: &[Transaction],
        fees: u64,
    ) -> Block {
        let context = self.tree.context(parent).unwrap();
        let mut all = vec![self.coinbase(&context, fees)];
        all.extend_from_slice(transactions);
        assemble(&context, all)
    }

    /// Takes a block in as a node would: header, body, then the way to the best candidate.
    pub fn submit(&mut self, block: &Block) -> Result<BlockHash, Refusal> {
        let hash = self.tree.insert(&block.header, NOW).map_err(Refusal::Header)?.hash;
        match CheckedBlock::check(block.clone(), &self.spec) {
            Ok(checked) => self.bodies.insert(hash, checked),
            Err(error) => {
                if !error.is_mutation() {
                    self.tree.mark_invalid(&hash);
                }
                return Err(Refusal::Block(error));
            }
        };
        self.tree.body_known(&hash);
        self.follow_best().map_or(Ok(hash), Err)
    }

    /// Makes a block final that is here, with all before it, on whatever branch it is.
    pub fn finalise(&mut self, hash: &BlockHash) {
        self.reorganise(*hash).unwrap();
        self.tree.finalise(hash).unwrap();
        assert_eq!(self.follow_best(), None);
    }

    fn follow_best(&mut self) -> Option<Refusal> {
        let mut refusal = None;
        while self.tree.best_candidate() != self.tree.tip() {
            if let Err((invalid, error)) = self.reorganise(self.tree.best_candidate()) {
                self.tree.mark_invalid(&invalid);
                refusal.get_or_insert(error);
            }
        }
        refusal
    }

    fn reorganise(&mut self, to: BlockHash) -> Result<(), (BlockHash, Refusal)> {
        let path = self.tree.path(&self.tree.tip(), &to).unwrap();
        let mut overlay = UtxoOverlay::new(&self.utxos);
        let mut undos = BTreeMap::new();
        for hash in &path.undo {
            let height = self.tree.height(hash).unwrap();
            overlay.apply(&disconnect(&self.bodies[hash], height, &self.undos[hash]).unwrap());
        }
        for hash in &path.apply {
            let connected = self.connect(hash, &overlay).map_err(|refusal| (*hash, refusal))?;
            let (body, height) = (&self.bodies[hash], self.tree.height(hash).unwrap());
            overlay.apply(&UtxoChanges::of_block(body, height, &connected.undo).unwrap());
            undos.insert(*hash, connected.undo);
        }
        let changes = overlay.into_changes();
        self.utxos.apply(&changes);
        self.undos.append(&mut undos);
        self.tree.set_tip(&to).unwrap();
        Ok(())
    }

    fn connect<V>(&self, hash: &BlockHash, view: &V) -> Result<Connected, Refusal>
    where
        V: UtxoView<Error = std::convert::Infallible>,
    {
        let body = &self.bodies[hash];
        let context = self.tree.context(&body.block().header.prev_block_hash).unwrap();
        let connected = connect(body, &context, &self.spec, view).map_err(|error| match error {
            pentad_ledger::connect::ConnectError::Rule(error) => Refusal::Context(error),
            pentad_ledger::connect::ConnectError::View(never) => match never {},
        })?;
        verify_signatures(block_signatures(body, &connected.undo)).map_err(Refusal::Signature)?;
        Ok(connected)
    }

    /// Mines a block with these transactions on the tip.
    pub fn mine(&mut self, transactions: &[Transaction]) -> BlockHash {
        self.mine_on(&self.tip(), transactions)
    }

    /// Mines a block with these transactions on any block.
    pub fn mine_on(&mut self, parent: &BlockHash, transactions: &[Transaction]) -> BlockHash {
        let block = self.block_on(parent, transactions);
        self.submit(&block).unwrap()
    }

    /// Mines so many empty blocks on the tip.
    pub fn mine_empty(&mut self, count: usize) {
        for _ in 0..count {
            self.mine(&[]);
        }
    }

    /// The coinbase of an active block, as a coin of key 9.
    pub fn mined_coin(&self, height: u32) -> Coin {
        let hash = self.tree.hash_at(BlockHeight::new(height)).unwrap();
        coin(&self.bodies[&hash].block().transactions[0], 0, 9)
    }

    /// The UTXO set that the active chain yields from scratch.
    pub fn rebuilt(&self) -> UtxoSet {
        let mut utxos = UtxoSet::new();
        utxos.apply(&genesis(&self.spec));
        let mut height = 1;
        while let Some(hash) = self.tree.hash_at(BlockHeight::new(height)) {
            let undo = self.connect(&hash, &utxos).unwrap().undo;
            let (body, at) = (&self.bodies[&hash], BlockHeight::new(height));
            utxos.apply(&UtxoChanges::of_block(body, at, &undo).unwrap());
            height += 1;
        }
        utxos
    }
}

/// A solved block of these transactions.
pub fn assemble(context: &BlockContext, transactions: Vec<Transaction>) -> Block {
    let txids: Vec<Txid> = transactions.iter().map(Transaction::txid).collect();
    let mut header = BlockHeader {
        version: coinbase::BLOCK_VERSION,
        prev_block_hash: context.prev_block_hash,
        merkle_root: merkle::root(&txids),
        time: context.median_time_past + 1,
        bits: context.bits,
        nonce: 0,
    };
    solve(&mut header);
    Block { header, transactions }
}

/// Finds a nonce.
pub fn solve(header: &mut BlockHeader) {
    let target = Target::from_compact(header.bits).unwrap();
    let hasher = HeaderHasher::new(header);
    header.nonce = (0..).find(|nonce| target.is_met_by(&hasher.hash(*nonce))).unwrap();
}

/// Sets a block's merkle root again and solves it.
pub fn seal(block: &mut Block) {
    let txids: Vec<Txid> = block.transactions.iter().map(Transaction::txid).collect();
    block.header.merkle_root = merkle::root(&txids);
    solve(&mut block.header);
}

/// The refusal of transaction `index` by a contextual rule.
pub fn at(index: usize, source: TransactionError) -> Result<BlockHash, Refusal> {
    Err(Refusal::Context(contextual::BlockError::Transaction { index, source }))
}
