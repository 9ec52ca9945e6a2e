mod convergence;
mod dht;
mod golden;
pub mod overlay;
mod prop;
pub mod simulation;
mod table;
