//! Other people's clients, from the project's Python environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::devnet::Node;

/// A program of the project's Python environment.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin").join(name);
    assert!(path.exists(), "{} is missing: run `make tools`", path.display());
    path
}

/// The Python of the project's environment, running a script of `tests/python`.
#[must_use]
pub fn python(script: &str) -> Command {
    let mut command = Command::new(tool("python"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script));
    command
}

/// What `buf curl` said.
#[derive(Debug)]
pub struct Curl {
    /// gRPC code, 0 for OK.
    pub code: i32,
    /// The answer, or the error as JSON; null when there was neither.
    pub json: Value,
    /// Both streams, for messages.
    pub text: String,
}

/// Calls a method (`package.Service/Method`) of a node through server reflection.
///
/// # Panics
/// When `buf` cannot be run.
#[must_use]
pub fn buf_curl(node: &Node, method: &str, request: &Value) -> Curl {
    let request = request.to_string();
    curl(node, Some(node.cookie()), &["-d", &request], &format!("/{method}"))
}

/// Lists the methods of a node through server reflection.
///
/// # Panics
/// When `buf` cannot be run or the call fails.
#[must_use]
pub fn buf_curl_list(node: &Node) -> Vec<String> {
    let answer = curl(node, None, &["--list-methods"], "");
    assert_eq!(answer.code, 0, "{}", answer.text);
    answer.text.lines().map(str::to_owned).filter(|line| line.contains('/')).collect()
}

impl Curl {
    /// Calls without any credential.
    #[must_use]
    pub fn anonymous(node: &Node, method: &str, request: &Value) -> Self {
        curl(node, None, &["-d", &request.to_string()], &format!("/{method}"))
    }

    /// Calls with a credential of the caller's choice.
    #[must_use]
    pub fn with_cookie(node: &Node, cookie: &str, method: &str, request: &Value) -> Self {
        let request = request.to_string();
        curl(node, Some(cookie.to_owned()), &["-d", &request], &format!("/{method}"))
    }
}

fn curl(node: &Node, cookie: Option<String>, arguments: &[&str], path: &str) -> Curl {
    let mut command = Command::new(tool("buf"));
    command.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"]).args(arguments);
    if let Some(cookie) = cookie {
        command.arg("-H").arg(format!("authorization: Bearer {cookie}"));
    }
    let Output { status, stdout, stderr } =
        command.arg(format!("http://{}{path}", node.grpc())).output().expect("buf runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    // buf's exit code is eight times the gRPC code, in eight bits.
    let code = status.code().expect("buf exits") / 8;
    let json = serde_json::from_str(&stdout)
        .or_else(|_| serde_json::from_str(&stderr))
        .unwrap_or(Value::Null);
    Curl { code, json, text: format!("{stdout}{stderr}") }
}
