//! Writes a report as one HTML file: no script, nothing from the network, light or dark
//! as the reader's machine is. Everything from outside is escaped here.

use super::document::{Block, Sheet, sections, title};
use super::markdown::TEXT_CHARS_MAX;
use super::plot;
use super::report::Report;
use super::verdict::Outcome;
use super::words::{Span, spans};
use crate::reports::escape::{cut, visible};
use crate::reports::table::Side;

/// Characters of a sentence of the report's own.
const SENTENCE_CHARS_MAX: usize = 4_000;
/// The browser is to load nothing, whatever stands in the file.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
const STYLE: &str = include_str!("style.css");

/// The report as a page of its own.
pub fn html(report: &Report) -> String {
    let title = text(&title(report));
    let mut body = String::new();
    for section in sections(report) {
        body += &format!("<section>\n<h2>{}</h2>\n", section.title);
        section.blocks.iter().for_each(|block| body += &self::block(block));
        body += "</section>\n";
    }
    let class = match report.verdict.outcome {
        Outcome::Better => "good",
        Outcome::Worse | Outcome::RatioMismatch => "bad",
        Outcome::NothingYet | Outcome::NotDecided | Outcome::TooFewUnits => "open",
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n<p class=\"verdict {class}\">{}</p>\n{body}</main>\n</body>\n</html>\n",
        sentence(&report.verdict.sentence)
    )
}

fn block(block: &Block) -> String {
    match block {
        Block::Text(own) => format!("<p>{}</p>\n", sentence(own)),
        Block::List(items) => {
            let items: String = items.iter().map(|item| format!("<li>{}</li>\n", sentence(item))).collect();
            format!("<ul>\n{items}</ul>\n")
        }
        Block::Table(sheet) => table(sheet),
        Block::Plot(plot, sheet) => {
            format!(
                "<figure>\n{}</figure>\n<details>\n<summary>The same as a table</summary>\n{}</details>\n",
                plot::svg(plot),
                table(sheet)
            )
        }
    }
}

/// Columns in which no row has anything are left out. The first one names the rows.
fn table(sheet: &Sheet) -> String {
    let filled: Vec<usize> = (0..sheet.columns.len())
        .filter(|column| sheet.rows.iter().any(|row| row.get(*column).is_some_and(|cell| !cell.is_empty())))
        .collect();
    let class = |column: usize| if sheet.columns[column].1 == Side::Right { " class=\"number\"" } else { "" };
    let head: String =
        filled.iter().map(|column| format!("<th scope=\"col\"{}>{}</th>", class(*column), text(sheet.columns[*column].0))).collect();
    let mut out = format!(
        "<div class=\"wide\">\n<table>\n<caption>{}</caption>\n<thead>\n<tr>{head}</tr>\n</thead>\n<tbody>\n",
        text(&sheet.caption)
    );
    for row in &sheet.rows {
        let cell = |(place, column): (usize, &usize)| {
            let cell = text(row.get(*column).map_or("", String::as_str));
            match place {
                0 => format!("<th scope=\"row\"{}>{cell}</th>", class(*column)),
                _ => format!("<td{}>{cell}</td>", class(*column)),
            }
        };
        let cells: String = filled.iter().enumerate().map(cell).collect();
        out += &format!("<tr>{cells}</tr>\n");
    }
    out + "</tbody>\n</table>\n</div>\n"
}

/// A text of somebody else, within elements and quoted attributes.
pub(super) fn text(own: &str) -> String {
    escaped(own, TEXT_CHARS_MAX)
}

/// A text of the report's own, with keys as code.
fn sentence(own: &str) -> String {
    let shown = cut(own, SENTENCE_CHARS_MAX);
    let span = |span: Span<'_>| match span {
        Span::Plain(plain) => escaped(plain, SENTENCE_CHARS_MAX),
        Span::Key(key) => format!("<code>{}</code>", text(key)),
    };
    spans(&shown).into_iter().map(span).collect()
}

fn escaped(own: &str, chars_max: usize) -> String {
    let mut out = String::new();
    for c in cut(&visible(own), chars_max).chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_texts() {
        let check = |own: &str, expect: &str| assert_eq!(text(own), expect);
        check("<script>alert(\"1\" & '2')</script>", "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;");
        check("one\ntwo\u{202e}\u{1b}", "one⏎two\\u{202e}\\u{1b}");
        check(&"x".repeat(TEXT_CHARS_MAX + 1), &("x".repeat(TEXT_CHARS_MAX - 1) + "…"));
    }
}
