//! Answers for people and for scripts.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage as _, Value};
use serde::{Serialize, Serializer};

use super::schema::{Schema, kebab};
use super::value::show;
use crate::console::Answer;
use crate::table::{columns, pairs};

/// A message ready to be printed.
pub struct Rendered<'a> {
    schema: &'a Schema,
    message: &'a DynamicMessage,
    /// One of several: followed by an empty line for people.
    is_one_of_many: bool,
}

impl<'a> Rendered<'a> {
    pub fn new(schema: &'a Schema, message: &'a DynamicMessage, is_one_of_many: bool) -> Self {
        Self { schema, message, is_one_of_many }
    }
}

/// Proto3 JSON, as other gRPC tools print it.
impl Serialize for Rendered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.message.serialize(serializer)
    }
}

impl Answer for Rendered<'_> {
    fn to_table(&self) -> String {
        let mut text = table(self.schema, self.message);
        if text.is_empty() {
            "done".clone_into(&mut text);
        }
        if self.is_one_of_many {
            text.push('\n');
        }
        text
    }
}

/// Fields as pairs, then each list of messages as a table.
fn table(schema: &Schema, message: &DynamicMessage) -> String {
    if let Some(inner) = only_message(message) {
        return table(schema, &inner);
    }
    let mut rows = Vec::new();
    let mut lists = Vec::new();
    flatten(schema, message, "", &mut rows, &mut lists);
    let rows = rows.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let mut parts = vec![pairs(rows)];
    for (name, list) in lists {
        let messages: Vec<&DynamicMessage> = list.iter().filter_map(Value::as_message).collect();
        let count = format!("{name}: {}", messages.len());
        parts.push(format!("{count}\n{}", grid(schema, &messages)).trim_end().to_owned());
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// What a message holds that has no field but one message: `GetBlockResponse` is its block.
fn only_message(message: &DynamicMessage) -> Option<DynamicMessage> {
    let descriptor = message.descriptor();
    let mut fields = descriptor.fields();
    let (field, None) = (fields.next()?, fields.next()) else { return None };
    message.has_field(&field).then(|| message.get_field(&field).as_message().cloned())?
}

type Rows = Vec<(String, String)>;
type Lists = Vec<(String, Vec<Value>)>;

fn flatten(
    schema: &Schema,
    message: &DynamicMessage,
    above: &str,
    rows: &mut Rows,
    lists: &mut Lists,
) {
    for field in in_order(message) {
        let name = match above {
            "" => kebab(field.name()),
            _ => format!("{above}.{}", kebab(field.name())),
        };
        if field.supports_presence() && !message.has_field(&field) {
            continue;
        }
        match (message.get_field(&field).as_ref(), field.kind()) {
            (Value::Message(inner), _) => flatten(schema, inner, &name, rows, lists),
            (Value::List(list), Kind::Message(_)) => lists.push((name, list.clone())),
            (value, _) => {
                let text = cell(schema, &field, value);
                if !text.is_empty() {
                    rows.push((name, text));
                }
            }
        }
    }
}

/// A table of messages of one type; columns that no row fills are left out.
fn grid(schema: &Schema, messages: &[&DynamicMessage]) -> String {
    let mut names: Vec<String> = Vec::new();
    let rows: Vec<Rows> = messages
        .iter()
        .map(|message| {
            let (mut row, mut lists) = (Vec::new(), Vec::new());
            flatten(schema, message, "", &mut row, &mut lists);
            row.extend(lists.iter().map(|(name, list)| (name.clone(), list.len().to_string())));
            names.extend(row.iter().map(|(name, _)| name.clone()));
            row
        })
        .collect();
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let value = |row: &Rows, name: &String| {
        row.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    };
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| names.iter().map(|name| value(row, name).unwrap_or_default()).collect())
        .collect();
    let is_number = |column: usize| {
        cells
            .iter()
            .filter_map(|row| row.get(column))
            .all(|cell| cell.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-'))
    };
    let right: Vec<usize> = (0..names.len()).filter(|column| is_number(*column)).collect();
    let header = names.iter().map(|name| name.to_uppercase()).collect();
    columns(header, &right, cells)
}

fn cell(schema: &Schema, field: &FieldDescriptor, value: &Value) -> String {
    match value {
        Value::List(values) => {
            let values: Vec<String> =
                values.iter().map(|value| show(schema, field, value)).collect();
            // Sentences and hashes stand below one another.
            let is_long = values.iter().any(|value| value.contains(' ') || value.len() > 40);
            values.join(if is_long { "\n" } else { " " })
        }
        value => show(schema, field, value),
    }
}

fn in_order(message: &DynamicMessage) -> Vec<FieldDescriptor> {
    let mut fields: Vec<_> = message.descriptor().fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    fields
}

/// A message from JSON, for tests.
#[cfg(test)]
fn answer(service: &str, method: &str, json: &str) -> DynamicMessage {
    let services = Schema::own().services();
    let service = services.iter().find(|found| found.name() == service).expect(service);
    let method = service.methods().find(|found| found.name() == method).expect(method);
    super::value::json(&method.output(), json).expect(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_pairs_and_tables_with_coins() {
        let utxos = answer(
            "ChainService",
            "GetUtxos",
            r#"{"height":12,"tip":"cc","utxos":[
                {"outpoint":{"txid":"aa"},"output":{"amount":"150000000"},"height":3},
                {"outpoint":{"txid":"bb","vout":1},"output":{"amount":"1"},"height":12}]}"#,
        );
        let text = Rendered::new(Schema::own(), &utxos, false).to_table();
        let expected = "\
height  12
tip     cc

utxos: 2
";
        assert!(text.starts_with(expected), "{text}");
        for word in ["OUTPOINT.TXID", "1.50000000", "0.00000001", "bb"] {
            assert!(text.contains(word), "{word} is not in\n{text}");
        }
    }

    #[test]
    fn scripts_get_proto3_json() {
        let balance = answer("ChainService", "GetBalance", r#"{"confirmed":"7","pending":"-1"}"#);
        let text = serde_json::to_string(&Rendered::new(Schema::own(), &balance, false));
        assert_eq!(text.expect("JSON"), r#"{"confirmed":"7","pending":"-1"}"#);
    }

    #[test]
    fn an_empty_answer_says_that_it_is_done() {
        let nothing = answer("PeerService", "AddPeer", "{}");
        assert_eq!(Rendered::new(Schema::own(), &nothing, false).to_table(), "done");
    }
}
