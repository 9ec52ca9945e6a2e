//! `pentad context …`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use pentad_ledger::spec::ChainSpec;
use pentad_network_file::NetworkFile;
use serde::Serialize;

use super::file::{self, Context, Contexts, DEVNET};
use super::place::{Place, What, read_contexts};
use crate::args::Globals;
use crate::console::{Answer, Console};
use crate::credentials::Credentials;
use crate::fault::Fault;
use crate::table::{grid, pairs};
use crate::target::choose;

/// What can be done with contexts.
#[derive(Debug, Subcommand)]
pub enum ContextVerb {
    /// List them, with a * at the one in use
    List,
    /// Show which network and node commands go to, and why
    Show,
    /// Let commands without flags go to a context
    Use(UseArgs),
    /// Keep --dir, --grpc, --node, --cookie, --token-file and --tls-… under a name
    Set(SetArgs),
    /// Take a context away
    Forget {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct UseArgs {
    /// Its name
    #[arg(required_unless_present = "none")]
    pub name: Option<String>,
    /// None: the network in this directory, or else the last devnet
    #[arg(long, conflicts_with = "name")]
    pub none: bool,
}

#[derive(Debug, Args)]
pub struct SetArgs {
    /// Its name; one of that name is replaced
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub name: String,
    /// The chain spec of the network, for checking proofs
    #[arg(long, value_name = "FILE")]
    pub chain: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Listed {
    contexts: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    current: bool,
    #[serde(flatten)]
    context: Context,
}

impl Answer for Listed {
    fn to_table(&self) -> String {
        if self.contexts.is_empty() {
            return "no contexts yet; `pentad devnet up` makes one".to_owned();
        }
        let row = |row: &Row| {
            let Context { dir, grpc, node, .. } = &row.context;
            let directory = dir.as_ref().map(|it| it.display().to_string()).unwrap_or_default();
            [
                if row.current { "*" } else { "" }.to_owned(),
                row.name.clone(),
                grpc.clone().unwrap_or(directory),
                node.map(|node| node.to_string()).unwrap_or_default(),
            ]
        };
        grid(["", "NAME", "NETWORK", "NODE"], &[3], self.contexts.iter().map(row).collect())
    }
}

/// Where commands go.
#[derive(Debug, Serialize)]
struct Shown {
    context: Option<String>,
    why: String,
    dir: Option<PathBuf>,
    /// Name of the node; none for an address.
    node: Option<String>,
    grpc: String,
    /// Where its metrics page is; none is known of an address.
    metrics: Option<SocketAddr>,
    cookie: Option<PathBuf>,
    token_file: Option<PathBuf>,
    tls_authority: Option<PathBuf>,
    tls_certificate: Option<PathBuf>,
    chain: Option<PathBuf>,
    /// Name of the network, by its chain spec.
    network: Option<String>,
}

impl Answer for Shown {
    fn to_table(&self) -> String {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|it| it.display().to_string());
        let rows = [
            ("context", self.context.clone()),
            ("why", Some(self.why.clone())),
            ("dir", path(&self.dir)),
            ("node", self.node.clone()),
            ("grpc", Some(self.grpc.clone())),
            ("metrics", self.metrics.map(|address| format!("http://{address}/metrics"))),
            ("cookie", path(&self.cookie)),
            ("token file", path(&self.token_file)),
            ("authority", path(&self.tls_authority)),
            ("certificate", path(&self.tls_certificate)),
            ("chain", path(&self.chain)),
            ("network", self.network.clone()),
        ];
        pairs(rows.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }
}

/// `context`.
///
/// # Errors
/// When there is no such context, or the file cannot be read or written.
pub fn context(console: Console, globals: &Globals, verb: ContextVerb) -> Result<(), Fault> {
    match verb {
        ContextVerb::List => return console.answer(&listed(read_contexts()?)),
        ContextVerb::Show => return console.answer(&shown(globals)?),
        ContextVerb::Use(UseArgs { name, .. }) => change(|contexts| {
            if let Some(name) = &name {
                contexts.get(name)?;
            }
            contexts.current = name;
            Ok(())
        })?,
        ContextVerb::Set(arguments) => {
            let context = wanted(globals, arguments.chain.as_deref())?;
            change(|contexts| {
                contexts.contexts.insert(arguments.name, context);
                Ok(())
            })?;
        }
        ContextVerb::Forget { name } => change(|contexts| {
            contexts.get(&name)?;
            contexts.contexts.remove(&name);
            contexts.current = contexts.current.take().filter(|current| *current != name);
            Ok(())
        })?,
    }
    console.answer(&listed(read_contexts()?))
}

/// Keeps a network as context `devnet`. A user without a home has no contexts.
///
/// # Errors
/// When the file cannot be read or written.
pub fn remember_devnet(directory: &Path) -> Result<(), Fault> {
    let Some(path) = file::path() else { return Ok(()) };
    let context = Context { dir: Some(absolute(directory)?), ..Context::default() };
    Contexts::change(&path, |contexts| {
        contexts.contexts.insert(DEVNET.to_owned(), context);
        Ok(())
    })
}

fn change(change: impl FnOnce(&mut Contexts) -> Result<(), Fault>) -> Result<(), Fault> {
    let path = file::path().ok_or_else(|| {
        Fault::usage("there is no home to keep contexts in")
            .with_hint("PENTAD_CONTEXTS names a file for them")
    })?;
    Contexts::change(&path, change)
}

fn listed(contexts: Contexts) -> Listed {
    let Contexts { current, contexts } = contexts;
    let row = |(name, context): (String, Context)| Row {
        current: current.as_ref() == Some(&name),
        name,
        context,
    };
    Listed { contexts: contexts.into_iter().map(row).collect() }
}

/// What the flags say, in paths that hold everywhere.
fn wanted(globals: &Globals, chain: Option<&Path>) -> Result<Context, Fault> {
    if globals.dir.is_none() && globals.grpc.is_none() {
        return Err(Fault::usage("a context needs --dir or --grpc")
            .with_hint("pentad context set lab --dir pentad-devnet --node 2"));
    }
    if let Some(directory) = globals.dir.as_ref().filter(|_| globals.grpc.is_none()) {
        choose(directory, &NetworkFile::read(directory)?, globals.node.unwrap_or(1))?;
    }
    let path = |path: Option<&Path>| path.map(absolute).transpose();
    Ok(Context {
        dir: path(globals.dir.as_deref().filter(|_| globals.grpc.is_none()))?,
        node: globals.node.filter(|_| globals.grpc.is_none()),
        grpc: globals.grpc.clone(),
        cookie: path(globals.cookie.as_deref())?,
        token_file: path(globals.token_file.as_deref())?,
        tls_authority: path(globals.tls_authority.as_deref())?,
        tls_certificate: path(globals.tls_certificate.as_deref())?,
        tls_key: path(globals.tls_key.as_deref())?,
        chain: path(chain)?,
    })
}

fn absolute(path: &Path) -> Result<PathBuf, Fault> {
    fs::canonicalize(path)
        .map_err(|error| Fault::usage(format!("cannot find {}: {error}", path.display())))
}

fn shown(globals: &Globals) -> Result<Shown, Fault> {
    let place = Place::of(globals)?;
    let chain = place.chain()?;
    let network = chain.as_deref().map(network_name).transpose()?;
    let (context, why) = (place.why.context().map(str::to_owned), place.why.text());
    let (dir, node, grpc, metrics, credentials) = match place.what {
        What::Node(address) => (None, None, address, None, place.credentials),
        What::Network(directory) => {
            let network = NetworkFile::read(&directory)?;
            let node = choose(&directory, &network, place.node)?;
            let credentials = place.credentials.for_node(node);
            let directory = absolute(&directory)?;
            let (name, grpc) = (node.name.clone(), node.grpc.to_string());
            (Some(directory), Some(name), grpc, Some(node.metrics), credentials)
        }
    };
    let Credentials { cookie, token_file, tls } = credentials;
    Ok(Shown {
        context,
        why,
        dir,
        node,
        grpc,
        metrics,
        cookie,
        token_file,
        tls_authority: tls.authority,
        tls_certificate: tls.certificate,
        chain,
        network,
    })
}

fn network_name(chain: &Path) -> Result<String, Fault> {
    let text = fs::read_to_string(chain)
        .map_err(|error| Fault::usage(format!("cannot read {}: {error}", chain.display())))?;
    let spec = ChainSpec::from_toml(&text)
        .map_err(|error| Fault::usage(format!("{}: {error}", chain.display())))?;
    Ok(format!("{} ({})", spec.name(), spec.engine().name()))
}

impl Place {
    /// The chain spec of the network, where it is known.
    ///
    /// # Errors
    /// When the network file cannot be read.
    pub fn chain(&self) -> Result<Option<PathBuf>, Fault> {
        match (&self.chain, &self.what) {
            (Some(chain), _) => Ok(Some(chain.clone())),
            (None, What::Node(_)) => Ok(None),
            (None, What::Network(directory)) => Ok(Some(NetworkFile::read(directory)?.chain_spec)),
        }
    }
}
