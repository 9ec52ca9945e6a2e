//! Subcommands and flags from the descriptors.

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command, value_parser};
use prost_reflect::{
    FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, ServiceDescriptor,
};

use super::schema::{Schema, comment, kebab, method_name, service_name, value_name};
use super::value;

/// Flags of the call itself.
pub const JSON: &str = "json";
pub const TIMEOUT: &str = "timeout";
/// Flags that fields may not take for themselves: those of every command and of the call.
const RESERVED: [&str; 10] =
    ["help", "version", "context", "dir", "node", "output", "grpc", "cookie", JSON, TIMEOUT];
/// Messages inside of messages that still get flags of their own; deeper ones are typed whole.
const DEPTH_MAX: usize = 3;
/// The everyday verbs come first in the list of commands.
const AFTER_THE_VERBS: usize = 1_000;

/// A flag, and the field that it fills.
#[derive(Clone, Debug)]
pub struct Flag {
    /// From the request down to the field.
    pub path: Vec<FieldDescriptor>,
}

impl Flag {
    /// The field itself.
    pub fn field(&self) -> &FieldDescriptor {
        self.path.last().expect("a path ends at its field")
    }

    /// The argument's id: no flag of every command can have it.
    pub fn id(&self) -> String {
        format!("request.{}", self.names().join("."))
    }

    /// What is typed after the dashes.
    pub fn long(&self) -> String {
        let long = self.names().join("-");
        if RESERVED.contains(&long.as_str()) { format!("request-{long}") } else { long }
    }

    fn names(&self) -> Vec<String> {
        self.path.iter().map(|field| kebab(field.name())).collect()
    }

    /// The choice that the flag is part of, if any, and its member.
    pub fn choice(&self) -> Option<(String, String)> {
        self.path.iter().find_map(|field| {
            let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic())?;
            Some((oneof.full_name().to_owned(), field.name().to_owned()))
        })
    }
}

/// The flags of a request.
pub fn flags(message: &MessageDescriptor) -> Vec<Flag> {
    let mut found = Vec::new();
    collect(message, &[], &mut found);
    found
}

fn collect(message: &MessageDescriptor, above: &[FieldDescriptor], found: &mut Vec<Flag>) {
    let mut fields: Vec<_> = message.fields().filter(|field| !field.is_map()).collect();
    fields.sort_by_key(FieldDescriptor::number);
    for field in fields {
        let path = [above, std::slice::from_ref(&field)].concat();
        match field.kind() {
            Kind::Message(inner) if !field.is_list() && path.len() <= DEPTH_MAX => {
                collect(&inner, &path, found);
            }
            _ => found.push(Flag { path }),
        }
    }
}

/// Adds a subcommand for each service.
pub fn extend(command: Command, schema: &Schema) -> Command {
    let services = schema.services();
    let mut commands = services.iter().enumerate().map(|(index, service)| {
        service_command(schema, service).display_order(AFTER_THE_VERBS.saturating_add(index))
    });
    commands.by_ref().fold(command, Command::subcommand)
}

fn service_command(schema: &Schema, service: &ServiceDescriptor) -> Command {
    let about = comment(&service.parent_file(), service.path());
    let command = Command::new(service_name(service))
        .about(format!("{} ({})", first_sentence(&about), service.name()))
        .long_about(format!("{about}\n\nMethods of {}:", service.full_name()))
        .subcommand_required(true)
        .arg_required_else_help(true);
    service
        .methods()
        .fold(command, |command, method| command.subcommand(method_command(schema, &method)))
}

fn method_command(schema: &Schema, method: &MethodDescriptor) -> Command {
    let about = comment(&method.parent_file(), method.path());
    let right = schema.right(method).unwrap_or_else(|| "(none: nobody may call it)".to_owned());
    let mut long = format!("{about}\n\nNeeds the right: {right}.");
    if method.is_server_streaming() {
        long.push_str(" Answers with a stream; in JSON, one line for each message.");
    }
    if method.is_client_streaming() {
        long.push_str(" Takes a stream: --json with one request after the other.");
    }
    let flags = flags(&method.input());
    long.extend(choices(&method.input()).map(|choice| format!("\n\n{choice}")));
    let ids: Vec<String> = flags.iter().map(Flag::id).collect();
    let command = Command::new(method_name(method))
        .about(first_sentence(&about))
        .long_about(long)
        .arg(json_argument(&ids))
        .arg(timeout_argument(method.is_server_streaming() || method.is_client_streaming()));
    flags.iter().fold(command, |command, flag| command.arg(argument(schema, flag, &flags)))
}

/// A sentence for each choice of a request.
fn choices(message: &MessageDescriptor) -> impl Iterator<Item = String> {
    let oneofs = message.oneofs().filter(|oneof| !oneof.is_synthetic());
    oneofs.map(|oneof| {
        let member = |field: FieldDescriptor| match field.kind() {
            Kind::Message(_) => format!("--{}-…", kebab(field.name())),
            _ => format!("--{}", Flag { path: vec![field] }.long()),
        };
        let members = oneof.fields().map(member).collect::<Vec<_>>().join(", ");
        format!("At most one of {members}.")
    })
}

fn json_argument(others: &[String]) -> Arg {
    Arg::new(JSON)
        .long(JSON)
        .value_name("FILE|-")
        .help("The whole request as proto3 JSON, from a file or, with -, from standard input")
        .conflicts_with_all(others)
        .help_heading("Call")
}

fn timeout_argument(is_stream: bool) -> Arg {
    let arg = Arg::new(TIMEOUT)
        .long(TIMEOUT)
        .value_name("SECONDS")
        .value_parser(value_parser!(u64).range(1..=86_400))
        .help("How long the call may take")
        .help_heading("Call");
    if is_stream { arg } else { arg.default_value("30") }
}

fn argument(schema: &Schema, flag: &Flag, all: &[Flag]) -> Arg {
    let field = flag.field();
    let arg = Arg::new(flag.id())
        .long(flag.long())
        .help(comment(&field.parent_file(), field.path()))
        .value_name(value_word(schema, field))
        .value_parser(parser(schema, field))
        .allow_hyphen_values(is_number(&field.kind()))
        .conflicts_with_all(rivals(flag, all));
    let arg = match field.is_list() {
        true => arg.action(ArgAction::Append),
        false => arg.action(ArgAction::Set),
    };
    if field.kind() == Kind::Bool && !field.is_list() {
        return arg.num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    arg
}

/// Flags of the other members of the same choice.
fn rivals(flag: &Flag, all: &[Flag]) -> Vec<String> {
    let Some((oneof, member)) = flag.choice() else { return Vec::new() };
    let is_rival = |other: &&Flag| {
        other.choice().is_some_and(|(theirs, name)| theirs == oneof && name != member)
    };
    all.iter().filter(is_rival).map(Flag::id).collect()
}

fn parser(schema: &Schema, field: &FieldDescriptor) -> ValueParser {
    let (schema, field) = (schema.clone(), field.clone());
    ValueParser::new(move |text: &str| value::parse(&schema, &field, text))
}

fn is_number(kind: &Kind) -> bool {
    !matches!(kind, Kind::String | Kind::Bytes | Kind::Bool | Kind::Enum(_) | Kind::Message(_))
}

/// What help shows in place of the value.
fn value_word(schema: &Schema, field: &FieldDescriptor) -> String {
    if schema.is_amount(field) {
        return "COINS".to_owned();
    }
    match field.kind() {
        Kind::String => "TEXT".to_owned(),
        Kind::Bytes => "HEX".to_owned(),
        Kind::Bool => "true|false".to_owned(),
        Kind::Enum(of) => {
            let values = of.values().map(|value| value_name(&of, value.name()));
            values.filter(|name| name != "unspecified").collect::<Vec<_>>().join("|")
        }
        Kind::Message(of) => {
            let fields = of.fields().map(|field| format!("{}=…", kebab(field.name())));
            fields.collect::<Vec<_>>().join(",")
        }
        _ => "NUMBER".to_owned(),
    }
}

fn first_sentence(text: &str) -> String {
    let end = text.find(". ").or_else(|| text.find(".\n")).unwrap_or(text.len());
    text.get(..end).unwrap_or(text).trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        extend(Command::new("pentad").no_binary_name(true), Schema::own())
    }

    #[test]
    fn every_method_is_a_command_and_the_definition_is_sound() {
        let command = command();
        command.clone().debug_assert();
        for service in Schema::own().services() {
            let found = command.find_subcommand(service_name(&service)).expect("a command");
            for method in service.methods() {
                let found = found.find_subcommand(method_name(&method)).expect("a command");
                let about = found.get_about().map(ToString::to_string);
                assert!(about.is_some_and(|about| !about.is_empty()), "{}", method.full_name());
            }
        }
    }

    #[test]
    fn what_cannot_be_typed_is_named() {
        for (line, word) in [
            ("chain get-block --hash aa --height 1", "--height"),
            ("chain get-block --height -1", "--height"),
            ("chain get-block --json f --height 1", "--height"),
            ("chain get-block --heigth 1", "--heigth"),
            ("chain no-method", "no-method"),
            ("chain", "get-block"),
            ("wallet send --payments amount=x", "--payments"),
            ("submit submit-transaction --transaction zz", "--transaction"),
            ("submit submit-transaction --wait soon", "--wait"),
            ("chain get-utxos --include-mempool=perhaps", "--include-mempool"),
            ("chain get-info --timeout 0", "--timeout"),
        ] {
            let error = command().try_get_matches_from(line.split(' ')).expect_err(line);
            assert!(error.to_string().contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn help_says_what_the_proto_says() {
        let mut command = command();
        command.build();
        let chain = command.find_subcommand_mut("chain").expect("a service");
        let block = chain.find_subcommand_mut("get-block").expect("a method");
        let help = block.render_long_help().to_string();
        for line in ["A block by hash or by height", "Needs the right: read.", "--height <NUMBER>"]
        {
            assert!(help.contains(line), "{line:?} is not in:\n{help}");
        }
    }
}
