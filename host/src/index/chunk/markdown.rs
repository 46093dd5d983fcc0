//! Markdown by its headings: one chunk per section, named by the path of headings that lead to it.
//!
//! Headings are found as CommonMark has them (ATX and setext, up to three spaces of indentation), not inside fenced
//! code, HTML comments or front matter. Nested blocks (a heading in a list or a quotation) start no section.

use std::ops::Range;

use super::lines::Lines;
use super::windows::windows;
use super::{Chunk, ChunkKind, ChunkLimits};

/// The longest title in characters; a setext heading takes the whole paragraph above its line.
const TITLE_CHARS_MAX: usize = 160;

/// The sections' chunks, or None if there is no heading. A section that exceeds the limits is cut into windows; a
/// heading with nothing below it but deeper headings shares the chunk of the first of them.
pub(super) fn chunks(lines: &Lines, limits: &ChunkLimits) -> Option<Vec<Chunk>> {
    let headings = headings(lines);
    let first = headings.first()?;
    let mut chunks = Vec::new();
    let preamble = lines.trimmed(0..first.lines.start);
    push_section(lines, limits, preamble, None, &[], &mut chunks);

    let mut path: Vec<&Heading> = Vec::new();
    let mut waiting: Option<usize> = None;
    for (at, heading) in headings.iter().enumerate() {
        path.truncate(path.iter().take_while(|above| above.level < heading.level).count());
        path.push(heading);
        let next = headings.get(at + 1);
        let end = next.map_or(lines.count(), |next| next.lines.start);
        let first = waiting.take().unwrap_or(at);
        let only_heading = lines.trimmed(heading.lines.end..end).is_empty();
        if only_heading && next.is_some_and(|next| next.level > heading.level) {
            waiting = Some(first);
            continue;
        }
        let range = lines.trimmed(headings[first].lines.start..end);
        let titles: Vec<&str> = path.iter().map(|h| h.title.as_str()).filter(|t| !t.is_empty()).collect();
        let symbol = (!titles.is_empty()).then(|| titles.join(" > "));
        push_section(lines, limits, range, symbol, &headings[first..=at], &mut chunks);
    }
    Some(chunks)
}

fn push_section(
    lines: &Lines,
    limits: &ChunkLimits,
    range: Range<usize>,
    symbol: Option<String>,
    headings: &[Heading],
    chunks: &mut Vec<Chunk>,
) {
    let parts = match lines.fits(&range, limits) {
        true if range.is_empty() => Vec::new(),
        true => vec![range],
        false => windows(lines, range, limits),
    };
    for (at, part) in parts.iter().enumerate() {
        let mut chunk = Chunk { symbol: symbol.clone(), kind: ChunkKind::Section, ..lines.chunk(part, limits) };
        if at == 0 {
            for heading in headings.iter().filter(|h| !h.title.is_empty()) {
                if !chunk.definitions.contains(&heading.title) {
                    chunk.definitions.push(heading.title.clone());
                }
            }
        }
        chunks.push(chunk);
    }
}

#[derive(Debug, PartialEq)]
struct Heading {
    /// 1 to 6.
    level: usize,
    /// May be empty.
    title: String,
    lines: Range<usize>,
}

fn headings(lines: &Lines) -> Vec<Heading> {
    let mut found: Vec<Heading> = Vec::new();
    let mut fence: Option<(char, usize)> = None;
    let mut in_comment = false;
    // Where the paragraph began that the line before belongs to.
    let mut paragraph: Option<usize> = None;
    for at in front_matter_end(lines)..lines.count() {
        let line = lines.slice(&(at..at + 1));
        let trimmed = line.trim();
        let indented = indentation(line) > 3;
        if let Some((mark, length)) = fence {
            let run = run_length(trimmed, mark);
            if !indented && run >= length && run == trimmed.chars().count() {
                fence = None;
            }
        } else if in_comment {
            in_comment = !line.contains("-->");
        } else if let Some(opened) = opens_fence(trimmed).filter(|_| !indented) {
            fence = Some(opened);
            paragraph = None;
        } else if !indented && trimmed.starts_with("<!--") {
            in_comment = !line.contains("-->");
            paragraph = None;
        } else if let Some((level, title)) = atx(trimmed).filter(|_| !indented) {
            found.push(Heading { level, title: shortened(title), lines: at..at + 1 });
            paragraph = None;
        } else if let (Some(start), Some(level), false) = (paragraph, underline(trimmed), indented) {
            let text = lines.slice(&(start..at));
            found.push(Heading { level, title: shortened(&text.split_whitespace().collect::<Vec<_>>().join(" ")), lines: start..at + 1 });
            paragraph = None;
        } else if trimmed.is_empty() || starts_other_block(trimmed) {
            paragraph = None;
        } else if !indented || paragraph.is_some() {
            paragraph = paragraph.or(Some(at));
        }
    }
    found
}

/// The first line after YAML (`---`) or TOML (`+++`) front matter; 0 if there is none or it does not end.
fn front_matter_end(lines: &Lines) -> usize {
    if lines.count() == 0 {
        return 0;
    }
    let mark = lines.slice(&(0..1)).trim_start_matches('\u{feff}').trim_end();
    if mark != "---" && mark != "+++" {
        return 0;
    }
    let closes = |line: &str| line == mark || (mark == "---" && line == "...");
    let end = (1..lines.count()).find(|&at| closes(lines.slice(&(at..at + 1)).trim_end()));
    end.map_or(0, |end| end + 1)
}

/// The columns before the first other character; a tab goes to the next multiple of 4.
fn indentation(line: &str) -> usize {
    let mut columns = 0;
    for c in line.chars() {
        match c {
            ' ' => columns += 1,
            '\t' => columns += 4 - columns % 4,
            _ => break,
        }
    }
    columns
}

fn run_length(text: &str, mark: char) -> usize {
    text.chars().take_while(|&c| c == mark).count()
}

fn opens_fence(trimmed: &str) -> Option<(char, usize)> {
    let mark = trimmed.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = run_length(trimmed, mark);
    let inline = mark == '`' && trimmed[length..].contains('`');
    (length >= 3 && !inline).then_some((mark, length))
}

fn atx(trimmed: &str) -> Option<(usize, &str)> {
    let level = run_length(trimmed, '#');
    let rest = &trimmed[level..];
    if !(1..=6).contains(&level) || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    let title = rest.trim();
    let open = title.trim_end_matches('#');
    let closed = open.is_empty() || open.ends_with([' ', '\t']);
    Some((level, if closed { open.trim_end() } else { title }))
}

fn underline(trimmed: &str) -> Option<usize> {
    let mark = trimmed.chars().next()?;
    let level = match mark {
        '=' => 1,
        '-' => 2,
        _ => return None,
    };
    (run_length(trimmed, mark) == trimmed.len()).then_some(level)
}

/// Whether a line is no paragraph's: a list item, a quotation, a table row or a thematic break.
fn starts_other_block(trimmed: &str) -> bool {
    let item = |mark: &str| trimmed.strip_prefix(mark).is_some_and(|rest| rest.starts_with([' ', '\t']));
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let numbered = (1..=9).contains(&digits) && trimmed[digits..].strip_prefix(['.', ')']).is_some_and(|rest| rest.starts_with(' '));
    let rule =
        ['-', '*', '_'].iter().any(|&mark| trimmed.chars().all(|c| c == mark || c.is_whitespace()) && trimmed.matches(mark).count() >= 3);
    trimmed.starts_with(['>', '|']) || item("-") || item("*") || item("+") || numbered || rule
}

fn shortened(title: &str) -> String {
    title.chars().take(TITLE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(u32, u32, Option<&str>)]) {
        let chunks = chunks(&Lines::of(text), &ChunkLimits::default()).unwrap_or_default();
        let found: Vec<_> = chunks.iter().map(|c| (c.start_line, c.end_line, c.symbol.as_deref())).collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn sections_have_heading_paths() {
        check("no heading\n", &[]);
        check("intro\n# A\ntext\n## B ##\ntext\n\n# C\n", &[(1, 1, None), (2, 3, Some("A")), (4, 5, Some("A > B")), (7, 7, Some("C"))]);
        check("A\n===\ntext\n\nB\n---\ntext\n### D\n", &[(1, 3, Some("A")), (5, 7, Some("A > B")), (8, 8, Some("A > B > D"))]);
        check("# Guide\n\n## Install\ntext\n", &[(1, 4, Some("Guide > Install"))]);
    }

    #[test]
    fn code_comments_and_front_matter_have_no_headings() {
        check("# A\n```sh\n# no\n``\n# no\n```\n## B\nx\n", &[(1, 6, Some("A")), (7, 8, Some("A > B"))]);
        check("# A\n~~~\n```\n# no\n~~~\n", &[(1, 5, Some("A"))]);
        check("---\ntitle: x\n---\n# A\n", &[(1, 3, None), (4, 4, Some("A"))]);
        check("# A\n<!--\n# no\n-->\n    # no\n", &[(1, 5, Some("A"))]);
        check("# A\n- item\n---\n#no\n| a |\n---\n", &[(1, 6, Some("A"))]);
        check("# A\r\ntext\r\n\r\n#\r\nx\r\n", &[(1, 2, Some("A")), (4, 5, None)]);
    }

    #[test]
    fn long_sections_become_windows() {
        let text = format!("# A\n{}", "text\n".repeat(99));
        check(&text, &[(1, 40, Some("A")), (33, 72, Some("A")), (65, 100, Some("A"))]);
        let chunks = chunks(&Lines::of(&text), &ChunkLimits::default()).unwrap();
        assert_eq!(chunks[0].definitions, ["A"]);
        assert!(chunks[1].definitions.is_empty());
    }
}
