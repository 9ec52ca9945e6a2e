//! Four organisations of five containers each: payments, faults, rights, upgrades. Needs Docker and
//! the images of `make images`.

mod faults;
mod images;
mod load;
mod machines;
mod network;
mod operations;
mod payments;
mod rights;
mod traces;
mod typed;
mod upgrade;
