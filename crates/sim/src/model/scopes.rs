//! The bounds that are checked, small ones in every test run and larger ones by `make model`.

use super::Scope;

/// Nobody is faulty; one timer each may run out.
pub const HONEST: Scope = Scope {
    name: "honest, views 0 and 1",
    window: 1,
    blocks: 1,
    faulty: None,
    last_view: 1,
    leavers: 3,
    crashes: 0,
    liveness_every: 256,
};

/// The primary of view 0 proposes two blocks.
pub const FAULTY_PRIMARY: Scope =
    Scope { name: "faulty primary of view 0", faulty: Some(0), ..HONEST };

/// The primary of view 1 starts it twice.
pub const FAULTY_NEXT_PRIMARY: Scope =
    Scope { name: "faulty primary of view 1", faulty: Some(1), leavers: 2, ..HONEST };

/// A backup votes for everything.
pub const FAULTY_BACKUP: Scope = Scope { name: "faulty backup", faulty: Some(3), ..HONEST };

/// One crash, between any two records.
pub const CRASH: Scope = Scope { name: "one crash", crashes: 1, ..HONEST };

/// Two blocks in flight.
pub const TWO_IN_FLIGHT: Scope =
    Scope { name: "two blocks in a window of four", window: 4, blocks: 2, ..HONEST };

/// All of them.
pub const ALL: [Scope; 6] =
    [FAULTY_PRIMARY, FAULTY_BACKUP, FAULTY_NEXT_PRIMARY, HONEST, CRASH, TWO_IN_FLIGHT];
