//! Pieces of a file on the way to chunks: small neighbours are joined, long stretches are cut at the lines that
//! interrupt least.

use std::collections::HashSet;
use std::ops::Range;

use tree_sitter::Node;

use super::lines::Lines;
use super::{Chunk, ChunkKind, ChunkLimits};

/// A stretch of lines that will not be cut again, without blank lines at its ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub lines: Range<usize>,
    pub symbol: Option<String>,
    pub kind: ChunkKind,
    /// May repeat names.
    pub definitions: Vec<String>,
}

impl Piece {
    pub fn into_chunk(self, lines: &Lines, limits: &ChunkLimits) -> Chunk {
        let mut seen = HashSet::new();
        let names = self.definitions.iter().filter(|name| seen.insert(name.as_str()));
        let definitions = names.cloned().collect();
        Chunk { symbol: self.symbol, kind: self.kind, definitions, ..lines.chunk(&self.lines, limits) }
    }
}

/// A run of small pieces that has half of the lines allowed ends before every so many-th piece, by the hash of its first
/// line: so the ends do not depend on where the run began, and an edit moves only those near it.
const BREAK_EVERY: u64 = 5;

/// Joins runs of small pieces (fewer than `lines_min` lines), then each small piece that is left to the next or else
/// the previous one, wherever the result fits the limits. In and out: in order, without overlap.
pub(super) fn join_small(pieces: Vec<Piece>, lines: &Lines, limits: &ChunkLimits) -> Vec<Piece> {
    let small = |range: &Range<usize>| range.len() < limits.lines_min as usize;
    let mut runs: Vec<(Range<usize>, usize)> = Vec::new();
    let mut run_of_small = false;
    for piece in &pieces {
        let is_small = small(&piece.lines);
        match runs.last_mut() {
            Some((run, count))
                if run_of_small
                    && is_small
                    && lines.fits(&(run.start..piece.lines.end), limits)
                    && !(run.len() * 2 >= limits.lines_max as usize && lines.hash(piece.lines.start).is_multiple_of(BREAK_EVERY)) =>
            {
                run.end = piece.lines.end;
                *count += 1;
            }
            _ => runs.push((piece.lines.clone(), 1)),
        }
        run_of_small = is_small;
    }

    let mut groups: Vec<(Range<usize>, usize)> = Vec::new();
    for (at, (run, count)) in runs.iter().enumerate() {
        let fits_next = runs.get(at + 1).is_some_and(|(next, _)| lines.fits(&(run.start..next.end), limits));
        match groups.last_mut() {
            Some((last, size)) if (small(last) || (small(run) && !fits_next)) && lines.fits(&(last.start..run.end), limits) => {
                last.end = run.end;
                *size += count;
            }
            _ => groups.push((run.clone(), *count)),
        }
    }

    let mut pieces = pieces.into_iter();
    groups.into_iter().map(|(range, size)| joined(pieces.by_ref().take(size).collect(), range)).collect()
}

/// One piece over `range`. Its symbol and kind are those of the piece that takes more than half of its lines, else of
/// the first that has a symbol.
fn joined(mut pieces: Vec<Piece>, range: Range<usize>) -> Piece {
    let main = pieces
        .iter()
        .position(|piece| piece.lines.len() * 2 > range.len() && piece.symbol.is_some())
        .or_else(|| pieces.iter().position(|piece| piece.symbol.is_some()))
        .unwrap_or(0);
    let definitions = pieces.iter_mut().flat_map(|piece| std::mem::take(&mut piece.definitions)).collect();
    let main = pieces.swap_remove(main);
    Piece { lines: range, definitions, ..main }
}

/// Cuts `range`, the lines of `nodes`, into parts that fit the limits (a single line may still have too many bytes).
/// Together the parts are `range`. Of the lines where a cut interrupts least, what stands there chooses (a hash of it), so
/// that an edit moves only the ends near it; the last two parts are of similar length.
pub(super) fn cut(nodes: &[Node], range: Range<usize>, lines: &Lines, limits: &ChunkLimits) -> Vec<Range<usize>> {
    let costs = cut_costs(nodes, &range, lines);
    let mut parts = Vec::new();
    let mut start = range.start;
    while !lines.fits(&(start..range.end), limits) && range.end - start > 1 {
        let rest = range.end - start;
        let lines_max = limits.lines_max as usize;
        let limit = lines.reach(start, range.end, lines_max, limits.bytes_max);
        let count = rest.div_ceil(lines_max).max(lines.bytes(&(start..range.end)).div_ceil(limits.bytes_max));
        let target = (start + rest.div_ceil(count)).min(limit);
        let far = count > 2;
        let first = if far { (start + (limit - start) / 2).max(start + 1) } else { start + 1 + (target - start) / 2 };
        let by_content = |line| if far { lines.hash(line) } else { 0 };
        let best = (first..=limit.min(range.end - 1))
            .min_by_key(|&line| (costs[line - range.start], by_content(line), line.abs_diff(target)))
            .unwrap_or(limit);
        parts.push(start..best);
        start = best;
    }
    parts.push(start..range.end);
    parts
}

/// What a cut before a line interrupts: the depth of what begins there, less if a blank line is before it. Lines that
/// begin nothing (within strings, at a closing bracket, below their comment) have the highest cost.
fn cut_costs(nodes: &[Node], range: &Range<usize>, lines: &Lines) -> Vec<u32> {
    const NEVER: u32 = u32::MAX;
    let mut costs = vec![None; range.len()];
    let mut comment_end = None;
    for node in nodes {
        let mut cursor = node.walk();
        let mut depth = 0;
        'walk: loop {
            let node = cursor.node();
            let (first, last) = rows(node);
            if let Some(slot @ None) = first.checked_sub(range.start).and_then(|at| costs.get_mut(at)) {
                let after_comment = comment_end.is_some_and(|end| end + 1 == first);
                let after_blank = first > 0 && lines.is_blank(first - 1);
                let cost = 2 * depth + u32::from(!after_blank);
                *slot = Some(if after_comment || !node.is_named() { NEVER } else { cost });
                if node.is_extra() {
                    comment_end = Some(last);
                }
            }
            if last > first && cursor.goto_first_child() {
                depth += 1;
                continue;
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    break 'walk;
                }
                depth -= 1;
            }
        }
    }
    costs.into_iter().map(|cost| cost.unwrap_or(NEVER)).collect()
}

/// The first and the last line of a node. A node that ends with a line ending does not reach into the next line.
pub(super) fn rows(node: Node) -> (usize, usize) {
    let (first, end) = (node.start_position().row, node.end_position());
    let last = if end.column == 0 && end.row > first { end.row - 1 } else { end.row };
    (first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces are given and expected as (first line, end, symbol).
    fn check(pieces: &[(usize, usize, &str)], expect: &[(usize, usize, &str)]) {
        let text = "x\n".repeat(100);
        let lines = Lines::of(&text);
        let limits = ChunkLimits { lines_max: 20, lines_min: 5, ..ChunkLimits::default() };
        let piece = |&(start, end, symbol): &(usize, usize, &str)| Piece {
            lines: start..end,
            symbol: (!symbol.is_empty()).then(|| symbol.to_owned()),
            kind: ChunkKind::Definition,
            definitions: Vec::new(),
        };
        let joined = join_small(pieces.iter().map(piece).collect(), &lines, &limits);
        assert_eq!(joined, expect.iter().map(piece).collect::<Vec<_>>());
    }

    #[test]
    fn small_pieces_join() {
        check(&[], &[]);
        check(&[(0, 9, "a"), (9, 18, "b")], &[(0, 9, "a"), (9, 18, "b")]);
        check(&[(0, 4, ""), (4, 8, "b"), (8, 12, "c")], &[(0, 12, "b")]);
        check(&[(0, 2, "a"), (2, 20, "b")], &[(0, 20, "b")]);
        check(&[(0, 2, "a"), (2, 22, "b")], &[(0, 2, "a"), (2, 22, "b")]);
        check(&[(0, 10, "a"), (10, 12, "b"), (12, 32, "c")], &[(0, 12, "a"), (12, 32, "c")]);
        check(&[(0, 4, "a"), (4, 8, "b"), (8, 12, "c"), (12, 16, "d"), (16, 21, "e")], &[(0, 16, "a"), (16, 21, "e")]);
    }

    #[test]
    fn lines_without_structure_are_cut_evenly() {
        let text = "x\n".repeat(100);
        let lines = Lines::of(&text);
        let limits = ChunkLimits { lines_max: 20, bytes_max: 24, ..ChunkLimits::default() };
        let parts = cut(&[], 0..30, &lines, &limits);
        assert_eq!(parts, [0..10, 10..20, 20..30]);
        assert_eq!(cut(&[], 7..8, &lines, &limits), vec![7..8]);
    }
}
