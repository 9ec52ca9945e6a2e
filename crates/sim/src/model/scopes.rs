//! The bounds that are checked, small ones in every test run and larger ones by `make model`.

use super::Scope;

/// Nobody is faulty; one timer each may run out.
pub const HONEST: Scope = Scope {
    name: "honest, views 0 and 1",
    window: 1,
    blocks: 1,
    faulty: None,
    is_silent: false,
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

/// Replica 3 is silent, so that every quorum needs all others; one of them crashes, between any two
/// records, with two blocks in flight.
pub const SILENT_AND_CRASH: Scope = Scope {
    name: "one silent, one crash, two blocks in a window of four",
    faulty: Some(3),
    is_silent: true,
    crashes: 1,
    ..TWO_IN_FLIGHT
};

/// Replica 3 is silent, and there are two crashes of one other or of two.
pub const SILENT_AND_CRASHES: Scope = Scope {
    name: "one silent, two crashes",
    faulty: Some(3),
    is_silent: true,
    crashes: 2,
    ..HONEST
};

/// Replica 3 is silent, and the others leave two views.
pub const SILENT_AND_VIEWS: Scope = Scope {
    name: "one silent, views 0 to 2",
    faulty: Some(3),
    is_silent: true,
    last_view: 2,
    leavers: 6,
    ..HONEST
};

/// One crash, between any two records, of any of four honest replicas.
pub const CRASH: Scope = Scope { name: "honest, one crash", crashes: 1, ..HONEST };

/// Four honest replicas with two blocks in flight.
pub const TWO_IN_FLIGHT: Scope =
    Scope { name: "honest, two blocks in a window of four", window: 4, blocks: 2, ..HONEST };

/// All of them, those that are checked whole first.
pub const ALL: [Scope; 9] = [
    FAULTY_PRIMARY,
    FAULTY_BACKUP,
    FAULTY_NEXT_PRIMARY,
    HONEST,
    SILENT_AND_CRASH,
    SILENT_AND_CRASHES,
    SILENT_AND_VIEWS,
    CRASH,
    TWO_IN_FLIGHT,
];
