use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::environment::Variable;

/// Why a configuration was refused. Messages name the place; they never repeat a
/// [`Secret`](super::Secret).
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML, names an unknown field, or holds a value of another type.
    #[error("{}:{line}:{column}: {problem}{}", path.display(), in_field(field))]
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// Dotted name of the field at fault, where one is known.
        field: Option<String>,
        /// What is wrong.
        problem: String,
    },
    /// A variable names an unknown field, or holds a value of another type.
    #[error("environment variable {name} (field `{field}`): {problem}")]
    Environment {
        /// Name of the variable.
        name: String,
        /// Dotted name of the field it stands for.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// A flag names an unknown field, or holds a value of another type.
    #[error("flag for field `{field}`: {problem}")]
    Flag {
        /// Dotted name of the field.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// A value is of the right type, and still not one the service can work with.
    #[error("configuration field `{field}`: {problem}")]
    Field {
        /// Dotted name of the field.
        field: &'static str,
        /// What is wrong, and what to do about it.
        problem: String,
    },
}

impl ConfigError {
    /// For the checks that a service makes itself: a missing path, a limit out of range.
    pub fn field(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Field { field, problem: problem.into() }
    }

    pub(super) fn variable(variable: &Variable, problem: impl Into<String>) -> Self {
        Self::Environment {
            name: variable.name.clone(),
            field: variable.key(),
            problem: problem.into(),
        }
    }

    pub(super) fn flag(field: &str, problem: impl Into<String>) -> Self {
        Self::Flag { field: field.to_owned(), problem: problem.into() }
    }
}

fn in_field(field: &Option<String>) -> String {
    field.as_ref().map(|field| format!(" (field `{field}`)")).unwrap_or_default()
}
