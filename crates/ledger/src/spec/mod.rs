//! The chain spec: every parameter two nodes must share to be on one network.

mod encoding;
mod engine_file;
mod error;
mod file;
mod genesis;
mod hybrid;
mod pbft;
mod validate;

use std::sync::Arc;

use pentad_crypto::{Address, AddressVersions};
use pentad_primitives::hash::{BlockHash, Hash256};
use pentad_primitives::pow::CompactTarget;
use pentad_primitives::{Amount, Block, BlockHeight};

pub use error::{FileError, SpecError};
pub use hybrid::{DEFAULT_FINALITY_DEPTH, Hybrid};
pub use pbft::{
    DEFAULT_CHECKPOINT_INTERVAL, DEFAULT_VIEW_TIMEOUT_MS, DEFAULT_WINDOW, PBFT_BITS, Pbft,
    VALIDATORS_MAX, Validator,
};
pub use validate::{
    ALLOCATIONS_MAX, BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, NAME_LEN_MAX, TRANSACTION_BYTES_MIN, is_name,
};

/// Seconds between blocks that difficulty aims at, unless the spec says otherwise.
pub const DEFAULT_SPACING: u32 = 10;
/// Seconds of delay that halve the difficulty: 288 spacings, as on Bitcoin Cash.
pub const DEFAULT_HALF_LIFE: u32 = 2_880;
/// Block subsidy at the start, in coins.
pub const DEFAULT_SUBSIDY_COINS: u64 = 1_000;
/// Blocks between halvings: with the default subsidy, 21 million coins in all.
pub const DEFAULT_HALVING_INTERVAL: u32 = 10_500;
/// Depth at which a coinbase may be spent.
pub const DEFAULT_COINBASE_MATURITY: u32 = 100;
/// Encoded bytes of a block at most.
pub const DEFAULT_BLOCK_BYTES: u32 = 4_000_000;
/// Encoded bytes of a transaction at most.
pub const DEFAULT_TRANSACTION_BYTES: u32 = 100_000;
/// Easiest target of a development network (Bitcoin's regtest): every second hash meets it.
pub const DEVELOPMENT_TARGET: CompactTarget = CompactTarget(0x207f_ffff);

/// A valid chain spec with what follows from it (genesis block, hashes). Cheap to clone.
#[derive(Clone, Debug)]
pub struct ChainSpec {
    inner: Arc<Derived>,
}

#[derive(Debug)]
struct Derived {
    parameters: Parameters,
    spec_hash: Hash256,
    genesis_block: Block,
    genesis_hash: BlockHash,
}

/// The fields of a chain spec, as `chain.toml` states them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// 1–32 characters of `a–z 0–9 -`.
    pub name: String,
    /// First bytes of the network's messages; not zero.
    pub magic: [u8; 4],
    /// Version bytes of base58check addresses.
    pub address_versions: AddressVersions,
    /// Who may append a block.
    pub engine: Engine,
    /// What a block pays to whoever made it.
    pub rewards: Rewards,
    /// Sizes.
    pub limits: Limits,
    /// The first block.
    pub genesis: Genesis,
}

/// Who may append a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Most proof of work wins.
    Pow(Pow),
    /// Validators agree on each block, which is final then.
    Pbft(Pbft),
    /// Most proof of work wins, and validators make final what is deep enough.
    Hybrid(Hybrid),
}

impl Engine {
    /// Its name in `chain.toml`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pow(_) => "pow",
            Self::Pbft(_) => "pbft",
            Self::Hybrid(_) => "hybrid",
        }
    }

    /// The rules of work, where blocks are made by it.
    #[must_use]
    pub const fn pow(&self) -> Option<&Pow> {
        match self {
            Self::Pow(pow) | Self::Hybrid(Hybrid { pow, .. }) => Some(pow),
            Self::Pbft(_) => None,
        }
    }

    /// How validators agree, where there are any.
    #[must_use]
    pub const fn agreement(&self) -> Option<&Pbft> {
        match self {
            Self::Pow(_) => None,
            Self::Pbft(agreement) | Self::Hybrid(Hybrid { agreement, .. }) => Some(agreement),
        }
    }
}

/// Proof of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pow {
    /// Seconds between blocks that difficulty aims at.
    pub spacing: u32,
    /// Seconds of delay that halve the difficulty (ASERT).
    pub half_life: u32,
    /// The easiest target allowed, and the target of genesis.
    pub limit: CompactTarget,
    /// Every block has the target `limit`: a development network.
    pub fixed_target: bool,
}

impl Pow {
    /// A fixed target that every second hash meets, for networks to try things out on.
    #[must_use]
    pub const fn development() -> Self {
        Self {
            spacing: DEFAULT_SPACING,
            half_life: DEFAULT_HALF_LIFE,
            limit: DEVELOPMENT_TARGET,
            fixed_target: true,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for field in [self.spacing, self.half_life, self.limit.0] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.push(u8::from(self.fixed_target));
    }
}

/// What a block pays to whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewards {
    /// New coins of a block before the first halving.
    pub subsidy: Amount,
    /// Blocks between halvings.
    pub halving_interval: u32,
    /// Depth at which a coinbase may be spent: 1 = in the next block.
    pub coinbase_maturity: u32,
}

/// Sizes, in encoded bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a block, header included.
    pub block_bytes: u32,
    /// Of a transaction.
    pub transaction_bytes: u32,
}

/// The first block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// Unix seconds.
    pub time: u32,
    /// Outputs of its coinbase, spendable at once.
    pub allocations: Vec<Allocation>,
}

/// Coins that exist from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Their owner.
    pub address: Address,
    /// More than zero.
    pub amount: Amount,
}

impl ChainSpec {
    /// Checks every rule of a spec and derives its genesis block.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn new(parameters: Parameters) -> Result<Self, SpecError> {
        parameters.validate()?;
        let spec_hash = parameters.spec_hash();
        let genesis_block = genesis::block(&parameters, &spec_hash);
        validate::genesis_fits(&parameters, &genesis_block)?;
        let genesis_hash = genesis_block.block_hash();
        let derived = Derived { parameters, spec_hash, genesis_block, genesis_hash };
        Ok(Self { inner: Arc::new(derived) })
    }

    /// A network for trying things out: fixed easy target, coinbase spendable in the next block.
    ///
    /// # Errors
    /// A name or allocation that no spec may have.
    pub fn development(
        name: &str,
        genesis_time: u32,
        allocations: Vec<Allocation>,
    ) -> Result<Self, SpecError> {
        let mut parameters = Parameters::new(name, genesis_time, allocations)?;
        parameters.rewards.coinbase_maturity = 1;
        parameters.engine = Engine::Pow(Pow::development());
        Self::new(parameters)
    }

    /// A network of validators for trying things out: no subsidy, coinbase spendable in the next
    /// block.
    ///
    /// # Errors
    /// A name, allocation or validator that no spec may have.
    pub fn development_pbft(
        name: &str,
        genesis_time: u32,
        allocations: Vec<Allocation>,
        validators: Vec<Validator>,
    ) -> Result<Self, SpecError> {
        let mut parameters = Parameters::pbft(name, genesis_time, allocations, validators)?;
        parameters.rewards.coinbase_maturity = 1;
        Self::new(parameters)
    }

    /// Reads `chain.toml`.
    ///
    /// # Errors
    /// [`SpecError::File`] names the line and field; otherwise the rule broken.
    pub fn from_toml(text: &str) -> Result<Self, SpecError> {
        Self::new(file::parse(text)?)
    }

    /// The text of a `chain.toml` with this spec, with comments for people.
    #[must_use]
    pub fn to_toml(&self) -> String {
        file::render(self.parameters())
    }

    /// The fields.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.inner.parameters
    }

    /// sha256d over the canonical encoding of the fields.
    #[must_use]
    pub fn spec_hash(&self) -> Hash256 {
        self.inner.spec_hash
    }

    /// The first block.
    #[must_use]
    pub fn genesis_block(&self) -> &Block {
        &self.inner.genesis_block
    }

    /// Hash of the first block.
    #[must_use]
    pub fn genesis_hash(&self) -> BlockHash {
        self.inner.genesis_hash
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parameters().name
    }

    /// Size limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.parameters().limits
    }

    /// Version bytes of addresses.
    #[must_use]
    pub fn address_versions(&self) -> &AddressVersions {
        &self.parameters().address_versions
    }

    /// Depth at which a coinbase may be spent.
    #[must_use]
    pub fn coinbase_maturity(&self) -> u32 {
        self.parameters().rewards.coinbase_maturity
    }

    /// Who may append a block.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.parameters().engine
    }

    /// The rules of work, where blocks are made by it: engines pow and hybrid.
    #[must_use]
    pub fn pow(&self) -> Option<&Pow> {
        self.engine().pow()
    }

    /// The parameters of engine pbft: every block above genesis has a certificate.
    #[must_use]
    pub fn pbft(&self) -> Option<&Pbft> {
        match self.engine() {
            Engine::Pbft(pbft) => Some(pbft),
            Engine::Pow(_) | Engine::Hybrid(_) => None,
        }
    }

    /// How validators agree, where there are any: engines pbft and hybrid.
    #[must_use]
    pub fn agreement(&self) -> Option<&Pbft> {
        self.engine().agreement()
    }

    /// Blocks that must stand on one before validators make it final: 0 under engine pbft, none
    /// where nobody does.
    #[must_use]
    pub fn finality_depth(&self) -> Option<u32> {
        match self.engine() {
            Engine::Pow(_) => None,
            Engine::Pbft(_) => Some(0),
            Engine::Hybrid(hybrid) => Some(hybrid.finality_depth),
        }
    }

    /// Is this a network on which blocks may be made at will?
    #[must_use]
    pub fn is_development(&self) -> bool {
        self.pow().is_some_and(|pow| pow.fixed_target)
    }

    /// New coins that a block of this height may create. Genesis creates its allocations instead.
    #[must_use]
    pub fn subsidy(&self, height: BlockHeight) -> Amount {
        let rewards = &self.parameters().rewards;
        let halvings = height.get().checked_div(rewards.halving_interval).unwrap_or(0);
        let units = rewards.subsidy.units().checked_shr(halvings).unwrap_or(0);
        Amount::from_units(units).unwrap_or(Amount::ZERO)
    }

    /// Coins that genesis and the subsidies of all blocks up to this height have issued, as far
    /// as miners claimed them.
    #[must_use]
    pub fn issued(&self, height: BlockHeight) -> Amount {
        let units = u64::try_from(self.parameters().issued(height));
        units.ok().and_then(|units| Amount::from_units(units).ok()).unwrap_or(Amount::MAX_MONEY)
    }
}

impl PartialEq for ChainSpec {
    fn eq(&self, other: &Self) -> bool {
        self.inner.spec_hash == other.inner.spec_hash
    }
}

impl Eq for ChainSpec {}

impl Parameters {
    /// The defaults of design section 2 under proof of work.
    ///
    /// # Errors
    /// None today: the default subsidy is a valid amount.
    pub fn new(
        name: &str,
        genesis_time: u32,
        allocations: Vec<Allocation>,
    ) -> Result<Self, SpecError> {
        let subsidy = DEFAULT_SUBSIDY_COINS.saturating_mul(Amount::COIN.units());
        Ok(Self {
            name: name.to_owned(),
            magic: *b"pent",
            address_versions: AddressVersions::default(),
            engine: Engine::Pow(Pow {
                spacing: DEFAULT_SPACING,
                half_life: DEFAULT_HALF_LIFE,
                limit: CompactTarget(0x1f00_ffff),
                fixed_target: false,
            }),
            rewards: Rewards {
                subsidy: Amount::from_units(subsidy).map_err(|_| SpecError::SubsidyTooLarge)?,
                halving_interval: DEFAULT_HALVING_INTERVAL,
                coinbase_maturity: DEFAULT_COINBASE_MATURITY,
            },
            limits: Limits {
                block_bytes: DEFAULT_BLOCK_BYTES,
                transaction_bytes: DEFAULT_TRANSACTION_BYTES,
            },
            genesis: Genesis { time: genesis_time, allocations },
        })
    }

    /// The defaults of design section 2 under PBFT: blocks pay their fees, no subsidy.
    ///
    /// # Errors
    /// As [`Parameters::new`].
    pub fn pbft(
        name: &str,
        genesis_time: u32,
        allocations: Vec<Allocation>,
        validators: Vec<Validator>,
    ) -> Result<Self, SpecError> {
        let mut parameters = Self::new(name, genesis_time, allocations)?;
        parameters.engine = Engine::Pbft(Pbft::new(validators));
        parameters.rewards.subsidy = Amount::ZERO;
        Ok(parameters)
    }

    /// Units that genesis and the subsidies of all blocks up to this height may create.
    fn issued(&self, height: BlockHeight) -> u128 {
        let allocated = self.genesis.allocations.iter().map(|a| u128::from(a.amount.units()));
        allocated.fold(self.subsidies(height), u128::saturating_add)
    }

    /// Units that the subsidies of all blocks up to this height may create; genesis has none.
    fn subsidies(&self, height: BlockHeight) -> u128 {
        let Rewards { subsidy, halving_interval, .. } = self.rewards;
        let end = u64::from(height.get()).saturating_add(1);
        let mut units: u128 = 0;
        let mut from: u64 = 1;
        // An era ends before the next multiple of the interval; after 64 there is no subsidy.
        for era in 0..u64::BITS {
            let era_end = u64::from(era).saturating_add(1).saturating_mul(halving_interval.into());
            let blocks = u128::from(era_end.min(end).saturating_sub(from));
            let per_block = u128::from(subsidy.units().checked_shr(era).unwrap_or(0));
            units = units.saturating_add(per_block.saturating_mul(blocks));
            from = era_end.min(end).max(from);
        }
        units
    }
}
