//! Pages whose commands do what they say, and print what they show.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pentad_tests::{DEADLINE, free_ports, normalize, path_folder, sessions};

/// The first port of a network unless it is told another, as the pages show it.
const BASE: u16 = 5678;
/// Ports that each network of a page may have.
const PORTS: u16 = 40;

/// What is started ends with the shell, which ends when something does not happen. What does not
/// end when it is asked to is killed, and named.
const PROLOGUE: &str = "\
folder=$PWD
end() {
    kill $(jobs -p) 2>/dev/null
    local until=$((SECONDS + deadline))
    while [ -n \"$(jobs -rp)\" ] && ((SECONDS < until)); do sleep 0.02; done
    if [ -n \"$(jobs -rp)\" ]; then
        echo 'it does not end:'
        jobs -rl
        kill -KILL $(jobs -rp)
    fi
    wait
} >&2
trap end EXIT
in_vain() {
    echo \"it never happens: $1\"
    tail -n 20 \"$folder\"/*.log
    exit 1
} >&2
";

/// A page of the project's documentation.
pub struct Page {
    /// From the root of the project.
    pub name: &'static str,
    /// The test's own file, `file!()`, which marks the sessions that it runs.
    pub test: &'static str,
    /// The variable that lets the test write what it saw.
    pub update: &'static str,
    /// What the page calls something, and what it is called here, where others may be running.
    pub names: Vec<(String, String)>,
    /// What is waited for behind a command: a script is faster than any person, and a block needs
    /// a moment to the other nodes.
    pub until: fn(&str) -> Option<&'static str>,
}

/// Names for development networks that have the default ports on the page; each `up` is the command
/// that starts one.
pub fn devnets(ups: &[&str]) -> Vec<(String, String)> {
    let base = free_ports(2 * PORTS);
    let mut names = Vec::new();
    for (number, up) in (0..).zip(ups) {
        let there = format!("devnet up --base-port {}", base + number * PORTS);
        names.push(((*up).to_owned(), up.replace("devnet up", &there)));
    }
    let address = |base: u16, step: u16| format!("127.0.0.1:{}", base + step);
    names.extend((0..PORTS).map(|step| (address(BASE, step), address(base, step))));
    names
}

impl Page {
    fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(self.name)
    }

    /// A command of the page as it is run here.
    fn moved(&self, command: &str) -> String {
        let names = self.names.iter();
        names.fold(command.to_owned(), |text, (shown, here)| text.replace(shown, here))
    }

    /// What was seen here as the page shows it.
    fn moved_back(&self, text: &str) -> String {
        let names = self.names.iter();
        names.fold(text.to_owned(), |text, (shown, here)| text.replace(here, shown))
    }

    /// Runs all commands in one shell, which ends what it started; what each printed.
    fn run(&self, commands: &[String], folder: &Path, path: &Path) -> Vec<String> {
        let mut script = format!("deadline={}\n{PROLOGUE}", DEADLINE.as_secs());
        let output = |number: usize| path.join(format!("{number}.out"));
        for (number, command) in commands.iter().enumerate() {
            let (moved, output) = (self.moved(command), output(number));
            script.push_str(&format!("{{ {moved}\n}} > {} 2>&1\n", output.display()));
            if let Some(there) = (self.until)(command) {
                let until = format!("until {}; do sleep 0.02; done", self.moved(there));
                let wait = format!("timeout $deadline bash -c '{until}' &>/dev/null");
                script.push_str(&format!("{wait} || in_vain '{there}'\n"));
            }
        }
        let inherited = std::env::var("PATH").expect("a PATH");
        let mut bash = Command::new("bash");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PENTAD_") {
                bash.env_remove(name);
            }
        }
        let ended = bash
            .arg("-c")
            .arg(script)
            .current_dir(folder)
            .env("PATH", format!("{}:{inherited}", path.display()))
            .env("PENTAD_CONTEXTS", path.join("contexts.toml"))
            .output()
            .expect("bash runs");
        assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
        let read = |number| fs::read_to_string(output(number)).expect("what it printed");
        (0..commands.len()).map(read).collect()
    }

    /// Runs the commands and compares what they print with what the page shows.
    ///
    /// # Panics
    /// When it is something else.
    pub fn hold(&self) {
        let text = fs::read_to_string(self.path()).expect("the page");
        let sessions = sessions(&text, &format!("<!-- Run by {}", self.test));
        assert!(sessions.len() >= 3, "the marks are gone");
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let path = tempfile::TempDir::new().expect("a temporary folder");
        path_folder(path.path(), &["pentad", "pentad-node"]);
        let commands = sessions.iter().flat_map(|session| &session.commands);
        let commands: Vec<_> = commands.map(|typed| typed.command.clone()).collect();
        let outputs = self.run(&commands, folder.path(), path.path());
        let folder = folder.path().canonicalize().expect("it is there").display().to_string();
        let mut printed = commands.iter().zip(outputs).map(|(command, output)| {
            let output = self.moved_back(&output).replace(&folder, "/home/you");
            format!("$ {command}\n{output}")
        });
        let blocks: Vec<String> = sessions
            .iter()
            .map(|session| printed.by_ref().take(session.commands.len()).collect())
            .collect();
        let mut seen = text.clone();
        // The last first, so that the places of the others hold.
        for (session, block) in sessions.iter().zip(&blocks).rev() {
            seen.replace_range(session.range.clone(), block);
        }
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
