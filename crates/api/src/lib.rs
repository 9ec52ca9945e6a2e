//! Generated protobuf code, clients and the mapping between messages and domain types
