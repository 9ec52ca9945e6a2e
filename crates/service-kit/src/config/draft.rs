use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// A configuration while its sources are laid over each other. Every step is checked at once, so
/// that the source which is wrong gets the blame.
pub(super) struct Draft<C> {
    pub(super) table: Table,
    pub(super) config: C,
}

impl<C: DeserializeOwned> Draft<C> {
    /// Puts `text` at `key`: as the TOML value it spells, else as plain text.
    pub(super) fn with_text(&self, key: &str, text: &str) -> Result<Self, String> {
        let plain = Value::String(text.to_owned());
        match text.trim().parse::<Value>() {
            // `7` may be meant as text: a field that takes text refuses the number.
            Ok(parsed) => {
                self.with(key, parsed).or_else(|problem| self.with(key, plain).map_err(|_| problem))
            }
            Err(_) => self.with(key, plain),
        }
    }

    /// Puts `value` at `key` (dotted).
    pub(super) fn with(&self, key: &str, value: Value) -> Result<Self, String> {
        let mut table = self.table.clone();
        insert(&mut table, key, value)?;
        let config = C::deserialize(table.clone()).map_err(|error| error.message().to_owned())?;
        Ok(Self { table, config })
    }
}

fn insert(table: &mut Table, key: &str, value: Value) -> Result<(), String> {
    let Some((section, rest)) = key.split_once('.') else {
        if key.is_empty() {
            return Err("the name of the field is empty".to_owned());
        }
        table.insert(key.to_owned(), value);
        return Ok(());
    };
    match table.entry(section).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => insert(inner, rest, value),
        _ => Err(format!("`{section}` is a field, not a section")),
    }
}
