//! `pentad certs …`: authorities, certificates and tokens.

mod authority;
mod files;
mod roles;
mod show;
#[cfg(test)]
mod tests;
mod tokens;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, value_parser};
use pentad_trust::{Right, Role};

use crate::console::Console;
use crate::fault::Fault;

/// Days that a certificate holds unless it is said: renewal has to be routine.
const CERTIFICATE_DAYS: &str = "90";
/// Days that an authority holds unless it is said.
const AUTHORITY_DAYS: &str = "3650";
/// Days that a token holds unless it is said.
const TOKEN_DAYS: &str = "30";
const DAY_SECONDS: i64 = 86_400;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum CertsVerb {
    /// Make an authority in a new directory
    Init(InitArgs),
    /// Make a certificate and its key
    #[command(after_help = "\
It writes DIR/NAME.pem and DIR/NAME.key. localhost, 127.0.0.1 and ::1 are always among the hosts of
a role that listens. `pentad certs roles` shows what each role may call.")]
    Issue(IssueArgs),
    /// Make certificates of the same names, roles and hosts with new keys
    #[command(after_help = "\
With --authority it makes a new authority and no certificates: DIR/authority.pem then holds the new
and the old one, until `pentad certs retire`. Once every machine has that file, `pentad certs renew`
makes certificates of the new one. Processes notice new files by themselves.")]
    Renew(RenewArgs),
    /// Take every authority but the newest out of DIR/authority.pem
    #[command(after_help = "\
It is refused while DIR has a certificate of one that would go.")]
    Retire {
        /// Directory of the authority
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Show what certificates say, and how long they hold
    Show(ShowArgs),
    /// Show which role may call what
    Roles,
    /// Make a token and print it, once, or write it to a file; the file of tokens has only its hash
    Token(TokenArgs),
    /// Take a token back
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// Directory to make
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Whose authority it is: 1 to 64 of a-z, 0-9, '-', '_', '.'
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub organisation: String,
    /// How long it holds
    #[arg(long, value_name = "DAYS", default_value = AUTHORITY_DAYS)]
    pub days: u32,
}

#[derive(Debug, Args)]
pub struct IssueArgs {
    /// Directory of the authority
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// What the holder does
    #[arg(long, value_name = "ROLE", value_parser = role)]
    pub role: Role,
    /// What the holder is called: 1 to 64 of a-z, 0-9, '-', '_', '.'
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Names and addresses that others reach the holder at
    #[arg(long, value_name = "HOST", num_args = 1..)]
    pub host: Vec<String>,
    /// How long it holds
    #[arg(long, value_name = "DAYS", default_value = CERTIFICATE_DAYS)]
    pub days: u32,
}

#[derive(Debug, Args)]
pub struct RenewArgs {
    /// Directory of the authority
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Only these [default: all]
    #[arg(long, value_name = "NAME", conflicts_with = "authority")]
    pub name: Vec<String>,
    /// Only those that expire within so many days
    #[arg(long, value_name = "DAYS", conflicts_with = "authority")]
    pub within: Option<u32>,
    /// How long they hold from now on
    #[arg(long, value_name = "DAYS", default_value = CERTIFICATE_DAYS)]
    #[arg(conflicts_with = "authority")]
    pub days: u32,
    /// Make a new authority, which holds as long as the one before, and nothing else
    #[arg(long)]
    pub authority: bool,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Files with certificates
    #[arg(value_name = "FILE", required_unless_present = "dir")]
    pub files: Vec<PathBuf>,
    /// Every certificate of an authority's directory
    #[arg(long, value_name = "DIR", conflicts_with = "files")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The file of tokens; made when there is none
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// Whose it is: 1 to 64 of a-z, 0-9, '-', '_', '.'
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// What it allows: read, submit, spend, operate, admin
    #[arg(long, value_name = "RIGHTS", value_delimiter = ',', required = true)]
    pub rights: Vec<Right>,
    /// How long it holds
    #[arg(long, value_name = "DAYS", default_value = TOKEN_DAYS)]
    #[arg(value_parser = value_parser!(u32).range(1..=36_500))]
    pub days: u32,
    /// A new file for the token, of mode 0600, in place of standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The file of tokens
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// Whose it is
    #[arg(long, value_name = "NAME")]
    pub name: String,
}

fn role(name: &str) -> Result<Role, String> {
    let names = Role::ALL.map(Role::name).join(", ");
    name.parse().map_err(|error| format!("{error}; there are {names}"))
}

/// `certs`.
///
/// # Errors
/// When a file is not what it has to be, or cannot be written.
pub fn certs(console: Console, verb: &CertsVerb) -> Result<(), Fault> {
    match verb {
        CertsVerb::Init(arguments) => authority::init(console, arguments),
        CertsVerb::Issue(arguments) => authority::issue(console, arguments),
        CertsVerb::Renew(arguments) => authority::renew(console, arguments),
        CertsVerb::Retire { dir } => authority::retire(console, dir),
        CertsVerb::Show(arguments) => show::show(console, arguments),
        CertsVerb::Roles => console.answer(&roles::roles()),
        CertsVerb::Token(arguments) => tokens::token(console, arguments),
        CertsVerb::Revoke(arguments) => tokens::revoke(console, arguments),
    }
}

/// Seconds since 1970.
fn now() -> Result<i64, Fault> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    let seconds = since.and_then(|since| i64::try_from(since.as_secs()).ok());
    seconds.ok_or_else(|| Fault::refused("the clock of this machine is before 1970"))
}
