//! Windows of lines, for texts that have no structure to follow. They overlap, so that what a border cuts is whole in
//! one of the two.

use std::ops::Range;

use super::lines::Lines;
use super::{Chunk, ChunkLimits};

pub(super) fn chunks(lines: &Lines, limits: &ChunkLimits) -> Vec<Chunk> {
    let windows = windows(lines, 0..lines.count(), limits);
    windows.iter().map(|window| lines.chunk(window, limits)).collect()
}

/// The windows over `range`: in order, without blank lines at their ends, none empty.
pub(super) fn windows(lines: &Lines, range: Range<usize>, limits: &ChunkLimits) -> Vec<Range<usize>> {
    let range = lines.trimmed(range);
    let mut windows: Vec<Range<usize>> = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let end = lines.reach(start, range.end, limits.window_lines as usize, limits.bytes_max);
        let window = lines.trimmed(start..end);
        // A window within the last one (all that is new in it is blank) adds nothing.
        if !window.is_empty() && windows.last().is_none_or(|last| window.end > last.end) {
            windows.push(window);
        }
        if end == range.end {
            break;
        }
        start = end - (limits.window_overlap as usize).min((end - start) / 2);
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, window_lines: u32, window_overlap: u32, bytes_max: usize, expect: &[(usize, usize)]) {
        let limits = ChunkLimits { window_lines, window_overlap, bytes_max, ..ChunkLimits::default() };
        let lines = Lines::of(text);
        let found = windows(&lines, 0..lines.count(), &limits);
        let found: Vec<_> = found.iter().map(|window| (window.start, window.end)).collect();
        assert_eq!(found, expect, "{text:?}");
    }

    #[test]
    fn windows_overlap_and_end() {
        check("", 4, 1, 99, &[]);
        check("\n \n", 4, 1, 99, &[]);
        check("a\nb\nc\n", 4, 1, 99, &[(0, 3)]);
        check("a\nb\nc\nd\ne\nf\ng\n", 4, 1, 99, &[(0, 4), (3, 7)]);
        check("a\nb\nc\nd\ne\nf\n", 4, 9, 99, &[(0, 4), (2, 6)]);
        check("a\nb\n\n\n\n\n\n\nc\n", 4, 1, 99, &[(0, 2), (8, 9)]);
        check("a\nb\nc\nd\n", 4, 1, 4, &[(0, 2), (1, 3), (2, 4)]);
        check("aaaaaaaaaa\nb\n", 4, 1, 4, &[(0, 1), (1, 2)]);
    }
}
