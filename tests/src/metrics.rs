//! What a node counts.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// The metrics page at `address`; `None` while nobody answers.
#[must_use]
pub fn metrics_page(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}

/// A metric without labels from the page at `address`; `None` when there is none such.
#[must_use]
pub fn metric(address: &str, name: &str) -> Option<f64> {
    let page = metrics_page(address)?;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}
