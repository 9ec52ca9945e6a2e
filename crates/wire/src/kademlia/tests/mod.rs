mod dht;
mod golden;
mod overlay;
mod prop;
mod simulation;
mod table;
