//! One serde struct per service, filled from a TOML file, then the environment, then flags.
//!
//! Later sources win. Every source is checked by itself, so that an error names the file and line,
//! the variable or the flag that is wrong. Nested fields are `section.field` in a flag and
//! `PENTAD_SECTION__FIELD` in the environment; values are TOML, or plain text where a field takes
//! text.
//!
//! ```
//! use pentad_service_kit::config::{self, Sources};
//! #[derive(Debug, Default, serde::Deserialize)]
//! #[serde(deny_unknown_fields, default)]
//! struct Miner { threads: Option<u16>, chain: Upstream }
//! #[derive(Debug, Default, serde::Deserialize)]
//! #[serde(deny_unknown_fields, default)]
//! struct Upstream { address: String }
//!
//! let sources = Sources::default()
//!     .env([("PENTAD_CHAIN__ADDRESS", "http://127.0.0.1:9992")])
//!     .set("threads", 4);
//! let miner: Miner = config::load(&sources)?;
//! assert_eq!(miner.chain.address, "http://127.0.0.1:9992");
//! assert_eq!(miner.threads, Some(4));
//! # Ok::<(), config::ConfigError>(())
//! ```

mod draft;
mod environment;
mod error;
mod file;
mod secret;

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::self_check::Question;

pub use error::ConfigError;
pub use secret::Secret;

use draft::Draft;

/// What every service's command line takes; flatten it into the service's own flags.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "PENTAD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Overrides one field of the configuration, e.g. server.grpc=127.0.0.1:9992
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where everything is kept (data_dir)
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// gRPC address (server.grpc)
    #[arg(long, value_name = "ADDRESS")]
    pub grpc: Option<String>,
    /// Address of the metrics page (server.metrics) [default: the gRPC port + 1000]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<String>,
    /// The credential of local clients (server.cookie_file) [default: DIR/cookie]
    #[arg(long, value_name = "FILE")]
    pub cookie: Option<String>,
    /// The own certificate, PEM (tls.certificate)
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<String>,
    /// Its key, PEM, mode 0600 (tls.key)
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// The authorities whose certificates are good, PEM (tls.authority)
    #[arg(long, value_name = "FILE")]
    pub tls_authority: Option<String>,
    /// The tokens that may be shown, by their hashes (server.tokens_file)
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<String>,
    /// development, or production: no reflection, no admin methods (server.profile)
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Allow a gRPC address beyond loopback without TLS (server.insecure_listen)
    #[arg(long)]
    pub insecure_listen: bool,
    /// Log lines: human or json (telemetry.format)
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Where traces go, for example http://127.0.0.1:4317 (telemetry.otlp_endpoint)
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Ask the service that runs with this configuration how it is, and exit: 0 well, 1 not
    #[arg(long, value_name = "QUESTION", num_args = 0..=1, default_missing_value = "serving")]
    #[arg(require_equals = true)]
    pub health: Option<Question>,
}

impl ConfigArgs {
    /// These flags and the environment of the process.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let sources = Sources::default().env(std::env::vars_os());
        let (file, pairs) = (self.config.clone(), self.set.clone());
        let sources = Sources { file, pairs, question: self.health, ..sources };
        let sources = sources
            .set_some("data_dir", self.data.as_deref())
            .set_some("server.grpc", self.grpc.as_deref())
            .set_some("server.metrics", self.metrics.as_deref())
            .set_some("server.cookie_file", self.cookie.as_deref())
            .set_some("server.tokens_file", self.tokens.as_deref())
            .set_some("server.profile", self.profile.as_deref())
            .set_some("tls.certificate", self.tls_certificate.as_deref())
            .set_some("tls.key", self.tls_key.as_deref())
            .set_some("tls.authority", self.tls_authority.as_deref())
            .set_some("telemetry.format", self.log_format.as_deref())
            .set_some("telemetry.otlp_endpoint", self.otlp_endpoint.as_deref());
        // A switch that is left out leaves the file and the environment as they are.
        sources.set_some("server.insecure_listen", self.insecure_listen.then_some(true))
    }
}

/// Where the values of a configuration come from, in rising precedence.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    environment: Vec<environment::Variable>,
    pairs: Vec<String>,
    flags: Vec<(String, Value)>,
    /// What whoever runs with this configuration is asked, in place of running.
    pub(crate) question: Option<Question>,
}

impl Sources {
    /// Reads this TOML file.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Takes the `PENTAD_…` variables among `variables`.
    #[must_use]
    pub fn env<K, V>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<std::ffi::OsString>,
        V: Into<std::ffi::OsString>,
    {
        self.environment = environment::select(variables);
        self
    }

    /// Sets the field `key` (dotted), as an explicit flag of a service does.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.flags.push((key.into(), value.into()));
        self
    }

    /// As [`Self::set`], for a flag that may have been left out.
    #[must_use]
    pub fn set_some(self, key: impl Into<String>, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }
}

/// Fills a configuration from its sources; what no source names keeps its default.
///
/// Every field of `C` needs a default: put `#[serde(deny_unknown_fields, default)]` on the struct
/// and on every section in it.
///
/// # Errors
/// The first source that is unreadable, names an unknown field or holds a value of another type.
pub fn load<C: DeserializeOwned + Default>(sources: &Sources) -> Result<C, ConfigError> {
    let mut draft = match &sources.file {
        Some(path) => file::read::<C>(path)?,
        None => Draft { table: Table::new(), config: C::default() },
    };
    for variable in &sources.environment {
        draft = draft
            .with_text(&variable.key(), variable.text()?)
            .map_err(|problem| ConfigError::variable(variable, problem))?;
    }
    for pair in &sources.pairs {
        let Some((key, text)) = pair.split_once('=') else {
            return Err(ConfigError::flag(pair, "expected KEY=VALUE"));
        };
        let (key, text) = (key.trim(), text.trim());
        draft = draft.with_text(key, text).map_err(|problem| ConfigError::flag(key, problem))?;
    }
    for (key, value) in &sources.flags {
        draft =
            draft.with(key, value.clone()).map_err(|problem| ConfigError::flag(key, problem))?;
    }
    Ok(draft.config)
}
