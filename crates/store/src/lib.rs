//! Durable storage: the block log and the indexes over it
