//! `certs roles`: the table of who may call what.

use pentad_trust::Role;
use serde::Serialize;

use crate::console::Answer;
use crate::table::grid;

#[derive(Debug, Serialize)]
pub struct Roles {
    roles: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    role: &'static str,
    /// Services that it opens connections to.
    calls: Vec<&'static str>,
    /// Of a person's role.
    rights: Vec<&'static str>,
    /// Of a service's role, by path.
    methods: Vec<&'static str>,
}

/// `certs roles`.
pub fn roles() -> Roles {
    let row = |role: Role| Row {
        role: role.name(),
        calls: role.callees().into_iter().map(Role::name).collect(),
        rights: role.rights().iter().map(|right| right.name()).collect(),
        methods: role.methods().to_vec(),
    };
    Roles { roles: Role::ALL.into_iter().map(row).collect() }
}

impl Answer for Roles {
    fn to_table(&self) -> String {
        let row = |row: &Row| {
            let what = match (row.rights.is_empty(), row.methods.is_empty()) {
                (false, _) => format!("what asks for {}", row.rights.join(", ")),
                (true, true) => "nothing".to_owned(),
                (true, false) => {
                    format!("{} methods (--output json lists them)", row.methods.len())
                }
            };
            [row.role.to_owned(), row.calls.join(" "), what]
        };
        grid(["ROLE", "CALLS", "MAY CALL"], &[], self.roles.iter().map(row).collect())
    }
}
