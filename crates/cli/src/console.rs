//! What is printed, and where.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use crate::fault::{Exit, Fault};

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For scripts
    Json,
}

impl Format {
    /// What a command line asks for that could not be parsed.
    pub fn wanted(arguments: &[OsString]) -> Self {
        let says_json =
            |pair: &[OsString]| pair.iter().eq(["--output", "json"].map(OsString::from).iter());
        let asked = arguments.windows(2).any(says_json)
            || arguments.iter().any(|argument| argument == "--output=json")
            || std::env::var_os("PENTAD_OUTPUT").is_some_and(|value| value == "json");
        if asked { Self::Json } else { Self::Table }
    }
}

/// An answer: its serialization is what scripts get.
pub trait Answer: Serialize {
    /// What people get, without a line end.
    fn to_table(&self) -> String;

    /// Commands worth trying next, shown on terminals only.
    fn next(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The standard streams. A reader that went away is no failure.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    format: Format,
}

impl Console {
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Somebody reads along, so that progress and hints make sense.
    pub fn is_for_people(self) -> bool {
        self.format == Format::Table
    }

    /// Prints an answer.
    ///
    /// # Errors
    /// When standard output cannot be written, a closed pipe excepted.
    pub fn answer(self, answer: &impl Answer) -> Result<(), Fault> {
        let mut text = match self.format {
            Format::Table => answer.to_table(),
            Format::Json => serde_json::to_string(answer)
                .map_err(|error| Fault::refused(format!("the answer is no JSON: {error}")))?,
        };
        text.push('\n');
        let next = answer.next();
        if self.is_for_people() && !next.is_empty() && io::stdout().is_terminal() {
            text.push_str("\nTry next:\n");
            next.iter().for_each(|line| text.extend(["  ", line, "\n"]));
        }
        written(io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()))
    }

    /// Prints bytes as they are, whatever the format.
    ///
    /// # Errors
    /// When standard output cannot be written, a closed pipe excepted.
    pub fn raw(self, bytes: &[u8]) -> Result<(), Fault> {
        written(io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()))
    }

    /// Asks for a yes where somebody is there to give it: on a terminal, and not of a script.
    ///
    /// # Errors
    /// When the answer is another, or cannot be read.
    pub fn confirm(self, question: &str) -> Result<(), Fault> {
        if !self.can_ask() {
            return Ok(());
        }
        let (mut stderr, mut answer) = (io::stderr(), String::new());
        let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
        asked
            .and_then(|()| io::stdin().read_line(&mut answer))
            .map_err(|error| Fault::refused(format!("cannot ask: {error}")))?;
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Fault::refused("not confirmed, nothing was done")),
        }
    }

    /// Somebody reads questions and types answers.
    pub fn can_ask(self) -> bool {
        self.is_for_people() && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Tells people what is going on, on standard error.
    pub fn note(self, line: &str) {
        if self.is_for_people() {
            say(line);
        }
    }

    /// Tells about something that went wrong and did not end the command.
    pub fn warn(self, fault: &Fault) {
        match self.format {
            Format::Table => say(&fault.to_text().replacen("error", "warning", 1)),
            Format::Json => say(&fault.to_json("warning").to_string()),
        }
    }

    /// Prints why the command was not done; its exit code.
    pub fn fail(self, fault: &Fault) -> ExitCode {
        match self.format {
            Format::Table => say(&fault.to_text()),
            Format::Json => say(&fault.to_json("error").to_string()),
        }
        ExitCode::from(fault.exit() as u8)
    }

    /// Prints the help that clap made: what was asked for, or else what is missing.
    pub fn help(self, help: &clap::Error) -> ExitCode {
        match written(help.print()) {
            Ok(()) if help.use_stderr() => ExitCode::from(Exit::Usage as u8),
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => self.fail(&fault),
        }
    }
}

/// Nobody is left to be told when standard error is closed.
fn say(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

fn written(outcome: io::Result<()>) -> Result<(), Fault> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Fault::refused(format!("cannot write the answer: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_cannot_be_parsed_still_says_how_to_answer() {
        let wanted =
            |line: &str| Format::wanted(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(wanted("pentad nonsense --output json"), Format::Json);
        assert_eq!(wanted("pentad --output=json nonsense"), Format::Json);
        assert_eq!(wanted("pentad nonsense"), Format::Table);
        assert_eq!(wanted("pentad nonsense --output"), Format::Table);
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert_eq!(written(Err(io::ErrorKind::BrokenPipe.into())), Ok(()));
        assert!(written(Err(io::ErrorKind::StorageFull.into())).is_err());
    }
}
