//! The peer service: discovery and links to other nodes
