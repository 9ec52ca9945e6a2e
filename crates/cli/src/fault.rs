//! Why a command was not done, for people and for scripts.

use std::error::Error as _;
use std::fmt::{Display, Write as _};
use std::path::Path;

use clap::error::{ContextKind, ContextValue};
use pentad_api::status::{code_name, explain, root_cause};
use pentad_network_file::NetworkFileError;
use pentad_trust::HandshakeError;
use serde_json::{Value, json};
use tonic::{Code, Status};

/// What kind of no it is: the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The answer is no.
    Refused = 1,
    /// The command makes no sense.
    Usage = 2,
    /// No node answered, or it died before it did.
    Unreachable = 3,
    /// The node does not let this caller do this.
    Denied = 4,
}

/// Commands that are offered in place of one that there is not.
const SIMILAR_MAX: usize = 3;
/// What to do about a command that makes no sense, unless there is something better to say.
const HELP: &str = "--help shows what can be typed";

/// A command that was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    exit: Exit,
    code: Code,
    reason: String,
    message: String,
    hint: Option<String>,
}

impl Fault {
    fn new(exit: Exit, code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self { exit, code, reason: reason.to_owned(), message: message.into(), hint: None }
    }

    /// The answer is no.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, Code::FailedPrecondition, "REFUSED", message)
    }

    /// The command makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, Code::InvalidArgument, "USAGE", message).with_hint(HELP)
    }

    /// No node answered.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, Code::Unavailable, "UNREACHABLE", message)
    }

    /// There is no credential to show.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(Exit::Denied, Code::Unauthenticated, "DENIED", message)
    }

    /// A file that cannot be written.
    pub fn unwritable(path: &Path, problem: impl Display) -> Self {
        Self::refused(format!("cannot write {}: {problem}", path.display()))
    }

    /// What to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The hint, unless there is one already.
    #[must_use]
    pub fn or_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// A call that failed; `node` names whom it went to.
    pub fn of_status(status: &Status, node: &str) -> Self {
        if let Some(error) = HandshakeError::among(status) {
            return Self::of_handshake(&error, node);
        }
        let explanation = explain(status);
        let exit = match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Exit::Denied,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Exit::Unreachable,
            // A status that the transport made: the connection broke before the answer was here.
            _ if status.source().is_some() => Exit::Unreachable,
            _ => Exit::Refused,
        };
        let from_server = !explanation.reason.is_empty();
        let message = match exit {
            Exit::Unreachable if !from_server => {
                format!("no answer from {node}: {}", root_cause(status))
            }
            _ => status.message().to_owned(),
        };
        let (code, reason) = match (exit, from_server) {
            (_, true) => (status.code(), explanation.reason.as_str()),
            (Exit::Unreachable, _) if status.code() != Code::DeadlineExceeded => {
                (Code::Unavailable, "UNREACHABLE")
            }
            _ => (status.code(), code_name(status.code())),
        };
        Self { hint: explanation.hint, ..Self::new(exit, code, reason, message) }
    }

    /// A call that did not get through TLS.
    fn of_handshake(error: &HandshakeError, node: &str) -> Self {
        let (reason, hint) = match error {
            HandshakeError::UnknownAuthority => (
                "UNKNOWN_AUTHORITY",
                "--tls-authority names the file with its authority; get the one in use now from \
                 whoever runs it",
            ),
            HandshakeError::Expired => (
                "CERTIFICATE_EXPIRED",
                "whoever runs it renews it with `pentad certs renew`; is the clock here right?",
            ),
            HandshakeError::OtherHost(_) => {
                ("OTHER_HOST", "call it by a name that `pentad certs issue --host` was told")
            }
            HandshakeError::Refused => (
                "CERTIFICATE_REFUSED",
                "`pentad certs show` says whether it has expired; when its authority was \
                 replaced, get the one that replaced it",
            ),
            HandshakeError::NoTls => {
                ("NO_TLS", "is it the gRPC address, and has that node a certificate?")
            }
        };
        let (exit, code) = match error {
            HandshakeError::Refused => (Exit::Denied, Code::Unauthenticated),
            _ => (Exit::Unreachable, Code::Unavailable),
        };
        Self::new(exit, code, reason, format!("no answer from {node}: {error}")).with_hint(hint)
    }

    /// The object that scripts get on standard error: `kind` is "error" or "warning".
    pub fn to_json(&self, kind: &str) -> Value {
        json!({kind: {
            "code": code_name(self.code),
            "reason": self.reason,
            "message": self.message,
            "hint": self.hint,
        }})
    }

    /// The lines that people get on standard error.
    pub fn to_text(&self) -> String {
        let mut text = format!("error: {}", self.message.trim_end());
        if let Some(hint) = &self.hint {
            // A String takes everything that is written to it.
            write!(text, "\nhint: {hint}").ok();
        }
        text
    }
}

/// The commands that look most like what was typed; clap gives them all, the best one last.
fn similar_commands(error: &clap::Error) -> Option<String> {
    let names = match error.get(ContextKind::SuggestedSubcommand)? {
        ContextValue::String(name) => vec![name],
        ContextValue::Strings(names) => names.iter().rev().take(SIMILAR_MAX).collect(),
        _ => return None,
    };
    let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
    Some(format!("did you mean {names}?"))
}

impl From<clap::Error> for Fault {
    /// What is typed wrongly: clap's first paragraph in one line, and its tip or where help is.
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut paragraphs = text.split("\n\n").map(one_line);
        let first = paragraphs.next().unwrap_or_default();
        let hint = |text: String| match text.strip_prefix("tip: ") {
            Some(tip) => Some(tip.to_owned()),
            None => text.strip_prefix("Usage: ").map(|usage| format!("usage: {usage}")),
        };
        let tip = similar_commands(&error).or_else(|| paragraphs.find_map(hint));
        Self::usage(first.strip_prefix("error: ").unwrap_or(&first))
            .with_hint(tip.unwrap_or_else(|| HELP.to_owned()))
    }
}

impl From<NetworkFileError> for Fault {
    fn from(error: NetworkFileError) -> Self {
        match error {
            NetworkFileError::Missing { .. } => Self::usage(error.to_string()).with_hint(
                "start one with `pentad devnet up`, or name the directory of another with --dir",
            ),
            _ => Self::refused(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pentad_api::Failure;

    use super::*;

    #[test]
    fn every_code_has_its_exit_code() {
        for (code, exit) in [
            (Code::Cancelled, Exit::Unreachable),
            (Code::Unknown, Exit::Refused),
            (Code::InvalidArgument, Exit::Refused),
            (Code::DeadlineExceeded, Exit::Unreachable),
            (Code::NotFound, Exit::Refused),
            (Code::AlreadyExists, Exit::Refused),
            (Code::PermissionDenied, Exit::Denied),
            (Code::ResourceExhausted, Exit::Refused),
            (Code::FailedPrecondition, Exit::Refused),
            (Code::Aborted, Exit::Refused),
            (Code::OutOfRange, Exit::Refused),
            (Code::Unimplemented, Exit::Refused),
            (Code::Internal, Exit::Refused),
            (Code::Unavailable, Exit::Unreachable),
            (Code::DataLoss, Exit::Refused),
            (Code::Unauthenticated, Exit::Denied),
        ] {
            let status = Status::new(code, "because");
            assert_eq!(Fault::of_status(&status, "node1").exit(), exit, "{code:?}");
        }
    }

    #[test]
    fn a_broken_connection_is_unreachable_whatever_its_code() {
        let mut status = Status::unknown("transport error");
        status.set_source(std::sync::Arc::new(std::io::Error::from_raw_os_error(111)));
        let fault = Fault::of_status(&status, "node1 at 127.0.0.1:1");
        assert_eq!(fault.exit(), Exit::Unreachable);
        assert_eq!(
            fault.to_text(),
            "error: no answer from node1 at 127.0.0.1:1: Connection refused"
        );
    }

    #[test]
    fn failed_handshakes_have_reasons_of_their_own() {
        let other_host = HandshakeError::OtherHost("node2".to_owned());
        let mut reasons = BTreeSet::new();
        for (error, exit, code) in [
            (HandshakeError::UnknownAuthority, Exit::Unreachable, "UNAVAILABLE"),
            (HandshakeError::Expired, Exit::Unreachable, "UNAVAILABLE"),
            (other_host, Exit::Unreachable, "UNAVAILABLE"),
            (HandshakeError::Refused, Exit::Denied, "UNAUTHENTICATED"),
            (HandshakeError::NoTls, Exit::Unreachable, "UNAVAILABLE"),
        ] {
            let fault = Fault::of_handshake(&error, "node1");
            assert_eq!(fault.exit(), exit, "{error:?}");
            let json = fault.to_json("error");
            assert_eq!(json["error"]["code"], code, "{error:?}");
            assert!(reasons.insert(json["error"]["reason"].to_string()), "{error:?}: {json}");
        }
        for general in [Fault::denied(""), Fault::unreachable("")] {
            let json = general.to_json("error");
            assert!(!reasons.contains(&json["error"]["reason"].to_string()), "{json}");
        }
    }

    #[test]
    fn what_is_typed_wrongly_takes_two_lines() {
        for (arguments, text) in [
            (
                &["t", "--size", "x"][..],
                "error: invalid value 'x' for '--size <size>' [possible values: s, m]\n\
                 hint: --help shows what can be typed",
            ),
            (
                &["t", "--sise", "s"],
                "error: unexpected argument '--sise' found\n\
                 hint: a similar argument exists: '--size'",
            ),
            (
                &["t", "x"],
                "error: unexpected argument 'x' found\n\
                 hint: usage: t [OPTIONS]",
            ),
        ] {
            let size = clap::Arg::new("size").long("size").value_parser(["s", "m"]);
            let error = clap::Command::new("t").arg(size).try_get_matches_from(arguments);
            let fault = Fault::from(error.expect_err("typed wrongly"));
            assert_eq!(fault.exit(), Exit::Usage);
            assert_eq!(fault.to_text(), text);
        }
    }

    #[test]
    fn the_most_similar_command_is_offered_first() {
        let command = ["get-supply", "get-info", "get-block", "get-balance", "get-utxos"]
            .into_iter()
            .fold(clap::Command::new("t"), |command, name| {
                command.subcommand(clap::Command::new(name))
            });
        let error = command.try_get_matches_from(["t", "get-blok"]).expect_err("no such");
        let text = Fault::from(error).to_text();
        assert!(text.contains("\nhint: did you mean `get-block` or `"), "{text}");
        assert_eq!(text.matches('`').count(), 2 * SIMILAR_MAX, "{text}");
    }

    #[test]
    fn details_reach_people_and_scripts() {
        let status = Failure::new(Code::FailedPrecondition, "NOT_ENOUGH_COINS", "not enough")
            .with_hint("send less")
            .into();
        let fault = Fault::of_status(&status, "node1");
        assert_eq!(fault.to_text(), "error: not enough\nhint: send less");
        assert_eq!(
            fault.to_json("error").to_string(),
            concat!(
                r#"{"error":{"code":"FAILED_PRECONDITION","hint":"send less","#,
                r#""message":"not enough","reason":"NOT_ENOUGH_COINS"}}"#
            )
        );
    }
}
