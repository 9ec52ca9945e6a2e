//! One value as it is typed, and as it is shown.

use pentad_primitives::Amount;
use prost_reflect::prost::bytes::Bytes;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, Value};

use super::schema::{Schema, kebab, value_name};
use crate::coins::coins;

/// Bytes that are shown in full; of longer ones people are told the length.
const BYTES_SHOWN_MAX: usize = 80;

/// Reads one value of a field.
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse(schema: &Schema, field: &FieldDescriptor, text: &str) -> Result<Value, String> {
    if schema.is_amount(field) {
        let amount: Amount = text.parse().map_err(|error| format!("{error}"))?;
        return Ok(match field.kind() {
            Kind::Uint64 | Kind::Fixed64 => Value::U64(amount.units()),
            _ => Value::I64(amount.units().cast_signed()),
        });
    }
    let number = |error: std::num::ParseIntError| error.to_string();
    match field.kind() {
        Kind::String => Ok(Value::String(text.to_owned())),
        Kind::Bytes => bytes(text).map(Value::Bytes),
        Kind::Bool => text.parse().map(Value::Bool).map_err(|_| "true or false".to_owned()),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => text.parse().map(Value::I32).map_err(number),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => text.parse().map(Value::I64).map_err(number),
        Kind::Uint32 | Kind::Fixed32 => text.parse().map(Value::U32).map_err(number),
        Kind::Uint64 | Kind::Fixed64 => text.parse().map(Value::U64).map_err(number),
        Kind::Float => text.parse().map(Value::F32).map_err(|error| format!("{error}")),
        Kind::Double => text.parse().map(Value::F64).map_err(|error| format!("{error}")),
        Kind::Enum(of) => {
            let mut values = of.values();
            let found = values.find(|value| value_name(&of, value.name()) == text);
            found.map(|value| Value::EnumNumber(value.number())).ok_or_else(|| {
                let names = of.values().map(|value| value_name(&of, value.name()));
                format!("one of {}", names.collect::<Vec<_>>().join(", "))
            })
        }
        Kind::Message(of) => match text.starts_with('{') {
            true => json(&of, text).map(Value::Message),
            false => pairs(schema, &of, text).map(Value::Message),
        },
    }
}

/// Hex, or base58 after the word: `base58:…`.
fn bytes(text: &str) -> Result<Bytes, String> {
    if let Some(text) = text.strip_prefix("base58:") {
        let decoded = bs58::decode(text).into_vec();
        return decoded.map(Bytes::from).map_err(|error| error.to_string());
    }
    hex::decode(text).map(Bytes::from).map_err(|error| format!("hex digits expected: {error}"))
}

/// Proto3 JSON.
///
/// # Errors
/// What is wrong with it and where.
pub fn json(of: &prost_reflect::MessageDescriptor, text: &str) -> Result<DynamicMessage, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let message = DynamicMessage::deserialize(of.clone(), &mut deserializer)
        .map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(message)
}

/// `address=1abc,amount=0.5`: the fields of a small message in one value.
fn pairs(
    schema: &Schema,
    of: &prost_reflect::MessageDescriptor,
    text: &str,
) -> Result<DynamicMessage, String> {
    let mut message = DynamicMessage::new(of.clone());
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            format!("{pair:?} is not of the form {}=VALUE", first_field(of).unwrap_or_default())
        })?;
        let field = of.fields().find(|field| kebab(field.name()) == name || field.name() == name);
        let field = field.ok_or_else(|| format!("{} has no field {name:?}", of.name()))?;
        let value = parse(schema, &field, value).map_err(|error| format!("{name}: {error}"))?;
        if field.is_list() {
            if let Some(list) = message.get_field_mut(&field).as_list_mut() {
                list.push(value);
            }
        } else {
            message.set_field(&field, value);
        }
    }
    Ok(message)
}

fn first_field(of: &prost_reflect::MessageDescriptor) -> Option<String> {
    of.fields().next().map(|field| kebab(field.name()))
}

/// A value on one line.
pub fn show(schema: &Schema, field: &FieldDescriptor, value: &Value) -> String {
    let units = match value {
        Value::U64(units) => Some(i128::from(*units)),
        Value::I64(units) => Some(i128::from(*units)),
        _ => None,
    };
    if let Some(units) = units.filter(|_| schema.is_amount(field)) {
        return coins(units);
    }
    match (value, field.kind()) {
        (Value::EnumNumber(number), Kind::Enum(of)) => match of.get_value(*number) {
            Some(known) if *number == 0 && known.name().ends_with("_UNSPECIFIED") => "-".to_owned(),
            Some(known) => value_name(&of, known.name()),
            None => number.to_string(),
        },
        (Value::Bytes(bytes), _) if bytes.len() <= BYTES_SHOWN_MAX => hex::encode(bytes),
        (Value::Bytes(bytes), _) => format!("({} bytes)", bytes.len()),
        (Value::String(text), _) => text.clone(),
        (Value::Bool(truth), _) => if *truth { "yes" } else { "no" }.to_owned(),
        (Value::I32(number), _) => number.to_string(),
        (Value::I64(number), _) => number.to_string(),
        (Value::U32(number), _) => number.to_string(),
        (Value::U64(number), _) => number.to_string(),
        (Value::F32(number), _) => number.to_string(),
        (Value::F64(number), _) => number.to_string(),
        (other, _) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::{MessageDescriptor, ReflectMessage as _};

    use super::*;

    fn request(service: &str, method: &str) -> MessageDescriptor {
        let services = Schema::own().services();
        let service = services.iter().find(|found| found.name() == service).expect(service);
        service.methods().find(|found| found.name() == method).expect(method).input()
    }

    fn typed(service: &str, method: &str, name: &str, text: &str) -> Result<Value, String> {
        let field = request(service, method).get_field_by_name(name).expect(name);
        parse(Schema::own(), &field, text)
    }

    #[test]
    fn every_kind_is_typed_in_its_own_way() {
        let block = |text| typed("ChainService", "GetBlock", "height", text);
        assert_eq!(block("3"), Ok(Value::U32(3)));
        assert!(block("-1").is_err());
        let bytes = |text| typed("SubmitService", "SubmitTransaction", "transaction", text);
        assert_eq!(bytes("00ff"), Ok(Value::Bytes(Bytes::from_static(&[0, 255]))));
        assert_eq!(bytes("base58:2g"), Ok(Value::Bytes(Bytes::from_static(b"a"))));
        assert!(bytes("0").is_err());
        let wait = |text| typed("SubmitService", "SubmitTransaction", "wait", text);
        assert_eq!(wait("final"), Ok(Value::EnumNumber(2)));
        assert_eq!(wait("soon"), Err("one of unspecified, admitted, final".to_owned()));
    }

    #[test]
    fn a_message_is_typed_as_pairs_with_coins_or_as_json_with_units() {
        let payment = |text| typed("WalletService", "Send", "payments", text);
        let pairs = payment("address=1abc,amount=0.5").expect("valid");
        let json = payment(r#"{"address":"1abc","amount":"50000000"}"#).expect("valid");
        assert_eq!(pairs, json);
        let message = pairs.as_message().expect("a message");
        let amount = message.descriptor().get_field_by_name("amount").expect("it has one");
        let value = message.get_field(&amount);
        assert_eq!(show(Schema::own(), &amount, &value), "0.50000000");
        for wrong in ["amount=1e3", "amount", "price=1", r#"{"price":1}"#, "{", "{} {}"] {
            assert!(payment(wrong).is_err(), "{wrong}");
        }
    }
}
