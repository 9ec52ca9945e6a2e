use std::ffi::OsString;

use super::ConfigError;

const PREFIX: &str = "PENTAD_";
/// Stands for the dot between a section and its field.
const SEPARATOR: &str = "__";
/// Variables of the command lines, which are no fields of a configuration.
const RESERVED: [&str; 12] = [
    "PENTAD_CONFIG",
    "PENTAD_CONTEXT",
    "PENTAD_CONTEXTS",
    "PENTAD_COOKIE",
    "PENTAD_DIR",
    "PENTAD_GRPC",
    "PENTAD_NODE",
    "PENTAD_OUTPUT",
    "PENTAD_TLS_AUTHORITY",
    "PENTAD_TLS_CERTIFICATE",
    "PENTAD_TLS_KEY",
    "PENTAD_TOKEN_FILE",
];

/// A variable that stands for a field.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    value: OsString,
}

impl Variable {
    /// `PENTAD_SERVER__DRAIN_MS_MAX` is `server.drain_ms_max`.
    pub(super) fn key(&self) -> String {
        let field = self.name.strip_prefix(PREFIX).unwrap_or(&self.name);
        field.replace(SEPARATOR, ".").to_ascii_lowercase()
    }

    pub(super) fn text(&self) -> Result<&str, ConfigError> {
        self.value.to_str().ok_or_else(|| ConfigError::variable(self, "is not UTF-8"))
    }
}

/// The variables that stand for fields, in the order of their names.
pub(super) fn select<K, V>(variables: impl IntoIterator<Item = (K, V)>) -> Vec<Variable>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let mut selected: Vec<Variable> = variables
        .into_iter()
        .filter_map(|(name, value)| {
            let name = name.into().into_string().ok()?;
            let ours = name.starts_with(PREFIX)
                && !RESERVED.contains(&name.as_str())
                && !is_service_link(&name);
            ours.then(|| Variable { name, value: value.into() })
        })
        .collect();
    selected.sort_by(|a, b| a.name.cmp(&b.name));
    selected
}

/// Kubernetes gives every pod variables about the services beside it: a service called
/// `pentad-chain` puts `PENTAD_CHAIN_SERVICE_HOST` and `PENTAD_CHAIN_PORT_9992_TCP` into ours. So
/// no field may be called `…_port`: an address says more anyway.
fn is_service_link(name: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || name.ends_with("_PORT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fields_are_selected() {
        let selected = select([
            ("PATH", "/bin"),
            ("PENTAD_SERVER__GRPC", "127.0.0.1:1"),
            ("PENTAD_CONFIG", "a.toml"),
            ("PENTAD_TLS_AUTHORITY", "for the command line"),
            ("PENTAD_TLS__AUTHORITY", "for the service"),
            ("PENTAD_CHAIN_SERVICE_HOST", "10.0.0.1"),
            ("PENTAD_CHAIN_PORT", "tcp://10.0.0.1:9992"),
            ("PENTAD_CHAIN_PORT_9992_TCP_ADDR", "10.0.0.1"),
            ("PENTAD_DATA_DIR", "data"),
        ]);
        let keys: Vec<String> = selected.iter().map(Variable::key).collect();
        assert_eq!(keys, ["data_dir", "server.grpc", "tls.authority"]);
    }
}
