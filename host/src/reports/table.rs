//! Tables of Markdown whose columns stand below each other in a terminal, too.

/// A column's cells are padded to its widest one, up to this: one long cell must not
/// stretch all others.
const PADDED_CHARS_MAX: usize = 64;

/// On which side a column's cells stand.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Side {
    Left,
    /// Numbers.
    Right,
}

/// A table in the making. Cells are Markdown already, on one line.
pub(crate) struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: &[(&'static str, Side)]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<String> = cells.into_iter().collect();
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
    }

    /// The table without the columns in which no row has anything; without rows nothing.
    pub fn write(mut self, out: &mut String) {
        for column in (0..self.columns.len()).rev() {
            if self.rows.iter().all(|row| row[column].is_empty()) {
                self.columns.remove(column);
                self.rows.iter_mut().for_each(|row| drop(row.remove(column)));
            }
        }
        if self.columns.is_empty() {
            return;
        }
        let width = |text: &str| text.chars().count();
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(column, (title, _))| {
                let widest = self.rows.iter().map(|row| width(&row[column])).max().unwrap_or(0);
                // Three at least, for the rule below the titles.
                widest.min(PADDED_CHARS_MAX).max(width(title)).max(3)
            })
            .collect();
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let rules: Vec<String> = self.columns.iter().zip(&widths).map(|((_, side), width)| rule(*side, *width)).collect();
        for cells in [&titles, &rules].into_iter().chain(&self.rows) {
            for ((cell, (_, side)), width_min) in cells.iter().zip(&self.columns).zip(&widths) {
                let space = " ".repeat(width_min.saturating_sub(width(cell)));
                match side {
                    Side::Left => *out += &format!("| {cell}{space} "),
                    Side::Right => *out += &format!("| {space}{cell} "),
                }
            }
            *out += "|\n";
        }
    }
}

fn rule(side: Side, width: usize) -> String {
    match side {
        Side::Left => "-".repeat(width),
        Side::Right => "-".repeat(width - 1) + ":",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let wide = PADDED_CHARS_MAX;
        let mut table = Table::new(&[("name", Side::Left), ("none", Side::Left), ("µs", Side::Right)]);
        table.row(["a".into(), String::new(), "1".into()]);
        table.row(["bücher".into(), String::new(), "1234".into()]);
        table.row(["x".repeat(wide + 5)]);
        let mut out = String::new();
        table.write(&mut out);
        let expect = [
            format!("| {:<wide$} |   µs |", "name"),
            format!("| {} | ---: |", "-".repeat(wide)),
            format!("| {:<wide$} |    1 |", "a"),
            format!("| {:<wide$} | 1234 |", "bücher"),
            format!("| {} |      |", "x".repeat(wide + 5)),
        ];
        assert_eq!(out.lines().collect::<Vec<_>>(), expect);
        let mut out = String::new();
        Table::new(&[("name", Side::Left)]).write(&mut out);
        assert_eq!(out, "");
    }
}
