//! Commands find their network by contexts.

use std::path::Path;
use std::process::Command;

use pentad_tests::{Devnet, binary};
use serde_json::Value;

/// Somebody at home: a folder to work in and one for settings.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("work")).expect("a folder");
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, line: &str, variables: &[(&str, &str)]) -> (i32, Value, String) {
        let output = Command::new(binary("pentad"))
            .args(["--output", "json"])
            .args(line.split(' '))
            .current_dir(self.path().join("work"))
            .env("HOME", self.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("PENTAD_CONTEXTS")
            .envs(variables.iter().copied())
            .output()
            .expect("pentad runs");
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("an exit code"), json, errors)
    }

    fn ask(&self, line: &str) -> Value {
        let (code, json, errors) = self.run(line, &[]);
        assert_eq!(code, 0, "{line}: {errors}");
        json
    }

    fn refused(&self, line: &str, code: i32, word: &str) {
        let (exit, _, errors) = self.run(line, &[]);
        assert_eq!(exit, code, "{line}: {errors}");
        assert!(errors.contains(word), "{line}: no {word:?} in {errors}");
    }
}

#[test]
fn what_is_nearest_says_which_network_is_meant() {
    let home = Home::new();
    home.refused("printwallet", 2, "no network");
    // The last devnet is found from everywhere, but not stopped.
    let up = home.ask("devnet up --nodes 1 --base-port 0 --detach --dir ../far");
    let genesis = up["genesis_address"].as_str().expect("an address");
    let first = home.ask("printwallet");
    assert_eq!(first["wallets"][0]["addresses"][0], genesis, "{first}");
    let shown = home.ask("context show");
    assert_eq!((&shown["context"], &shown["network"]), (&"devnet".into(), &"devnet (pow)".into()));
    home.refused("devnet down", 2, "no network");
    let (code, ..) = home.run("devnet down", &[("PENTAD_GRPC", "127.0.0.1:1")]);
    assert_eq!(code, 2, "an address is no devnet");

    let lab = Devnet::up(2);
    let of_lab = |number| lab.on(number, &["printwallet"]).success();
    let dir = lab.dir().display();
    home.ask(&format!("context set lab --dir {dir} --node 2"));
    assert_eq!(home.ask("printwallet"), first, "kept, but not in use");
    assert_eq!(home.ask("printwallet --context lab"), of_lab(2));
    assert_eq!(home.ask("printwallet --context lab --node 1"), of_lab(1), "the flag counts");
    let listed = home.ask("context use lab");
    assert_eq!(listed["contexts"][1]["name"], "lab", "{listed}");
    assert_eq!(listed["contexts"][1]["current"], true, "{listed}");
    assert_eq!(home.ask("printwallet"), of_lab(2));

    // The environment before the choice, a flag before the environment.
    let far = [("PENTAD_CONTEXT", "devnet")];
    assert_eq!(home.run("printwallet", &far).1, first);
    assert_eq!(home.run(&format!("printwallet --dir {dir} --node 2"), &far).1, of_lab(2));
    let node = lab.node(1);
    let cookie = node.cookie_path();
    home.ask(&format!("context set one --grpc {} --cookie {}", node.grpc(), cookie.display()));
    assert_eq!(home.ask("--context one printwallet"), of_lab(1));
    assert_eq!(home.ask("chain get-info --context one")["engine"], "pow");

    home.refused("printwallet --context la", 2, "devnet, lab, one");
    home.refused("printwallet --context lab --grpc 127.0.0.1:1", 2, "--context");
    home.refused("context use la", 2, "devnet, lab, one");
    home.refused("context set lab", 2, "--dir or --grpc");
    home.refused("context set lab --dir nowhere", 2, "nowhere");
    home.refused("devnet status --context one", 0, "no devnet");
    home.refused("verify-proof x --context one", 2, "no chain spec");
    home.ask("context forget lab");
    assert_eq!(home.ask("printwallet"), first, "nothing is chosen any more");
    assert_eq!(home.ask("devnet down --context devnet")["stopped"][0], "node1");
}
