use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::ConfigError;
use super::draft::Draft;

/// Reads a TOML file and checks it against `C` by itself, while lines are still known.
pub(super) fn read<C: DeserializeOwned>(path: &Path) -> Result<Draft<C>, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let refuse = |error: toml::de::Error| located(path, &text, &error);
    let table = toml::from_str(&text).map_err(refuse)?;
    let config = toml::from_str(&text).map_err(refuse)?;
    Ok(Draft { table, config })
}

fn located(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    ConfigError::File {
        path: path.to_owned(),
        line,
        column,
        field: field_at(text, line),
        problem: error.message().to_owned(),
    }
}

/// The dotted name of the field on `line`: the last `[section]` above it and the text before `=`.
fn field_at(text: &str, line: usize) -> Option<String> {
    let upto: Vec<&str> = text.lines().take(line).map(str::trim).collect();
    let (key, _) = upto.last()?.split_once('=')?;
    let section = upto.iter().rev().find_map(|line| {
        line.strip_prefix('[')?.split_once(']').map(|(section, _)| section.trim())
    });
    Some(match section {
        Some(section) => format!("{section}.{}", key.trim()),
        None => key.trim().to_owned(),
    })
}
