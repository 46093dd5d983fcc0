//! Finds what nodes define: the names, with where they stand.

use std::ops::Range;

use tree_sitter::Node;

use super::grammar::{Grammar, Mention, Name, Role};
use super::lines::Lines;
use super::mentions::Mentions;
use super::names::{Named, binds_callable, named};
use super::pieces::{Piece, rows};
use super::{ChunkKind, ChunkLimits};

/// Something that a file defines.
pub(super) struct Definition {
    pub named: Named,
    pub kind: ChunkKind,
    pub lines: Range<usize>,
    /// Where it begins.
    pub byte: usize,
}

/// Where in a file something stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The qualified name of the container around; empty at the top.
    pub scope: &'a str,
    pub within: Within,
    /// How many containers were cut on the way here.
    pub depth: usize,
}

/// What is around a node: it decides whether a variable is a definition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// A file, namespace or module.
    File,
    Type,
    /// A function, or a type that is not cut by its members.
    Function,
}

/// All that is defined by a node and within it, in the order of the text. What is mentioned there goes to `mentions`.
pub(super) fn definitions(grammar: &Grammar, source: &str, node: Node, place: Place, mentions: &mut Mentions) -> Vec<Definition> {
    let mut found = Vec::new();
    // The depth of a node that defines nothing within, while that is walked through for its mentions.
    let mut closed_at: Option<u32> = None;
    let mut scope = place.scope.to_owned();
    let mut within = place.within;
    // For each node above this one that is a place: its depth, and what was before it.
    let mut around: Vec<(u32, usize, Within)> = Vec::new();
    let mut cursor = node.walk();
    // The cursor would count its own depth anew for each node.
    let mut depth = 0;
    loop {
        let node = cursor.node();
        let told = mentions.take(grammar, source, node);
        if closed_at.is_none() {
            let role = grammar.role(node, source);
            let definition = definition(grammar, source, node, role, &scope, within);
            if definition.is_some() || role == Role::Callable {
                around.push((depth, scope.len(), within));
                within = match role {
                    Role::Container(_) => within,
                    Role::Type(_) => Within::Type,
                    _ => Within::Function,
                };
            }
            if let Some(definition) = definition {
                if definition.kind == ChunkKind::Container {
                    scope.clone_from(&definition.named.symbol);
                }
                found.push(definition);
            }
            let closed = match role {
                Role::Comment | Role::Attribute | Role::Opaque => true,
                // In functions, what is of one line and has no role defines nothing worth the walk.
                Role::Other => within == Within::Function && node.start_position().row == node.end_position().row,
                _ => false,
            };
            let closed = closed || told && grammar.mention(node) == Mention::Annotation;
            closed_at = closed.then_some(depth);
        }
        if !(told && closed_at.is_some()) && cursor.goto_first_child() {
            depth += 1;
            continue;
        }
        loop {
            closed_at = closed_at.filter(|at| *at != depth);
            if let Some((_, outside, outer)) = around.pop_if(|(at, ..)| *at == depth) {
                scope.truncate(outside);
                within = outer;
            }
            if cursor.goto_next_sibling() {
                break;
            }
            if !cursor.goto_parent() {
                return found;
            }
            depth -= 1;
        }
    }
}

/// What a node itself defines.
pub(super) fn definition(grammar: &Grammar, source: &str, node: Node, role: Role, scope: &str, within: Within) -> Option<Definition> {
    let (rule, kind) = match role {
        Role::Definition(rule) => (rule, ChunkKind::Definition),
        Role::Equation { name, local } if local || within != Within::Function => (name, ChunkKind::Definition),
        Role::Container(rule) | Role::Type(rule) => (rule, ChunkKind::Container),
        // In a type, C++ declares only constructors and the like so.
        Role::Variable(rule @ Name::Declarator) if within == Within::Type => (rule, ChunkKind::Definition),
        Role::Variable(rule) if within == Within::File => (rule, ChunkKind::Definition),
        Role::Variable(rule) | Role::Bound(rule) if binds_callable(node, |value| grammar.role(value, source)) => {
            (rule, ChunkKind::Definition)
        }
        _ => return None,
    };
    let mut named = named(node, rule, source)?;
    if !scope.is_empty() {
        named.symbol = [scope, &named.symbol].join(grammar.tables.separator);
    }
    Some(Definition { named, kind, lines: line_range(node), byte: node.start_byte() })
}

/// Gives each definition to the piece that it begins in, and each piece a symbol: `main` if there is one, else the
/// innermost definition that takes more than half of the piece, else the first that begins in it. Where a function is cut
/// in pieces, what is defined within it and takes more than half of a piece has that one (`outer::inner`). What begins after the
/// first `bytes_max` bytes of a piece (in a long line, then) is left out, as the text is. Pieces and definitions are in
/// order.
pub(super) fn assign(
    pieces: &mut [Piece],
    definitions: &[Definition],
    main: Option<&Definition>,
    (lines, limits): (&Lines, &ChunkLimits),
    separator: &str,
) {
    let mut next = 0;
    let is_cut = pieces.len() > 1;
    // The definitions that reach into the piece.
    let mut open: Vec<&Definition> = Vec::new();
    for piece in pieces {
        let begun = next;
        next += definitions[begun..].partition_point(|d| d.lines.start < piece.lines.end);
        open.retain(|d| d.lines.end > piece.lines.start);
        open.extend(&definitions[begun..next]);
        let text_end = lines.start(piece.lines.start).saturating_add(limits.bytes_max);
        let begins = || definitions[begun..next].iter().filter(|d| d.byte < text_end);
        let takes = |d: &&&Definition| {
            let end = d.lines.end.min(piece.lines.end);
            let start = d.lines.start.max(piece.lines.start);
            d.kind == ChunkKind::Definition && end.saturating_sub(start) * 2 > piece.lines.len()
        };
        let inner = open.iter().filter(|d| d.byte < text_end).rfind(takes).copied();
        let chosen = main.or(inner).or_else(|| begins().next());
        if let Some(chosen) = chosen {
            let within = inner.filter(|inner| is_cut && inner.byte > chosen.byte);
            piece.symbol = Some(within.map_or_else(|| chosen.named.symbol.clone(), |inner| inner.named.below(&chosen.named, separator)));
            piece.kind = chosen.kind;
        }
        piece.definitions = begins().filter(|d| d.named.defines).map(|d| d.named.name.clone()).collect();
    }
}

/// The lines of a node, from 0.
pub(super) fn line_range(node: Node) -> Range<usize> {
    let (first, last) = rows(node);
    first..last + 1
}
