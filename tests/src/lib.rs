//! A harness over real processes: development networks driven through the `pentad` command, and
//! single processes started by hand.

mod collector;
mod devnet;
mod metrics;
mod names;
mod page;
mod process;
mod rotel;
mod script;
mod solo;
mod terminal;
mod tools;
mod trace;
mod wait;

pub use collector::{Collector, Receiver, SeenSpan};
pub use devnet::{Devnet, Node, Reply, pentad, pentad_with};
pub use metrics::{metric, metrics_page, page_body};
pub use names::words;
pub use page::{Session, Typed, normalize, path_folder, sessions, typed};
pub use process::{Running, binary, free_port, free_ports, outputs, signal, start};
pub use rotel::Rotel;
pub use script::Script;
pub use solo::Solo;
pub use terminal::Terminal;
pub use tools::{Curl, buf_curl, buf_curl_list, python, tool};
pub use trace::{
    FIVE_SERVICES, MINER_SPANS, VALIDATOR_SPANS, assert_whole, complete, first_whole, hybrid_spans,
    payment_trace, services,
};
pub use wait::{DEADLINE, wait_for, wait_until, within};
