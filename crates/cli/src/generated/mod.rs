//! `pentad SERVICE METHOD`: every method of every service, from the descriptors that the services
//! themselves are built from. Nothing here names a service, a method or a field.

mod call;
mod codec;
mod command;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod fixture_server;
mod render;
mod request;
mod schema;
mod value;

use clap::{ArgMatches, Command};

use crate::args::Globals;
use crate::console::Console;
use crate::fault::Fault;
use schema::Schema;

/// A command with a subcommand for each service.
pub fn extend(command: Command) -> Command {
    command::extend(command, Schema::own())
}

/// The call that a command line asks for; `None` when it names one of the everyday verbs.
pub fn find(matches: &ArgMatches) -> Option<Result<Call, Fault>> {
    request::find(Schema::own(), matches)
}

/// A method with its requests, ready to be sent.
pub use request::Call;

/// Sends a call and prints what comes back.
///
/// # Errors
/// The node's no, or that it cannot be reached.
pub async fn run(console: Console, globals: &Globals, call: Call) -> Result<(), Fault> {
    call::run(console, globals, Schema::own(), call).await
}
