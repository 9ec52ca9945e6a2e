//! Drawing a picture: fits into 80 columns and 24 lines.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Row, Table};

use super::picture::{BlockRow, NodeRow, Order, Picture};

/// How the picture is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    pub order: Order,
    pub is_paused: bool,
    /// Colours are wanted (NO_COLOR is not set).
    pub has_colors: bool,
}

const NODE_COLUMNS: [&str; 10] =
    ["NODE", "STATE", "HEIGHT", "FINAL", "VIEW", "ROLE", "PEERS", "MEMPOOL", "HASH/S", "LATENCY"];
const NODE_WIDTHS: [u16; 10] = [10, 5, 7, 7, 5, 8, 5, 7, 7, 7];
const BLOCK_COLUMNS: [&str; 6] = ["HEIGHT", "HASH", "AGE", "AFTER", "TX", "BYTES"];
const BLOCK_WIDTHS: [u16; 6] = [8, 17, 7, 7, 7, 10];
/// Hex digits of a hash that people tell apart.
const HASH_DIGITS: usize = 16;

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, picture: &Picture, look: Look) {
    let nodes = u16::try_from(picture.nodes.len()).unwrap_or(u16::MAX).saturating_add(1);
    // The blocks keep at least a third of the window.
    let nodes = nodes.min(frame.area().height.saturating_mul(2) / 3);
    let [title, _, upper, _, lower, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(nodes),
        Constraint::Length(1),
        Constraint::Min(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(heading(picture, look), title);
    frame.render_widget(node_table(picture, look), upper);
    frame.render_widget(block_table(picture), lower);
    frame.render_widget(keys(look), footer);
}

fn heading(picture: &Picture, look: Look) -> Line<'static> {
    let up = picture.nodes.iter().filter(|node| node.is_up).count();
    let mut spans = vec![
        Span::from(format!("pentad top  {}  ", picture.network)).bold(),
        Span::from(format!("{}  nodes {up}/{}", picture.engine, picture.nodes.len())),
    ];
    if let Some(height) = picture.highest(|node| node.height) {
        spans.push(Span::from(format!("  height {height}")));
    }
    if let Some(height) = picture.highest(|node| node.final_height) {
        spans.push(Span::from(format!("  final {height}")));
    }
    if let Some((transactions, seconds)) = picture.throughput() {
        let tenths = transactions.saturating_mul(10) / seconds.max(1) as usize;
        spans.push(Span::from(format!("  {}.{} tx/s", tenths / 10, tenths % 10)));
    }
    if look.is_paused {
        spans.push(paint(Span::from("  paused"), look, Color::Yellow));
    }
    Line::from(spans)
}

fn node_table(picture: &Picture, look: Look) -> Table<'static> {
    let rows = picture.sorted(look.order).into_iter().map(|node| node_row(node, look));
    table(rows, NODE_WIDTHS.to_vec(), &NODE_COLUMNS)
}

fn node_row(node: &NodeRow, look: Look) -> Row<'static> {
    let (state, color) = if node.is_up { ("up", Color::Green) } else { ("down", Color::Red) };
    let cells = [
        Line::from(node.name.clone()),
        Line::from(paint(Span::from(state), look, color)),
        right(number(node.height)),
        right(number(node.final_height)),
        right(number(node.view)),
        Line::from(node.role.clone().unwrap_or_else(dash)),
        right(number(node.peers)),
        right(number(node.mempool)),
        right(node.hash_rate.map_or_else(dash, rate)),
        right(node.latency_us.map_or_else(dash, latency)),
    ];
    Row::new(cells)
}

fn block_table(picture: &Picture) -> Table<'static> {
    let parents = picture.blocks.iter().skip(1).map(Some).chain([None]);
    let rows = picture.blocks.iter().zip(parents).map(|(block, parent)| {
        let age = picture.now.saturating_sub(u64::from(block.time));
        block_row(block, parent, age)
    });
    table(rows, BLOCK_WIDTHS.to_vec(), &BLOCK_COLUMNS)
}

fn block_row(block: &BlockRow, parent: Option<&BlockRow>, age: u64) -> Row<'static> {
    let after = parent.map(|parent| u64::from(block.time.saturating_sub(parent.time)));
    let digits = block.hash.len().saturating_sub(HASH_DIGITS);
    let hash = block.hash.get(digits..).unwrap_or(&block.hash);
    Row::new([
        right(block.height.to_string()),
        Line::from(format!("…{hash}")),
        right(duration(age)),
        right(after.map_or_else(dash, duration)),
        right(block.transactions.to_string()),
        right(block.bytes.to_string()),
    ])
}

fn table(
    rows: impl Iterator<Item = Row<'static>>,
    widths: Vec<u16>,
    header: &[&'static str],
) -> Table<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let is_text = |name: &str| ["NODE", "STATE", "ROLE", "HASH"].contains(&name);
    let header = header.iter().map(|name| match is_text(name) {
        true => Line::from(*name),
        false => Line::from(*name).right_aligned(),
    });
    Table::new(rows, widths).header(Row::new(header).style(bold)).column_spacing(1)
}

fn keys(look: Look) -> Line<'static> {
    let pause = if look.is_paused { "go on" } else { "pause" };
    Line::from(format!("q quit   p {pause}   s sort: {}", look.order.name()))
}

fn paint(span: Span<'static>, look: Look, color: Color) -> Span<'static> {
    if look.has_colors { span.fg(color) } else { span }
}

fn right(text: String) -> Line<'static> {
    Line::from(text).right_aligned()
}

fn dash() -> String {
    "-".to_owned()
}

fn number(value: Option<impl ToString>) -> String {
    value.map_or_else(dash, |value| value.to_string())
}

fn latency(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{micros} µs"),
        10_000..10_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{} s", micros / 1_000_000),
    }
}

/// Hashes per second with three or four digits.
fn rate(per_second: f64) -> String {
    for (limit, scale, unit) in [(1e4, 1.0, ""), (1e7, 1e3, "k"), (1e10, 1e6, "M")] {
        if per_second < limit {
            return format!("{:.0}{unit}", per_second / scale);
        }
    }
    format!("{:.0}G", per_second / 1e9)
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn sample() -> Picture {
        let node = |name: &str, role: &str| NodeRow {
            name: name.to_owned(),
            is_up: true,
            height: Some(1_234),
            final_height: Some(1_234),
            view: Some(2),
            role: Some(role.to_owned()),
            peers: Some(3),
            mempool: Some(17),
            hash_rate: None,
            latency_us: Some(431),
        };
        let block = |height: u32, time: u32| BlockRow {
            height,
            hash: format!("{height:064x}"),
            time,
            transactions: 20,
            bytes: 4_600,
        };
        Picture {
            network: "devnet".to_owned(),
            engine: "pbft".to_owned(),
            nodes: vec![
                node("node1", "backup"),
                node("node2", "primary"),
                NodeRow { name: "node3".to_owned(), ..NodeRow::default() },
            ],
            blocks: vec![block(1_234, 1_010), block(1_233, 1_005), block(1_232, 1_000)],
            now: 1_011,
        }
    }

    fn drawn(width: u16, height: u16, look: Look) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("in memory");
        terminal.draw(|frame| draw(frame, &sample(), look)).expect("in memory");
        terminal.backend().to_string()
    }

    #[test]
    fn everything_fits_into_80_columns() {
        let text = drawn(80, 24, Look::default());
        for line in [
            "pentad top  devnet  pbft  nodes 2/3  height 1234  final 1234  4.0 tx/s",
            "NODE       STATE  HEIGHT   FINAL  VIEW ROLE     PEERS MEMPOOL  HASH/S LATENCY",
            "node2      up       1234    1234     2 primary      3      17       -  431 µs",
            "node3      down        -       -     - -            -       -       -       -",
            "    1234 …00000000000004d2     1 s     5 s      20       4600",
            "q quit   p pause   s sort: name",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_small_window_and_a_pause_are_no_trouble() {
        for (width, height) in [(1, 1), (20, 5), (80, 3), (200, 60)] {
            drawn(width, height, Look { is_paused: true, ..Look::default() });
        }
        let look = Look { is_paused: true, has_colors: true, order: Order::Height };
        assert!(drawn(80, 24, look).contains("paused"));
    }

    #[test]
    fn numbers_are_short() {
        for (text, expected) in [
            (rate(9_999.0), "9999"),
            (rate(1_234_567.0), "1235k"),
            (rate(15e6), "15M"),
            (latency(9_999), "9999 µs"),
            (latency(12_345), "12 ms"),
            (duration(119), "119 s"),
            (duration(7_199), "119 min"),
            (duration(200_000), "2 d"),
        ] {
            assert_eq!(text, expected);
        }
    }
}
