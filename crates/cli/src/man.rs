//! Manual pages.

use std::path::{Path, PathBuf};

use clap::{Args, Command};

use crate::console::Console;
use crate::fault::Fault;
use crate::secret_file::create_directory;

#[derive(Debug, Args)]
#[command(after_help = "To read one: pentad man send | man -l -")]
pub struct ManArgs {
    /// A command; left out, the page is that of pentad itself
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,
    /// Write the pages of all commands into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub out: Option<PathBuf>,
}

/// `man`: a page on standard output, or all of them into a directory.
///
/// # Errors
/// When there is no such command, or a page cannot be written.
pub fn man(console: Console, mut all: Command, arguments: &ManArgs) -> Result<(), Fault> {
    if let Some(directory) = &arguments.out {
        create_directory(directory)?;
        return clap_mangen::generate_to(all, directory)
            .map_err(|error| unwritten(directory, &error));
    }
    all.build();
    let mut command = &all;
    for name in &arguments.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            let above = command.get_bin_name().unwrap_or_default();
            Fault::usage(format!("there is no command {name:?} of {above}"))
                .with_hint(format!("`{above} --help` lists what there is"))
        })?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut page)
        .map_err(|error| Fault::refused(format!("cannot make the page: {error}")))?;
    console.raw(&page)
}

fn unwritten(directory: &Path, error: &std::io::Error) -> Fault {
    Fault::refused(format!("cannot write into {}: {error}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Format;

    #[test]
    fn every_command_has_a_page() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let out = directory.path().join("man");
        let all = crate::command();
        let arguments = ManArgs { command: vec![], out: Some(out.clone()) };
        man(Console::new(Format::Table), all.clone(), &arguments).expect("written");
        let pages = std::fs::read_dir(&out).expect("listed").count();
        assert!(pages > 100, "{pages} pages");
        let page = std::fs::read_to_string(out.join("pentad-chain-get-block.1")).expect("a page");
        for words in ["A block by hash or by height", "Needs the right: read", "\\-\\-height"] {
            assert!(page.contains(words), "{words:?} is not in:\n{page}");
        }
        let arguments = ManArgs { command: vec!["chain".into(), "nonsense".into()], out: None };
        let fault = man(Console::new(Format::Table), all, &arguments).expect_err("no such");
        assert!(fault.to_text().contains("nonsense"), "{}", fault.to_text());
    }
}
