//! A proto that no line of this program knows, and requests made at random of every schema.

use clap::Command;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::command::{extend, flags};
use super::request::{Call, Requests, find};
use super::schema::{Schema, method_name, service_name, value_name};
use crate::coins::coins;
use crate::console::Answer as _;
use crate::fault::Fault;

/// Requests that are made of each method.
const REQUESTS: u64 = 20;

/// `fixtures/workshop.proto` beside the protos of this project.
pub fn schema() -> Schema {
    let mut compiler = protox::Compiler::new(["fixtures", "../../proto"]).expect("folders");
    compiler.include_source_info(true).include_imports(true);
    compiler.open_file("workshop.proto").expect("a sound proto");
    Schema::of(&compiler.encode_file_descriptor_set()).expect("a descriptor set")
}

fn command(schema: &Schema) -> Command {
    extend(Command::new("pentad").no_binary_name(true), schema)
}

/// What a command line asks for.
///
/// # Errors
/// As the command itself.
pub fn call(schema: &Schema, line: &[String]) -> Result<Call, Fault> {
    let matches = command(schema).try_get_matches_from(line)?;
    find(schema, &matches).expect("a method")
}

fn one(call: Call) -> DynamicMessage {
    match call.requests {
        Requests::One(message) => message,
        Requests::Many(_) => panic!("flags give one request"),
    }
}

fn typed(schema: &Schema, line: &str) -> Result<serde_json::Value, Fault> {
    let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
    call(schema, &line).map(|call| serde_json::to_value(one(call)).expect("JSON"))
}

#[test]
fn a_new_proto_is_a_command_with_help_flags_and_right() {
    let schema = schema();
    let mut command = command(&schema);
    command.clone().debug_assert();
    command.build();
    let service = command.find_subcommand_mut("workshop").expect("a service");
    let help = service.render_help().to_string();
    assert!(help.contains("make-thing") && help.contains("  Makes a thing\n"), "{help}");
    let method = service.find_subcommand_mut("make-thing").expect("a method");
    let help = method.render_long_help().to_string();
    for words in [
        "Those who read on learn that it takes a while.",
        "Needs the right: operate.",
        "--color <dark-red|blue>",
        "--body-price <COINS>",
        "--parts <name=…,price=…,sizes=…,of=…>",
        "Kelvin",
        "At most one of --fuel, --engine-…, --hand.",
        // The name of a flag that every command has.
        "--request-output <TEXT>",
    ] {
        assert!(help.contains(words), "{words:?} is not in:\n{help}");
    }
}

#[test]
fn every_kind_of_field_can_be_typed() {
    let schema = schema();
    for (flags, json) in [
        ("--seal base58:2g --seal-x", None),
        ("--seal base58:2g", Some(r#"{"seal":"YQ=="}"#)),
        (
            "--color dark-red --linings blue --linings dark-red",
            Some(r#"{"color":"COLOR_DARK_RED","linings":["COLOR_BLUE","COLOR_DARK_RED"]}"#),
        ),
        (
            "--body-name b --body-of-price 0.1 --body-sizes 1 --body-sizes 2",
            Some(r#"{"body":{"name":"b","sizes":[1,2],"of":{"price":"10000000"}}}"#),
        ),
        (
            r#"--parts name=a,sizes=1,sizes=2 --parts {"name":"c"}"#,
            Some(r#"{"parts":[{"name":"a","sizes":[1,2]},{"name":"c"}]}"#),
        ),
        ("--fuel coal", Some(r#"{"fuel":"coal"}"#)),
        (
            "--engine-name e --engine-price 1",
            Some(r#"{"engine":{"name":"e","price":"100000000"}}"#),
        ),
        ("--hand", Some(r#"{"hand":true}"#)),
        ("--fuel coal --hand", None),
        ("--engine-name e --fuel coal", None),
        ("--keys 00 --keys ff", Some(r#"{"keys":["AA==","/w=="]}"#)),
        (
            "--temperature -3 --age -1 --weight 0.5",
            Some(r#"{"temperature":-3,"age":"-1","weight":0.5}"#),
        ),
        ("--volume 0", Some(r#"{"volume":0}"#)),
        ("--request-output x", Some(r#"{"output":"x"}"#)),
    ] {
        let found = typed(&schema, &format!("workshop make-thing {flags}"));
        let expected = json.map(|json| serde_json::from_str(json).expect("JSON"));
        assert_eq!(found.ok(), expected, "{flags}");
    }
}

#[test]
fn a_new_answer_is_shown_with_coins_and_names() {
    let schema = schema();
    let method = schema.services().iter().flat_map(|it| it.methods()).next().expect("one");
    let json = r#"{"price":"5","color":"COLOR_BLUE","parts":[{"name":"a","price":"100000000"}]}"#;
    let answer = super::value::json(&method.output(), json).expect("an answer");
    let text = super::render::Rendered::new(&schema, &answer, false).to_table();
    let expected = "price  0.00000005\ncolor  blue\n\nparts: 1\nNAME       PRICE\na     1.00000000";
    assert_eq!(text, expected);
}

/// As splitmix64 makes them.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).expect("small")).expect("small")
    }

    fn text(&mut self) -> String {
        const SIGNS: [char; 12] = ['a', 'Z', '0', ' ', '-', '=', ',', '"', '\'', 'é', '🦀', '\n'];
        let length = 1 + self.below(6);
        (0..length).map(|_| SIGNS[self.below(SIGNS.len())]).collect()
    }

    /// A value of a field, and what is typed for it.
    fn value(&mut self, schema: &Schema, field: &FieldDescriptor) -> (Value, String) {
        if schema.is_amount(field) {
            let units = self.next() % 2_100_000_000_000_000;
            let value = match field.kind() {
                Kind::Uint64 | Kind::Fixed64 => Value::U64(units),
                _ => Value::I64(units.cast_signed()),
            };
            return (value, coins(units));
        }
        let number = self.next() >> self.below(64);
        let low = u32::try_from(number & u64::from(u32::MAX)).expect("32 bits");
        match field.kind() {
            Kind::String => {
                let text = self.text();
                (Value::String(text.clone()), text)
            }
            Kind::Bytes => {
                let bytes = number.to_le_bytes().to_vec();
                let text = match self.below(2) {
                    0 => hex::encode(&bytes),
                    _ => format!("base58:{}", bs58::encode(&bytes).into_string()),
                };
                (Value::Bytes(bytes.into()), text)
            }
            Kind::Bool => (Value::Bool(low % 2 == 0), (low % 2 == 0).to_string()),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                (Value::I32(low.cast_signed()), low.cast_signed().to_string())
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                (Value::I64(number.cast_signed()), number.cast_signed().to_string())
            }
            Kind::Uint32 | Kind::Fixed32 => (Value::U32(low), low.to_string()),
            Kind::Uint64 | Kind::Fixed64 => (Value::U64(number), number.to_string()),
            Kind::Float => (Value::F32(low as f32), (low as f32).to_string()),
            Kind::Double => (Value::F64(low.into()), low.to_string()),
            Kind::Enum(of) => {
                let values: Vec<_> = of.values().collect();
                let value = &values[self.below(values.len())];
                (Value::EnumNumber(value.number()), value_name(&of, value.name()))
            }
            Kind::Message(of) => {
                let mut message = DynamicMessage::new(of.clone());
                let field = of.fields().next().expect("it has one");
                let (value, _) = self.value(schema, &field);
                // What is as if it were not there is not in the JSON either.
                if field.supports_presence() || !value.is_default(&field.kind()) {
                    message.set_field(&field, value);
                }
                let json = serde_json::to_string(&message).expect("JSON");
                (Value::Message(message), json)
            }
        }
    }

    /// A request, and the flags that mean it.
    fn request(
        &mut self,
        schema: &Schema,
        of: &MessageDescriptor,
    ) -> (DynamicMessage, Vec<String>) {
        let mut request = DynamicMessage::new(of.clone());
        let mut line = Vec::new();
        let mut chosen: Vec<(String, String)> = Vec::new();
        for flag in flags(of) {
            let choice = flag.choice();
            let is_taken = choice.as_ref().is_some_and(|(of, member)| {
                chosen.iter().any(|(taken, other)| taken == of && other != member)
            });
            if is_taken || self.below(2) == 0 {
                continue;
            }
            chosen.extend(choice);
            let count = if flag.field().is_list() { 1 + self.below(3) } else { 1 };
            let mut values = Vec::new();
            for _ in 0..count {
                let (value, text) = self.value(schema, flag.field());
                line.push(format!("--{}={text}", flag.long()));
                values.push(value);
            }
            super::request::set(&mut request, &flag, values);
        }
        (request, line)
    }
}

/// Whatever can be asked for can be typed.
fn requests_survive_typing(seed: u64) {
    println!("seed {seed}: PENTAD_SEED={seed} replays it");
    let (own, new) = (Schema::own(), schema());
    let mut random = Random(seed);
    for schema in [own, &new] {
        let command = command(schema);
        for method in schema.services().iter().flat_map(|service| service.methods()) {
            for _ in 0..REQUESTS {
                let (request, flags) = random.request(schema, &method.input());
                let names = [service_name(method.parent_service()), method_name(&method)];
                let line = [names.to_vec(), flags].concat();
                let matches = command.clone().try_get_matches_from(&line);
                let matches = matches.unwrap_or_else(|error| panic!("{line:?}: {error}"));
                let found = find(schema, &matches).expect("a method").expect("a request");
                assert_eq!(one(found), request, "{line:?}");
            }
        }
    }
}

#[test]
fn whatever_can_be_asked_for_can_be_typed() {
    requests_survive_typing(1);
}

#[test]
fn whatever_can_be_asked_for_can_be_typed_with_another_seed() {
    let given = std::env::var("PENTAD_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    requests_survive_typing(
        given.unwrap_or_else(|| now.expect("after 1970").subsec_nanos().into()),
    );
}
