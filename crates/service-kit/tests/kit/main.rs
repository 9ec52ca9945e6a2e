//! The kit from outside: a small service behind the whole stack, over TCP and in process.

mod config;
mod deadline;
mod drain;
mod echo;
mod floods;
mod health;
mod in_process;
mod load;
mod observe;
mod process;
mod rig;
mod rights;
mod trust;
mod upstream;
