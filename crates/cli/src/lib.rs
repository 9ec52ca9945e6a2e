//! The `pentad` command: everyday verbs over the nodes of a network.
//!
//! Exit codes: 0 done, 1 the answer is no, 2 usage, 3 unreachable, 4 denied.

mod args;
mod certs;
mod coins;
mod console;
mod context;
mod credentials;
mod devnet;
mod fault;
mod generated;
mod man;
mod new_file;
mod node_binary;
mod progress;
#[cfg(test)]
mod reference;
mod secret_file;
mod table;
mod target;
mod top;
mod trace;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use crate::args::{Cli, DevnetVerb, Globals, Verb};
use crate::console::{Console, Format};
use crate::fault::Fault;

/// Runs one command; `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let asked = command()
        .try_get_matches_from(&arguments)
        .inspect(trace::begin)
        .and_then(|matches| Asked::from_matches(&matches));
    let (console, done) = match asked {
        Ok(asked) => {
            let console = Console::new(asked.globals().output);
            (console, execute(console, asked))
        }
        Err(error) if is_help(&error) => return Console::new(Format::Table).help(&error),
        Err(error) => (Console::new(Format::wanted(&arguments)), Err(Fault::from(error))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => console.fail(&fault),
    }
}

/// All that can be typed.
fn command() -> Command {
    generated::extend(Cli::command())
}

fn is_help(error: &clap::Error) -> bool {
    !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// What a command line asks for.
enum Asked {
    /// One of the everyday verbs.
    Verb(Cli),
    /// A method of a service.
    Method(Globals, Result<generated::Call, Fault>),
}

impl Asked {
    fn from_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut asked = match generated::find(matches) {
            Some(call) => Self::Method(Globals::from_arg_matches(matches)?, call),
            None => Self::Verb(Cli::from_arg_matches(matches)?),
        };
        match &mut asked {
            Self::Verb(cli) => cli.globals.settle(matches)?,
            Self::Method(globals, _) => globals.settle(matches)?,
        }
        Ok(asked)
    }

    fn globals(&self) -> &Globals {
        match self {
            Self::Verb(cli) => &cli.globals,
            Self::Method(globals, _) => globals,
        }
    }
}

fn execute(console: Console, asked: Asked) -> Result<(), Fault> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::refused(format!("cannot start the runtime: {error}")))?
        .block_on(async {
            let done = match asked {
                Asked::Verb(cli) => dispatch(console, cli).await,
                Asked::Method(globals, Ok(call)) => generated::run(console, &globals, call).await,
                Asked::Method(_, Err(fault)) => Err(fault),
            };
            trace::end(console, &done).await;
            done
        })
}

async fn dispatch(console: Console, cli: Cli) -> Result<(), Fault> {
    let Cli { globals, verb } = cli;
    match verb {
        Verb::Devnet(verb) => match verb {
            DevnetVerb::Up(up) => devnet::up(console, &globals, &up).await,
            DevnetVerb::Status => devnet::status(console, &globals).await,
            DevnetVerb::Down => devnet::down(console, &globals).await,
        },
        Verb::Certs(verb) => certs::certs(console, &verb),
        Verb::Context(verb) => context::context(console, &globals, verb),
        Verb::Start(start) => Err(verbs::start(console, &globals, &start)),
        Verb::Genesis(genesis) => verbs::genesis(console, &genesis),
        Verb::Validator(arguments) => verbs::validator(console, &arguments),
        Verb::Createwallet(create) => verbs::create_wallet(console, &globals, &create).await,
        Verb::Printwallet => verbs::print_wallets(console, &globals).await,
        Verb::Backup(arguments) => verbs::backup(console, &globals, &arguments).await,
        Verb::Restore(arguments) => verbs::restore(console, &globals, &arguments).await,
        Verb::Balance { address } => verbs::balance(console, &globals, address).await,
        Verb::Send(send) => verbs::send(console, &globals, send).await,
        Verb::Bump(bump) => verbs::bump(console, &globals, bump).await,
        Verb::History(arguments) => verbs::history(console, &globals, arguments).await,
        Verb::Print { height } => verbs::print(console, &globals, height).await,
        Verb::Generate { blocks } => verbs::generate(console, &globals, blocks).await,
        Verb::Proof(arguments) => verbs::proof(console, &globals, &arguments).await,
        Verb::VerifyProof(arguments) => verbs::verify_proof(console, &globals, &arguments),
        Verb::ExplainTx(arguments) => verbs::explain_tx(console, &globals, arguments).await,
        Verb::ExplainStall => verbs::explain_stall(console, &globals).await,
        Verb::Verify(arguments) => verbs::verify(console, &globals, &arguments).await,
        Verb::Sync(arguments) => verbs::sync(console, &globals, &arguments).await,
        Verb::Top(arguments) => top::top(&globals, &arguments).await,
        Verb::Completions { shell } => console.raw(&completions(shell)),
        Verb::Man(arguments) => man::man(console, command(), &arguments),
    }
}

fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "pentad", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn shells_complete_verbs_and_methods() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completions(shell)).expect("text");
            for word in ["printwallet", "get-utxos", "include-mempool"] {
                assert!(script.contains(word), "{word} is not in the script of {shell}");
            }
        }
    }
}
