//! Tests that see only the public interfaces
