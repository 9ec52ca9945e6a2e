//! The peer service: discovery and links to other nodes

pub mod discovery;
