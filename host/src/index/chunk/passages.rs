//! Cuts the text of a plain record: one chunk if it fits one, else passages by the language's own method.

use std::collections::HashSet;

use super::{Chunk, ChunkLimits, Chunked, Language, chunk_source};

/// The least that lines are broken at, whatever the limits say.
const BROKEN_LINE_BYTES_MIN: usize = 64;

/// Chunks the text of a record with its title.
///
/// The title, which has to be shorter than a chunk, is the first line of the first chunk, and its symbol where that has none of its own; the lines of the text
/// count on from there. A line that is longer than a chunk is broken at white space first, so that all of it is in some
/// chunk. What fits one chunk of `bytes_max` bytes is one, however many lines and definitions it has. Without any
/// visible character in `text` there are no chunks.
pub fn chunk_record(language: Language, title: Option<&str>, text: &str, limits: &ChunkLimits) -> Chunked {
    let limits = limits.checked();
    let room = ChunkLimits { bytes_max: limits.bytes_max.saturating_sub(title.map_or(0, |title| title.len() + 1)).max(4), ..limits };
    let broken = broken(text, &room);
    let text = broken.as_deref().unwrap_or(text);
    let mut chunked = if text.len() <= room.bytes_max { whole(language, text, &room) } else { chunk_source(language, text, &room) };
    if let Some(title) = title {
        chunked.chunks.iter_mut().for_each(|chunk| {
            chunk.start_line = chunk.start_line.saturating_add(1);
            chunk.end_line = chunk.end_line.saturating_add(1);
        });
        if let Some(first) = chunked.chunks.first_mut() {
            // Blank lines between the two stay.
            let blank = "\n".repeat((first.start_line - 1) as usize);
            first.text = format!("{title}{blank}{}", first.text);
            first.start_line = 1;
            first.symbol.get_or_insert_with(|| title.to_owned());
        }
    }
    chunked
}

/// One chunk of a text that fits one: all that the language's method finds in it, put together.
fn whole(language: Language, text: &str, limits: &ChunkLimits) -> Chunked {
    // Whatever is small is joined with its neighbours, and here everything is small.
    let limits = ChunkLimits { lines_max: u32::MAX, lines_min: u32::MAX, window_lines: u32::MAX, window_overlap: 0, ..limits.clone() };
    let chunked = chunk_source(language, text, &limits);
    let mut parts = chunked.chunks.into_iter();
    let Some(first) = parts.next() else { return Chunked { chunks: Vec::new(), ..chunked } };
    if parts.len() == 0 {
        return Chunked { chunks: vec![first], ..chunked };
    }
    let all = parts.fold(first, joined);
    let chunk = Chunk { text: lines(text, all.start_line, all.end_line).to_owned(), ..all };
    Chunked { chunks: vec![chunk], ..chunked }
}

/// Both as one chunk, but for the text. The symbol and kind are those of the first that has a symbol.
fn joined(mut one: Chunk, other: Chunk) -> Chunk {
    if one.symbol.is_none() && other.symbol.is_some() {
        (one.symbol, one.kind) = (other.symbol, other.kind);
    }
    one.start_line = one.start_line.min(other.start_line);
    one.end_line = one.end_line.max(other.end_line);
    add_new(&mut one.definitions, other.definitions);
    add_new(&mut one.calls, other.calls);
    if !one.comments.is_empty() && !other.comments.is_empty() {
        one.comments.push('\n');
    }
    one.comments.push_str(&other.comments);
    one
}

fn add_new(names: &mut Vec<String>, more: Vec<String>) {
    let mut known: HashSet<String> = names.iter().cloned().collect();
    names.extend(more.into_iter().filter(|name| known.insert(name.clone())));
}

/// Lines of a text, from 1, both inclusive, without the last line ending.
fn lines(text: &str, start_line: u32, end_line: u32) -> &str {
    let start_of = |line: u32| match line {
        0 | 1 => 0,
        line => text.match_indices('\n').nth(line as usize - 2).map_or(text.len(), |(at, _)| at + 1),
    };
    let part = &text[start_of(start_line)..start_of(end_line.saturating_add(1))];
    let part = part.strip_suffix('\n').unwrap_or(part);
    part.strip_suffix('\r').unwrap_or(part)
}

/// The text with every line broken that is longer than a chunk; `None` if there is none. A break takes the place of the
/// last white space that leaves the line short enough; where there is none it comes between two characters. Lines are
/// made so long that a window of them fits a chunk.
fn broken(text: &str, limits: &ChunkLimits) -> Option<String> {
    if text.len() <= limits.bytes_max || text.lines().all(|line| line.len() < limits.bytes_max) {
        return None;
    }
    let bytes_max = (limits.bytes_max / limits.window_lines as usize).max(BROKEN_LINE_BYTES_MIN).min(limits.bytes_max);
    let mut out = String::with_capacity(text.len() + text.len() / bytes_max + 1);
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while line.len() >= limits.bytes_max && rest.len() > bytes_max {
            // At least one character, so that the rest gets shorter.
            let end = rest.floor_char_boundary(bytes_max - 1).max(rest.chars().next().map_or(1, char::len_utf8));
            let (at, next) = match rest[..end].rfind(char::is_whitespace).filter(|at| *at > 0) {
                Some(at) => (at, at + rest[at..].chars().next().map_or(1, char::len_utf8)),
                None => (end, end),
            };
            out.push_str(&rest[..at]);
            out.push('\n');
            rest = &rest[next..];
        }
        out.push_str(rest);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::chunk::Method;

    fn chunks(language: Language, title: Option<&str>, text: &str, bytes_max: usize) -> Vec<Chunk> {
        chunk_record(language, title, text, &ChunkLimits { bytes_max, ..ChunkLimits::default() }).chunks
    }

    /// Chunks as (first line, last line, symbol).
    #[track_caller]
    fn check(language: Language, title: Option<&str>, text: &str, expect: &[(u32, u32, Option<&str>)]) {
        let found = chunks(language, title, text, 400);
        let found: Vec<_> = found.iter().map(|chunk| (chunk.start_line, chunk.end_line, chunk.symbol.as_deref())).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn what_fits_is_one_chunk_with_all_that_is_in_it() {
        check(Language::Text, None, "", &[]);
        check(Language::Text, None, "a word", &[(1, 1, None)]);
        check(Language::Text, Some("Title"), "a word", &[(1, 2, Some("Title"))]);
        // More lines than a window or a chunk of a file has.
        check(Language::Text, None, &"a\n".repeat(100), &[(1, 100, None)]);
        let python = "import os\n\n\ndef first():\n    return os.name\n\n\nclass Second:\n    def third(self):\n        pass\n";
        check(Language::Python, Some("Two"), python, &[(1, 11, Some("first"))]);
        let found = chunks(Language::Python, None, python, 400).remove(0);
        assert_eq!(found.definitions, ["first", "Second", "third"]);
        assert_eq!(found.text, python.trim_end());
        let markdown = "# One\n\ntext\n\n## Two\n\nmore\n";
        check(Language::Markdown, None, markdown, &[(1, 7, Some("One"))]);
        let found = chunks(Language::Markdown, None, markdown, 400).remove(0);
        assert_eq!((found.definitions, found.text), (vec!["One".to_owned(), "Two".to_owned()], markdown.trim_end().to_owned()));
        // Broken code is one chunk, too.
        check(Language::Rust, None, "} } fn ( ) ] struct\n}}}\n", &[(1, 2, None)]);
    }

    #[test]
    fn what_does_not_fit_is_cut_by_its_language() {
        let function = |name: &str| format!("fn {name}() {{\n{}}}\n", "    work();\n".repeat(20));
        let text = format!("{}{}", function("one"), function("two"));
        check(Language::Rust, None, &text, &[(1, 22, Some("one")), (23, 44, Some("two"))]);
        check(Language::Rust, Some("Title"), &text, &[(1, 23, Some("one")), (24, 45, Some("two"))]);
        let section = |name: &str| format!("# {name}\n\n{}\n", "word ".repeat(50).trim());
        let text = format!("{}{}", section("One"), section("Two"));
        check(Language::Markdown, None, &text, &[(1, 3, Some("One")), (4, 6, Some("Two"))]);
        let found = chunks(Language::Rust, Some("Title"), &format!("\n{}", function("one").repeat(2)), 400);
        assert!(found[0].text.starts_with("Title\n\nfn one() {\n"), "{}", found[0].text);
        assert!(found.iter().all(|chunk| chunk.text.len() <= 400));
    }

    #[test]
    fn long_lines_are_broken_so_that_nothing_is_lost() {
        let words: Vec<String> = (0..1_000).map(|n| format!("word{n}")).collect();
        let found =
            chunk_record(Language::Text, Some("Words"), &words.join(" "), &ChunkLimits { bytes_max: 2_000, ..ChunkLimits::default() });
        assert_eq!(found.method, Method::Windows);
        assert!(found.chunks.len() > 3 && found.chunks.iter().all(|chunk| chunk.text.len() <= 2_000));
        let held: HashSet<&str> = found.chunks.iter().flat_map(|chunk| chunk.text.split_whitespace()).collect();
        assert_eq!(held.len(), 1_001);
        for (one, next) in found.chunks.iter().zip(&found.chunks[1..]) {
            assert!(next.start_line > one.start_line && next.start_line <= one.end_line + 1);
        }
        // Without white space, and with characters of several bytes.
        for text in ["x".repeat(9_000), "語".repeat(3_000)] {
            let found = chunks(Language::Text, None, &text, 1_000);
            let bytes: usize = found.iter().map(|chunk| chunk.text.len()).sum();
            assert!(bytes >= text.len() && found.iter().all(|chunk| chunk.text.len() <= 1_000));
        }
        // Lines that fit stay as they are.
        assert_eq!(broken("a b\nc d\n", &ChunkLimits { bytes_max: 5, ..ChunkLimits::default() }), None);
    }

    #[test]
    fn limits_of_nothing_still_end() {
        for text in ["語語語", "a b c\nd", " \n x"] {
            let limits = ChunkLimits { bytes_max: 0, lines_max: 0, window_lines: 0, ..ChunkLimits::default() };
            assert!(!chunk_record(Language::Text, Some("a title"), text, &limits).chunks.is_empty());
        }
    }

    #[test]
    fn lines_are_found() {
        assert_eq!(lines("a\nb\r\nc", 1, 1), "a");
        assert_eq!(lines("a\nb\r\nc", 2, 2), "b");
        assert_eq!(lines("a\nb\r\nc", 1, 3), "a\nb\r\nc");
        assert_eq!(lines("a", 1, 9), "a");
    }
}
