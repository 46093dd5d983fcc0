//! Writes a report as Markdown. Everything from outside is escaped here.

use std::fmt::Write as _;

use super::document::{Block, Section, Sheet, sections, title};
use super::report::Report;
use super::words::{Span, spans};
use crate::reports::escape::{code, prose};
use crate::reports::table::Table;

/// Characters of a text of somebody else.
pub(super) const TEXT_CHARS_MAX: usize = 600;
/// Characters of a sentence of the report's own, which may name eight arms.
const SENTENCE_CHARS_MAX: usize = 4_000;

/// The report as Markdown.
pub fn markdown(report: &Report) -> String {
    write(&title(report), &report.verdict.sentence, &sections(report))
}

/// A title, a verdict in one sentence, and what it rests on.
pub(in crate::experiments) fn write(title: &str, verdict: &str, sections: &[Section]) -> String {
    let mut out = format!("# {}\n\n**{}**\n", text(title), sentence(verdict));
    for section in sections {
        // Writing to a String can't fail.
        let _ = writeln!(out, "\n## {}", section.title);
        section.blocks.iter().for_each(|block| write_block(block, &mut out));
    }
    out
}

fn write_block(block: &Block, out: &mut String) {
    out.push('\n');
    match block {
        Block::Text(own) => *out += &format!("{}\n", sentence(own)),
        Block::List(items) => items.iter().for_each(|item| *out += &format!("- {}\n", sentence(item))),
        Block::Table(sheet) | Block::Plot(_, sheet) => table(sheet, out),
    }
}

fn table(sheet: &Sheet, out: &mut String) {
    *out += &format!("{}:\n\n", text(&sheet.caption));
    let mut table = Table::new(&sheet.columns);
    sheet.rows.iter().for_each(|row| table.row(row.iter().map(|own| cell(own))));
    table.write(out);
}

fn text(own: &str) -> String {
    prose(own, TEXT_CHARS_MAX)
}

/// Within a table a sign is never the begin of a list.
fn cell(own: &str) -> String {
    let shown = text(own);
    let unescaped = shown.strip_prefix('\\').filter(|rest| rest.starts_with(['+', '-', '#', '=']));
    unescaped.map_or(shown.clone(), str::to_owned)
}

/// A text of the report's own, with keys as code.
fn sentence(own: &str) -> String {
    let mut out = String::new();
    for (place, span) in spans(own).into_iter().enumerate() {
        match span {
            Span::Key(key) => out += &code(key, TEXT_CHARS_MAX),
            // Spaces beside keys are to stay, and only at the begin of a line does a sign begin a list.
            Span::Plain(plain) => {
                let shown = prose(plain, SENTENCE_CHARS_MAX);
                let starts = plain.starts_with(' ') && place > 0;
                let ends = plain.ends_with(' ') && !shown.is_empty();
                out += &format!("{}{shown}{}", if starts { " " } else { "" }, if ends { " " } else { "" });
            }
        }
    }
    out
}
