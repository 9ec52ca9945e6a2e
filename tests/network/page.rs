//! Pages whose commands do what they say, and print what they show.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pentad_tests::{free_ports, normalize, path_folder, sessions};

/// Marks the sessions that are run.
const MARK: &str = "<!-- Run by";
/// The first port of a network unless it is told another, as the pages show it.
const BASE: u16 = 5678;
/// Ports that each network of a page may have.
const PORTS: u16 = 40;

/// A page of the project's documentation.
pub struct Page {
    /// From the root of the project.
    pub name: &'static str,
    /// The variable that lets the test write what it saw.
    pub update: &'static str,
    /// What is waited for behind a command: a script is faster than any person, and a block needs
    /// a moment to the other nodes.
    pub until: fn(&str) -> Option<&'static str>,
}

/// The networks of a page have the default ports; here others may be running.
struct Ports {
    base: u16,
    networks: u16,
}

impl Ports {
    fn flag(&self, network: u16) -> String {
        format!(" --base-port {}", self.base + network * PORTS)
    }

    fn address(base: u16, step: u16) -> String {
        format!("127.0.0.1:{}", base + step)
    }

    /// A command as it is run here.
    fn moved(&mut self, command: &str) -> String {
        let mut command = command.to_owned();
        for step in 0..PORTS {
            let there = Self::address(self.base, step);
            command = command.replace(&Self::address(BASE, step), &there);
        }
        if command.contains("devnet up") {
            let flag = self.flag(self.networks);
            self.networks += 1;
            command = command.replace("devnet up", &format!("devnet up{flag}"));
        }
        command
    }

    /// What was seen here, as the page shows it.
    fn moved_back(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for network in 0..self.networks {
            text = text.replace(&self.flag(network), "");
        }
        for step in 0..PORTS {
            let there = Self::address(self.base, step);
            text = text.replace(&there, &Self::address(BASE, step));
        }
        text
    }
}

impl Page {
    fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(self.name)
    }

    /// Runs all commands in one shell; what each printed.
    fn run(&self, commands: &[String], folder: &Path, path: &Path) -> Vec<String> {
        let mut script = String::new();
        for (number, command) in commands.iter().enumerate() {
            script.push_str(&format!("{{ {command}\n}} > {number}.out 2>&1\n"));
            if let Some(there) = (self.until)(command) {
                let until = format!("until {there}; do :; done");
                script.push_str(&format!("timeout 20 bash -c '{until}' &>/dev/null\n"));
            }
        }
        let inherited = std::env::var("PATH").expect("a PATH");
        let mut bash = Command::new("bash");
        for name in ["CONTEXT", "DIR", "NODE", "OUTPUT", "GRPC", "COOKIE"] {
            bash.env_remove(format!("PENTAD_{name}"));
        }
        let output = bash
            .arg("-c")
            .arg(script)
            .current_dir(folder)
            .env("PATH", format!("{}:{inherited}", path.display()))
            .env("PENTAD_CONTEXTS", path.join("contexts.toml"))
            .output()
            .expect("bash runs");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = |number| fs::read_to_string(folder.join(format!("{number}.out")));
        (0..commands.len()).map(|number| read(number).expect("what it printed")).collect()
    }

    /// Runs the commands and compares what they print with what the page shows.
    ///
    /// # Panics
    /// When it is something else.
    pub fn hold(&self) {
        let text = fs::read_to_string(self.path()).expect("the page");
        let sessions = sessions(&text, MARK);
        assert!(sessions.len() >= 3, "the marks are gone");
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let path = tempfile::TempDir::new().expect("a temporary folder");
        path_folder(path.path(), &["pentad", "pentad-node"]);
        let mut ports = Ports { base: free_ports(2 * PORTS), networks: 0 };
        let commands = sessions.iter().flat_map(|session| &session.commands);
        let commands: Vec<_> = commands.map(|command| ports.moved(command)).collect();
        let outputs = self.run(&commands, folder.path(), path.path());
        let mut printed =
            commands.iter().zip(outputs).map(|(command, output)| format!("$ {command}\n{output}"));
        let blocks: Vec<String> = sessions
            .iter()
            .map(|session| printed.by_ref().take(session.commands.len()).collect())
            .collect();
        let mut seen = text.clone();
        // The last first, so that the places of the others hold.
        for (session, block) in sessions.iter().zip(&blocks).rev() {
            seen.replace_range(session.range.clone(), block);
        }
        let folder = folder.path().canonicalize().expect("it is there");
        let seen = ports.moved_back(&seen).replace(&folder.display().to_string(), "/home/you");
        if std::env::var_os(self.update).is_some() {
            fs::write(self.path(), &seen).expect("a written page");
            return;
        }
        let hint = format!("{}=1 rewrites {}", self.update, self.name);
        for (shown, seen_line) in text.lines().zip(seen.lines()) {
            assert_eq!(normalize(shown), normalize(seen_line), "{hint}\nseen:\n{seen}");
        }
        assert_eq!(text.lines().count(), seen.lines().count(), "{hint}");
    }
}
