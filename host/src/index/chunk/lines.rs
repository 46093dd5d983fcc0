//! A text by its lines. Line numbers in here count from 0, ranges are half open.

use std::ops::Range;

use super::{Chunk, ChunkKind, ChunkLimits};

pub(super) struct Lines<'a> {
    pub text: &'a str,
    /// The byte where each line starts, and the length of the text at the end.
    starts: Vec<usize>,
    blank: Vec<bool>,
}

impl<'a> Lines<'a> {
    pub fn of(text: &'a str) -> Lines<'a> {
        let mut starts = vec![0];
        let mut blank = Vec::new();
        for line in text.split_inclusive('\n') {
            starts.push(starts[blank.len()] + line.len());
            blank.push(line.trim_start().is_empty());
        }
        Lines { text, starts, blank }
    }

    pub fn count(&self) -> usize {
        self.blank.len()
    }

    pub fn is_blank(&self, line: usize) -> bool {
        self.blank.get(line).copied().unwrap_or(true)
    }

    /// The byte where a line starts.
    pub fn start(&self, line: usize) -> usize {
        self.starts[line]
    }

    /// A hash of a line without its indentation: FNV-1a, the same on every machine.
    pub fn hash(&self, line: usize) -> u64 {
        let text = self.slice(&(line..line + 1)).trim();
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        // The low bits are those of the last byte.
        hash ^ (hash >> 29)
    }

    /// The bytes of the lines, with all their line endings.
    pub fn bytes(&self, range: &Range<usize>) -> usize {
        self.starts[range.end] - self.starts[range.start]
    }

    /// The lines as they are, without the last line ending.
    pub fn slice(&self, range: &Range<usize>) -> &'a str {
        let text = &self.text[self.starts[range.start]..self.starts[range.end]];
        let text = text.strip_suffix('\n').unwrap_or(text);
        text.strip_suffix('\r').unwrap_or(text)
    }

    /// The range without the blank lines at both ends; empty if all are blank.
    pub fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let Range { mut start, mut end } = range;
        while start < end && self.is_blank(start) {
            start += 1;
        }
        while end > start && self.is_blank(end - 1) {
            end -= 1;
        }
        start..end
    }

    pub fn fits(&self, range: &Range<usize>, limits: &ChunkLimits) -> bool {
        range.len() <= limits.lines_max as usize && self.bytes(range) <= limits.bytes_max
    }

    /// The largest end up to which lines from `start` stay within `lines_max` lines and `bytes_max` bytes: at least one
    /// line, at most `end`.
    pub fn reach(&self, start: usize, end: usize, lines_max: usize, bytes_max: usize) -> usize {
        let end = end.min(start.saturating_add(lines_max));
        let byte = self.starts[start].saturating_add(bytes_max);
        let within = self.starts[start..=end].partition_point(|&at| at <= byte);
        (start + within - 1).max(start + 1)
    }

    /// The chunk of a range that is not empty; a text that is too long (a single line, then) is cut.
    pub fn chunk(&self, range: &Range<usize>, limits: &ChunkLimits) -> Chunk {
        let text = self.slice(range);
        let text = &text[..text.floor_char_boundary(limits.bytes_max)];
        Chunk {
            start_line: line_number(range.start + 1),
            end_line: line_number(range.end),
            symbol: None,
            kind: ChunkKind::Window,
            definitions: Vec::new(),
            comments: String::new(),
            calls: Vec::new(),
            text: text.to_owned(),
        }
    }
}

fn line_number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_newlines() {
        let lines = Lines::of("a\r\n \t\r\nb\rc\n\n");
        assert_eq!(lines.count(), 4);
        assert_eq!(lines.slice(&(0..1)), "a");
        assert_eq!(lines.slice(&(0..3)), "a\r\n \t\r\nb\rc");
        assert_eq!((0..4).map(|l| lines.is_blank(l)).collect::<Vec<_>>(), [false, true, false, true]);
        assert_eq!(lines.trimmed(1..4), 2..3);
        assert!(lines.trimmed(1..2).is_empty());
        assert_eq!(Lines::of("").count(), 0);
        assert_eq!(Lines::of("x").count(), 1);
    }

    #[test]
    fn reach_is_bounded_by_lines_and_bytes() {
        let lines = Lines::of("12\n12\n123456789\n1\n");
        assert_eq!(lines.reach(0, 4, 10, 100), 4);
        assert_eq!(lines.reach(0, 4, 1, 100), 1);
        assert_eq!(lines.reach(0, 4, 10, 6), 2);
        assert_eq!(lines.reach(2, 4, 10, 5), 3);
    }
}
