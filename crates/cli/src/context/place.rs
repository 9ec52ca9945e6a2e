//! Which network or node a command is meant for.

use std::path::{Path, PathBuf};

use pentad_network_file::{NetworkFile, NetworkFileError};

use super::file::{self, Context, Contexts, DEVNET};
use crate::args::{DATA_DIR, DEVNET_DIR, Globals};
use crate::credentials::Credentials;
use crate::devnet::process;
use crate::fault::Fault;

/// What a command is meant for, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it is.
    pub what: What,
    /// Of a network: which node, from 1.
    pub node: u16,
    /// What is shown to it, and what it is known by, where that is not what the network names.
    pub credentials: Credentials,
    /// The chain spec, where it is not the one that the network names.
    pub chain: Option<PathBuf>,
    /// What made the choice.
    pub why: Why,
}

/// A network of this machine or a single node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The directory where its network.json is.
    Network(PathBuf),
    /// A gRPC address.
    Node(String),
}

/// What made the choice; the first that there is, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// A flag or a variable of the environment, by its name, and the context that it named.
    Said(String, Option<String>),
    /// `pentad context use NAME`.
    Chosen(String),
    /// The directory that it is called in.
    Here,
    /// `devnet up` was here last.
    LastDevnet,
}

impl Why {
    /// The name of the context, where there is one.
    pub fn context(&self) -> Option<&str> {
        match self {
            Self::Said(_, name) => name.as_deref(),
            Self::Chosen(name) => Some(name),
            Self::Here => None,
            Self::LastDevnet => Some(DEVNET),
        }
    }

    /// In words.
    pub fn text(&self) -> String {
        match self {
            Self::Said(name, _) => format!("{name} says so"),
            Self::Chosen(name) => format!("`pentad context use {name}` chose it"),
            Self::Here => "it is in this directory".to_owned(),
            Self::LastDevnet => "`pentad devnet up` started it last".to_owned(),
        }
    }
}

impl Place {
    /// What flags and environment say, or else the context in use, or else the network in this
    /// directory, or else the one that `devnet up` started last.
    ///
    /// # Errors
    /// When the context that is meant is not there.
    pub fn of(globals: &Globals) -> Result<Self, Fault> {
        if let Some(place) = Self::owned(globals)? {
            return Ok(place);
        }
        let contexts = read_contexts()?;
        let last = contexts.contexts.get(DEVNET).filter(|context| {
            context.dir.as_deref().is_some_and(|directory| NetworkFile::read(directory).is_ok())
        });
        match last {
            Some(context) => Self::of_context(globals, context, Why::LastDevnet),
            // Nothing anywhere: the place where a newcomer's network would be.
            None => Ok(Self::here(globals, DEVNET_DIR.into())),
        }
    }

    /// As [`Place::of`] without the last devnet: what its caller has said, chosen or gone to, and
    /// may thus be started and stopped.
    fn owned(globals: &Globals) -> Result<Option<Self>, Fault> {
        let why = |flag: &str, variable: &str, context: Option<&String>| {
            let name = if globals.is_from_environment { variable } else { flag };
            Why::Said(name.to_owned(), context.cloned())
        };
        if let Some(name) = &globals.context {
            let contexts = read_contexts()?;
            let why = why("--context", "PENTAD_CONTEXT", Some(name));
            return Self::of_context(globals, contexts.get(name)?, why).map(Some);
        }
        if let Some(address) = &globals.grpc {
            let why = why("--grpc", "PENTAD_GRPC", None);
            let context = Context { grpc: Some(address.clone()), ..Context::default() };
            return Self::of_context(globals, &context, why).map(Some);
        }
        if let Some(directory) = &globals.dir {
            let why = why("--dir", "PENTAD_DIR", None);
            let context = Context { dir: Some(directory.clone()), ..Context::default() };
            return Self::of_context(globals, &context, why).map(Some);
        }
        let contexts = read_contexts()?;
        if let Some(name) = &contexts.current {
            let why = Why::Chosen(name.clone());
            return Self::of_context(globals, contexts.get(name)?, why).map(Some);
        }
        Ok(network_here()?.map(|directory| Self::here(globals, directory)))
    }

    /// The directory that `devnet` works on.
    ///
    /// # Errors
    /// When the context that is meant is not there, or is no network of this machine.
    pub fn devnet(globals: &Globals) -> Result<PathBuf, Fault> {
        // An address says nothing about a devnet.
        let globals = Globals { grpc: None, ..globals.clone() };
        let place = Self::owned(&globals)?.filter(|place| place.why != Why::Here);
        let Some(place) = place else { return Ok(DEVNET_DIR.into()) };
        match place.what {
            What::Network(directory) => Ok(directory),
            What::Node(address) => {
                let text = format!("{address} is no devnet, and {}", place.why.text());
                Err(Fault::usage(text).with_hint("--dir names the directory of one"))
            }
        }
    }

    fn of_context(globals: &Globals, context: &Context, why: Why) -> Result<Self, Fault> {
        let what = match (&context.grpc, &context.dir) {
            (Some(address), _) => What::Node(address.clone()),
            (None, Some(directory)) => What::Network(directory.clone()),
            (None, None) => {
                let name = why.context().unwrap_or_default();
                return Err(Fault::usage(format!("context {name:?} says neither dir nor grpc")));
            }
        };
        Ok(Self {
            what,
            node: globals.node.or(context.node).unwrap_or(1),
            credentials: Credentials::of(globals).or(&context.credentials()),
            chain: context.chain.clone(),
            why,
        })
    }

    fn here(globals: &Globals, directory: PathBuf) -> Self {
        Self {
            what: What::Network(directory),
            node: globals.node.unwrap_or(1),
            credentials: Credentials::of(globals),
            chain: None,
            why: Why::Here,
        }
    }
}

/// The contexts of this user.
///
/// # Errors
/// When the file cannot be read.
pub fn read_contexts() -> Result<Contexts, Fault> {
    file::path().map_or_else(|| Ok(Contexts::default()), |path| Contexts::read(&path))
}

/// `./pentad-devnet` or `./pentad-data`; one that runs before one that does not.
fn network_here() -> Result<Option<PathBuf>, Fault> {
    let mut found = Vec::new();
    for directory in [DEVNET_DIR, DATA_DIR].map(Path::new) {
        match NetworkFile::read(directory) {
            Ok(network) => found.push((directory, network)),
            Err(NetworkFileError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let runs = |network: &NetworkFile| network.nodes.iter().any(process::is_running);
    let running = found.iter().find(|(_, network)| runs(network));
    Ok(running.or(found.first()).map(|(directory, _)| directory.to_path_buf()))
}
