//! Tables of text that line up.

use std::fmt::Write as _;

/// Widest cell; what is longer is cut, except in the last column.
const CELL_CHARS_MAX: usize = 40;

/// A table with a header.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row. What comes from elsewhere may hold anything; a table holds no control
    /// characters.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// The lines, each behind `indent` blanks. Columns in which no row says anything are left out.
    pub(crate) fn lines(&self, indent: usize) -> Vec<String> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let chars = |cell: &str| cell.chars().count().min(CELL_CHARS_MAX);
        let width = |column: usize| {
            let said = self.rows[1..].iter().any(|row| !row[column].is_empty());
            said.then(|| self.rows.iter().map(|row| chars(&row[column])).max().unwrap_or(0))
        };
        let widths: Vec<(usize, usize)> =
            (0..columns).filter_map(|column| Some((column, width(column)?))).collect();
        let last = widths.last().map(|(column, _)| *column);
        let line = |row: &Vec<String>| {
            let mut line = " ".repeat(indent);
            for (column, width) in &widths {
                let cell = &row[*column];
                if Some(*column) == last {
                    line.push_str(cell);
                } else {
                    write!(line, "{:<width$}  ", cut(cell)).expect("a string takes all");
                }
            }
            line.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

fn cut(cell: &str) -> String {
    if cell.chars().count() <= CELL_CHARS_MAX {
        return cell.to_owned();
    }
    let start: String = cell.chars().take(CELL_CHARS_MAX - 2).collect();
    format!("{start}..")
}

/// A text from elsewhere, as one line that a terminal takes for nothing else.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_go() {
        let mut table = Table::new(&["device", "ring", "trouble"]);
        table.row(vec!["pump-1".into(), String::new(), "no\nnetwork".into()]);
        table.row(vec!["a".into(), String::new(), String::new()]);
        let lines = table.lines(2);
        assert_eq!(lines, ["  device  trouble", "  pump-1  no network", "  a"]);
    }
}
