//! Who a certificate says that somebody is, and what that allows: the one table of it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::right::Right;

/// Who a certificate says that its holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A chain service.
    Chain,
    /// A wallet service.
    Wallet,
    /// A miner service.
    Miner,
    /// A consensus service.
    Consensus,
    /// A peer service.
    Peer,
    /// All five in one process.
    Node,
    /// A process that searches for a miner.
    Worker,
    /// Whoever runs the node, from another machine.
    Operator,
    /// A program that pays from the node's wallets.
    Application,
    /// A program that only looks: an explorer, a monitor.
    Reader,
}

/// What a role may call.
#[derive(Clone, Copy, Debug)]
enum Reach {
    /// These methods, by path, whatever right they ask for.
    Methods(&'static [&'static str]),
    /// Every method that asks for one of these rights.
    Rights(&'static [Right]),
}

const WALLET: &[&str] = &[
    "/pentad.chain.v1.ChainService/GetHistory",
    "/pentad.chain.v1.ChainService/GetInfo",
    "/pentad.chain.v1.ChainService/GetTransaction",
    "/pentad.chain.v1.ChainService/GetUtxos",
    "/pentad.chain.v1.ChainService/StreamBlocks",
    "/pentad.chain.v1.EventService/FollowTip",
    "/pentad.chain.v1.SubmitService/SubmitTransaction",
];

const MINER: &[&str] = &[
    "/pentad.chain.v1.AssemblyService/FollowTemplates",
    "/pentad.chain.v1.AssemblyService/GetTemplate",
    "/pentad.chain.v1.ChainService/GetInfo",
    "/pentad.chain.v1.SubmitService/SubmitBlock",
    "/pentad.wallet.v1.KeystoreService/CreateWallet",
    "/pentad.wallet.v1.KeystoreService/ListWallets",
];

const CONSENSUS: &[&str] = &[
    "/pentad.chain.v1.AssemblyService/CheckCandidate",
    "/pentad.chain.v1.AssemblyService/CheckProposal",
    "/pentad.chain.v1.AssemblyService/ConnectBlocks",
    "/pentad.chain.v1.AssemblyService/FetchBlocks",
    "/pentad.chain.v1.AssemblyService/FinaliseBlock",
    "/pentad.chain.v1.AssemblyService/FollowMempoolChanges",
    "/pentad.chain.v1.AssemblyService/GetCandidate",
    "/pentad.chain.v1.AssemblyService/GetFinality",
    "/pentad.chain.v1.AssemblyService/GetStateRoot",
    "/pentad.chain.v1.AssemblyService/GetTemplate",
    "/pentad.chain.v1.ChainService/GetInfo",
    "/pentad.chain.v1.EventService/FollowTip",
    "/pentad.peer.v1.PeerService/GetSelf",
    "/pentad.peer.v1.RelayService/Exchange",
];

const PEER: &[&str] = &[
    "/pentad.chain.v1.AssemblyService/AdmitTransactions",
    "/pentad.chain.v1.AssemblyService/CheckHeaders",
    "/pentad.chain.v1.AssemblyService/ConnectBlocks",
    "/pentad.chain.v1.AssemblyService/FetchBlocks",
    "/pentad.chain.v1.AssemblyService/FetchTransactions",
    "/pentad.chain.v1.AssemblyService/FinaliseBlock",
    "/pentad.chain.v1.AssemblyService/FollowMempoolChanges",
    "/pentad.chain.v1.AssemblyService/GetFinality",
    "/pentad.chain.v1.AssemblyService/GetLocator",
    "/pentad.chain.v1.AssemblyService/LocateHeaders",
    "/pentad.chain.v1.ChainService/GetInfo",
    "/pentad.chain.v1.ChainService/GetMempool",
    "/pentad.chain.v1.EventService/FollowTip",
];

const WORKER: &[&str] = &["/pentad.miner.v1.WorkService/TakeWork"];

impl Role {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Chain,
        Self::Wallet,
        Self::Miner,
        Self::Consensus,
        Self::Peer,
        Self::Node,
        Self::Worker,
        Self::Operator,
        Self::Application,
        Self::Reader,
    ];

    const fn reach(self) -> Reach {
        match self {
            Self::Wallet => Reach::Methods(WALLET),
            Self::Miner => Reach::Methods(MINER),
            Self::Consensus => Reach::Methods(CONSENSUS),
            Self::Peer => Reach::Methods(PEER),
            Self::Worker => Reach::Methods(WORKER),
            // They are called and call nobody: a node's services meet inside its process.
            Self::Chain | Self::Node => Reach::Methods(&[]),
            Self::Operator => Reach::Rights(&Right::OF_PEOPLE),
            Self::Application => Reach::Rights(&[Right::Read, Right::Submit, Right::Spend]),
            Self::Reader => Reach::Rights(&[Right::Read]),
        }
    }

    /// Whether it may call the method at `path`, which asks for `right`.
    #[must_use]
    pub fn may_call(self, path: &str, right: Right) -> bool {
        right == Right::Open
            || match self.reach() {
                Reach::Methods(paths) => paths.contains(&path),
                Reach::Rights(rights) => rights.contains(&right),
            }
    }

    /// The methods that it may call, of a service's role; none where rights decide.
    #[must_use]
    pub const fn methods(self) -> &'static [&'static str] {
        match self.reach() {
            Reach::Methods(paths) => paths,
            Reach::Rights(_) => &[],
        }
    }

    /// The rights that it holds, of a person's role; none where methods decide.
    #[must_use]
    pub const fn rights(self) -> &'static [Right] {
        match self.reach() {
            Reach::Methods(_) => &[],
            Reach::Rights(rights) => rights,
        }
    }

    /// The services that it opens connections to, in the order of [`Role::ALL`].
    #[must_use]
    pub fn callees(self) -> Vec<Self> {
        let services = [Self::Chain, Self::Wallet, Self::Miner, Self::Consensus, Self::Peer];
        let calls = |service: &Self| match self.reach() {
            Reach::Methods(paths) => {
                let package = format!("/pentad.{service}.");
                paths.iter().any(|path| path.starts_with(&package))
            }
            Reach::Rights(_) => true,
        };
        services.into_iter().filter(calls).collect()
    }

    /// Whether it listens, and so needs a certificate that clients accept.
    #[must_use]
    pub const fn listens(self) -> bool {
        !matches!(self, Self::Operator | Self::Application | Self::Reader)
    }

    /// Its name, as in certificates.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Wallet => "wallet",
            Self::Miner => "miner",
            Self::Consensus => "consensus",
            Self::Peer => "peer",
            Self::Node => "node",
            Self::Worker => "worker",
            Self::Operator => "operator",
            Self::Application => "application",
            Self::Reader => "reader",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a role.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no role {0:?}")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.name() == name);
        found.ok_or_else(|| UnknownRole(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_calls_whom_is_as_the_architecture_says() {
        for (role, callees) in [
            (Role::Chain, &[][..]),
            (Role::Wallet, &[Role::Chain]),
            (Role::Miner, &[Role::Chain, Role::Wallet]),
            (Role::Consensus, &[Role::Chain, Role::Peer]),
            (Role::Peer, &[Role::Chain]),
            (Role::Node, &[]),
            (Role::Worker, &[Role::Miner]),
        ] {
            assert_eq!(role.callees(), callees, "{role}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
        "Chain".parse::<Role>().expect_err("names are lower case");
    }

    #[test]
    fn no_role_of_people_holds_internal() {
        for role in Role::ALL.into_iter().filter(|role| !role.listens()) {
            assert!(!role.may_call("/pentad.x", Right::Internal), "{role}");
            assert!(role.may_call("/pentad.x", Right::Read), "{role}");
        }
    }
}
