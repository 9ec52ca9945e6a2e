//! Pages over HTTP, and what a node counts.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// The metrics page at `address`; `None` while nobody answers.
#[must_use]
pub fn metrics_page(address: &str) -> Option<String> {
    page_body(address, "/metrics")
}

/// What `http://ADDRESS/PATH` answers, whatever its status; `None` while nobody answers.
#[must_use]
pub fn page_body(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// A metric without labels from the page at `address`; `None` when there is none such.
#[must_use]
pub fn metric(address: &str, name: &str) -> Option<f64> {
    let page = metrics_page(address)?;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}
