//! From a command line to a method and its requests.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use clap::ArgMatches;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor, Value};

use super::command::{Flag, JSON, TIMEOUT, flags};
use super::schema::{Schema, method_name, service_name};
use crate::fault::Fault;

/// A method with its requests.
pub struct Call {
    pub method: MethodDescriptor,
    pub requests: Requests,
    /// `None`: as long as it takes.
    pub timeout: Option<Duration>,
}

/// What is sent.
pub enum Requests {
    /// One message, from flags or JSON.
    One(DynamicMessage),
    /// JSON values, one after the other, as they are read.
    Many(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("method", &self.method.full_name()).finish_non_exhaustive()
    }
}

/// The call that a command line asks for; `None` when it names no service.
pub fn find(schema: &Schema, matches: &ArgMatches) -> Option<Result<Call, Fault>> {
    let (name, matches) = matches.subcommand()?;
    let services = schema.services();
    let service = services.iter().find(|service| service_name(service) == name)?;
    let (name, matches) = matches.subcommand()?;
    let method = service.methods().find(|method| method_name(method) == name)?;
    let timeout = matches.get_one::<u64>(TIMEOUT).map(|seconds| Duration::from_secs(*seconds));
    Some(requests(&method, matches).map(|requests| Call { method, requests, timeout }))
}

fn requests(method: &MethodDescriptor, matches: &ArgMatches) -> Result<Requests, Fault> {
    let Some(source) = matches.get_one::<String>(JSON) else {
        return Ok(Requests::One(of_flags(&method.input(), matches)));
    };
    let mut reader = open(source)?;
    if method.is_client_streaming() {
        return Ok(Requests::Many(reader));
    }
    let mut text = String::new();
    reader
        .read_to_string(&mut text)
        .map_err(|error| Fault::usage(format!("cannot read {source}: {error}")))?;
    let message = super::value::json(&method.input(), &text).map_err(|error| {
        Fault::usage(format!("{source} is no {}: {error}", method.input().name()))
            .with_hint("proto3 JSON is expected; --help lists the fields")
    })?;
    Ok(Requests::One(message))
}

fn open(source: &str) -> Result<Box<dyn Read + Send>, Fault> {
    if source == "-" {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(Path::new(source)).map_err(|error| {
        Fault::usage(format!("cannot read {source}: {error}"))
            .with_hint("--json takes a file, or - for standard input")
    })?;
    Ok(Box::new(BufReader::new(file)))
}

/// A request with the fields that were given.
fn of_flags(message: &MessageDescriptor, matches: &ArgMatches) -> DynamicMessage {
    let mut request = DynamicMessage::new(message.clone());
    for flag in flags(message) {
        let Some(values) = matches.get_many::<Value>(&flag.id()) else { continue };
        let values: Vec<Value> = values.cloned().collect();
        set(&mut request, &flag, values);
    }
    request
}

/// Fills the field of a flag.
pub fn set(request: &mut DynamicMessage, flag: &Flag, mut values: Vec<Value>) {
    let (field, above) = flag.path.split_last().expect("a path ends at its field");
    let mut message = request;
    for outer in above {
        let inner = message.get_field_mut(outer).as_message_mut();
        message = inner.expect("flags go through messages only");
    }
    if field.is_list() {
        message.set_field(field, Value::List(values));
    } else if let Some(value) = values.pop() {
        message.set_field(field, value);
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;
    use crate::generated::command::extend;

    fn typed(line: &str) -> serde_json::Value {
        let command = extend(Command::new("pentad").no_binary_name(true), Schema::own());
        let matches = command.try_get_matches_from(line.split(' ')).expect(line);
        let call = find(Schema::own(), &matches).expect("a method").expect(line);
        match call.requests {
            Requests::One(message) => serde_json::to_value(&message).expect("JSON"),
            Requests::Many(_) => panic!("{line} gives one request"),
        }
    }

    #[test]
    fn flags_become_fields() {
        for (line, json) in [
            ("chain get-info", "{}"),
            ("chain get-block --height 0", r#"{"height":0}"#),
            ("chain get-block --hash aa", r#"{"hash":"aa"}"#),
            (
                "chain get-utxos --addresses a --addresses b --include-mempool",
                r#"{"addresses":["a","b"],"includeMempool":true}"#,
            ),
            ("chain get-utxos --include-mempool=false --addresses a", r#"{"addresses":["a"]}"#),
            (
                "wallet send --wallet w --payments address=1a,amount=0.5 --fee-rate 0",
                r#"{"wallet":"w","payments":[{"address":"1a","amount":"50000000"}],"feeRate":"0"}"#,
            ),
            ("submit submit-block --block 00ff", r#"{"block":"AP8="}"#),
        ] {
            let expected: serde_json::Value = serde_json::from_str(json).expect("JSON");
            assert_eq!(typed(line), expected, "{line}");
        }
    }

    #[test]
    fn a_request_is_read_from_a_file_and_faults_name_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("request.json");
        let name = file.display().to_string();
        std::fs::write(&file, r#"{"height": 7}"#).expect("written");
        let line = format!("chain get-block --json {name}");
        assert_eq!(typed(&line), serde_json::json!({"height": 7}));

        std::fs::write(&file, r#"{"heihgt": 7}"#).expect("written");
        let command = extend(Command::new("pentad").no_binary_name(true), Schema::own());
        let matches = command.try_get_matches_from(line.split(' ')).expect("well typed");
        let fault = find(Schema::own(), &matches).expect("a method").expect_err("no such field");
        assert!(fault.to_text().contains(&name), "{}", fault.to_text());
        assert!(fault.to_text().contains("heihgt"), "{}", fault.to_text());
    }
}
