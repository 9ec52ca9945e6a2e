//! Aligned text for people.

use comfy_table::{CellAlignment, Table, presets};

/// Names on the left, values beside them; further lines of a value stand below its first.
pub fn pairs<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<(&str, String)> = rows.into_iter().collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let indent = format!("\n{:width$}  ", "");
    let line =
        |(name, value): &(&str, String)| format!("{name:width$}  {}", value.replace('\n', &indent));
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Rows under a header; the columns named in `right` are numbers.
pub fn grid<const N: usize>(header: [&str; N], right: &[usize], rows: Vec<[String; N]>) -> String {
    let rows = rows.into_iter().map(Vec::from).collect();
    columns(header.map(str::to_owned).into(), right, rows)
}

/// As [`grid`], for as many columns as there are.
pub fn columns(header: Vec<String>, right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let text = pairs([("a", "1".to_owned()), ("longer", "2".to_owned())]);
        assert_eq!(text, "a       1\nlonger  2");
        let text = pairs([("a", "1\n2".to_owned()), ("longer", "3".to_owned())]);
        assert_eq!(text, "a       1\n        2\nlonger  3");
        let rows = vec![["x".to_owned(), "1".to_owned()], ["yyyy".to_owned(), "100".to_owned()]];
        assert_eq!(
            grid(["NAME", "HEIGHT"], &[1], rows),
            "NAME  HEIGHT\nx          1\nyyyy     100"
        );
    }
}
