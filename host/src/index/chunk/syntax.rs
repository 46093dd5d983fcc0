//! Chunks along the syntax tree. In: a file's lines. Out: chunks that do not overlap, or the reason why the tree is not
//! to be trusted.
//!
//! Everything is done on whole lines: the items of a file (or of a container that is cut) partition its lines into
//! units, so nothing can be lost between the nodes.

use std::cell::RefCell;
use std::ops::Range;

use tree_sitter::{Node, Tree};

use super::definitions::{Definition, Place, Within, assign, definition, definitions, line_range};
use super::grammar::{Grammar, Role};
use super::lines::Lines;
use super::mentions::Mentions;
use super::names::named;
use super::pieces::{Piece, cut, join_small, rows};
use super::{Chunk, ChunkKind, ChunkLimits, Language};

/// How deep containers are cut by their members; deeper ones (chains of `#elif`, hostile input) are cut by lines.
const CONTAINER_DEPTH_MAX: usize = 24;

/// The chunks of a file of code, or why there are none.
pub(super) fn chunks(language: Language, lines: &Lines, limits: &ChunkLimits) -> Result<Vec<Chunk>, String> {
    let language = match language {
        Language::C if looks_like_cpp(lines.text) => Language::Cpp,
        other => other,
    };
    let grammar = Grammar::of(language).ok_or_else(|| format!("{language} has no grammar"))?;
    let tree = grammar.parse(language, lines.text, limits.parse_time_max)?;
    let broken = error_bytes(&tree, grammar, lines.text);
    if broken * 2 > lines.text.len() {
        let percent = broken * 100 / lines.text.len();
        return Err(format!("{percent} % of the file is not valid {language}"));
    }
    let outline = Outline { grammar, lines, limits, mentions: RefCell::new(Mentions::new()) };
    let place = Place { scope: "", within: Within::File, depth: 0 };
    let pieces = outline.region(grammar.children(tree.root_node()), 0..lines.count(), None, place);
    let mentions = outline.mentions.into_inner().sorted();
    let chunk = |piece: Piece| {
        let start = lines.start(piece.lines.start);
        let mut chunk = piece.into_chunk(lines, limits);
        mentions.tell(&mut chunk, start, lines.text);
        chunk
    };
    Ok(pieces.into_iter().map(chunk).collect())
}

struct Outline<'a> {
    grammar: &'static Grammar,
    lines: &'a Lines<'a>,
    limits: &'a ChunkLimits,
    /// What the nodes mention that were looked at so far.
    mentions: RefCell<Mentions>,
}

/// Whole lines with the nodes that begin there: an item with its comments, or several that share a line.
struct Unit {
    lines: Range<usize>,
    nodes: Range<usize>,
}

impl Outline<'_> {
    /// The pieces of `range`, which `nodes` are in. `head` is the container that the nodes are the members of.
    fn region(&self, nodes: Vec<Node>, range: Range<usize>, head: Option<&Definition>, place: Place) -> Vec<Piece> {
        let units = self.units(&nodes, range.clone());
        let mut pieces = Vec::new();
        let first = units.first().map_or(range.end, |unit| unit.lines.start);
        // A container's documentation may be longer than a chunk.
        pieces.extend(self.parts(&[], range.start..first));
        for unit in units {
            pieces.extend(self.unit_pieces(&nodes[unit.nodes], unit.lines, place));
        }
        if let (Some(head), Some(piece)) = (head, pieces.first_mut()) {
            if piece.symbol.is_none() {
                piece.symbol = Some(head.named.symbol.clone());
                piece.kind = ChunkKind::Container;
            }
            if head.named.defines {
                piece.definitions.insert(0, head.named.name.clone());
            }
        }
        let mut pieces = join_small(pieces, self.lines, self.limits);
        if let Some(head) = head {
            // Fields and the like, that define nothing, are the container's.
            for piece in pieces.iter_mut().filter(|piece| piece.symbol.is_none()) {
                piece.symbol = Some(head.named.symbol.clone());
                piece.kind = ChunkKind::Container;
            }
        }
        pieces
    }

    /// Whether a comment is marked as documentation: a blank line does not part it from what it describes.
    fn documents(&self, comment: Node) -> bool {
        let text = self.lines.text.get(comment.byte_range()).unwrap_or_default();
        let starts = |mark: &str, more: char| text.strip_prefix(mark).is_some_and(|rest| !rest.starts_with(more));
        starts("///", '/') || starts("/**", '*') && !text.starts_with("/**/") || starts("---", '-') || text.starts_with("-- |")
    }

    /// Whether two nodes are equations of the same name.
    fn continues(&self, node: Node, next: Node) -> bool {
        let name = |node: Node| match self.grammar.role(node, self.lines.text) {
            Role::Equation { name, .. } => named(node, name, self.lines.text).map(|named| named.name),
            _ => None,
        };
        name(next).is_some_and(|next| name(node) == Some(next))
    }

    /// Groups nodes into units: comments and attributes go with what follows, equations of one name and what shares a line
    /// stay together. The units are adjacent up to the end of `range`; lines before the first node are left to the caller.
    fn units(&self, nodes: &[Node], range: Range<usize>) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        // The last line of the last unit's nodes, and the role of the last node if all of them only lead to an item.
        let mut last = 0;
        let mut leading: Option<Role> = None;
        for (at, node) in nodes.iter().enumerate() {
            let (first, end) = rows(*node);
            let role = self.grammar.role(*node, self.lines.text);
            let leads = matches!(role, Role::Comment | Role::Attribute).then_some(role);
            let belongs = match leading {
                _ if first <= last => true,
                Some(Role::Attribute) => true,
                Some(_) => first <= last + if self.documents(nodes[at - 1]) { 2 } else { 1 },
                None => at > 0 && self.continues(nodes[at - 1], *node),
            };
            match units.last_mut() {
                Some(unit) if belongs => {
                    unit.nodes.end = at + 1;
                    leading = leading.and(leads);
                    last = last.max(end);
                }
                before => {
                    // A node cannot begin outside of the range, or before the one before it.
                    let start = first.clamp(before.map_or(range.start, |unit| unit.lines.start), range.end);
                    units.push(Unit { lines: start..range.end, nodes: at..at + 1 });
                    leading = leads;
                    last = end;
                }
            }
        }
        for at in 1..units.len() {
            units[at - 1].lines.end = units[at].lines.start;
        }
        units
    }

    fn unit_pieces(&self, nodes: &[Node], range: Range<usize>, place: Place) -> Vec<Piece> {
        let range = self.lines.trimmed(range);
        let fits = self.lines.fits(&range, self.limits);
        let main = self.main_item(nodes);
        if let Some((item, role @ (Role::Container(_) | Role::Type(_) | Role::Group))) = main
            && !fits
            && place.depth < CONTAINER_DEPTH_MAX
        {
            let head = definition(self.grammar, self.lines.text, item, role, place.scope, place.within);
            let inside = Place {
                scope: head.as_ref().map_or(place.scope, |head| head.named.symbol.as_str()),
                within: if matches!(role, Role::Type(_)) { Within::Type } else { place.within },
                depth: place.depth + 1,
            };
            let (body, members) = self.members(item);
            for node in nodes {
                self.mentions.borrow_mut().walk(self.grammar, self.lines.text, *node, body.id());
            }
            let mut pieces = self.region(members, range, head.as_ref(), inside);
            // Items that share a line with the container.
            let bytes = item.byte_range();
            for node in nodes.iter().filter(|node| node.end_byte() <= bytes.start || node.start_byte() >= bytes.end) {
                for found in self.definitions(*node, place) {
                    let at = pieces.iter_mut().rfind(|piece| piece.lines.start <= found.lines.start);
                    if let Some(piece) = at.filter(|_| found.named.defines) {
                        piece.definitions.push(found.named.name);
                    }
                }
            }
            return pieces;
        }
        let definitions: Vec<Definition> = nodes.iter().flat_map(|node| self.definitions(*node, place)).collect();
        let main = main.and_then(|(item, _)| {
            let lines = line_range(item);
            definitions.iter().find(|definition| definition.lines == lines)
        });
        // What only extends a type and has one member is better named by that.
        let main = main.filter(|main| !fits || main.named.defines || definitions.len() != 2);
        let mut pieces = self.parts(nodes, range);
        assign(&mut pieces, &definitions, main, (self.lines, self.limits), self.grammar.tables.separator);
        pieces
    }

    /// Pieces over the lines of `nodes` that fit the limits and define nothing yet; none if the lines are blank.
    fn parts(&self, nodes: &[Node], range: Range<usize>) -> Vec<Piece> {
        let range = self.lines.trimmed(range);
        let parts = match self.lines.fits(&range, self.limits) {
            true => vec![range],
            false => cut(nodes, range, self.lines, self.limits),
        };
        let trimmed = parts.into_iter().map(|part| self.lines.trimmed(part)).filter(|part| !part.is_empty());
        trimmed.map(|lines| Piece { lines, symbol: None, kind: ChunkKind::Module, definitions: Vec::new() }).collect()
    }

    /// The item that a unit is about, out of its wrappers: the one with the most lines, if there are several.
    fn main_item<'t>(&self, nodes: &[Node<'t>]) -> Option<(Node<'t>, Role)> {
        let substance = |node: &&Node| !matches!(self.grammar.role(**node, self.lines.text), Role::Comment | Role::Attribute);
        let longest = nodes.iter().filter(substance).rev().max_by_key(|node| line_range(**node).len())?;
        let mut node = *longest;
        loop {
            match self.grammar.role(node, self.lines.text) {
                Role::Wrapper => {
                    let is_item = |child: &Node| self.grammar.role(*child, self.lines.text).is_item();
                    node = self.grammar.children(node).into_iter().find(is_item)?;
                }
                role if role.is_item() => return Some((node, role)),
                _ => return None,
            }
        }
    }

    /// The members of a container, and the node that they are the children of.
    fn members<'t>(&self, container: Node<'t>) -> (Node<'t>, Vec<Node<'t>>) {
        let field = |node: Node<'t>| self.grammar.body.and_then(|field| node.child_by_field_id(field));
        let body = field(container).or_else(|| {
            let is_body = |child: &Node| self.grammar.role(*child, self.lines.text) == Role::Body;
            let body = self.grammar.children(container).into_iter().find(is_body)?;
            Some(field(body).unwrap_or(body))
        });
        let body = body.unwrap_or(container);
        (body, self.grammar.children(body))
    }

    fn definitions(&self, node: Node, place: Place) -> Vec<Definition> {
        definitions(self.grammar, self.lines.text, node, place, &mut self.mentions.borrow_mut())
    }
}

/// The bytes that could not be parsed. One bracket too many can make an error of a whole file; the items that were
/// recognized within it do not count.
fn error_bytes(tree: &Tree, grammar: &Grammar, source: &str) -> usize {
    let mut bytes = 0;
    let mut open = vec![tree.root_node()];
    while let Some(node) = open.pop() {
        if !node.has_error() {
            continue;
        }
        let mut inside = grammar.children(node);
        if node.is_error() {
            inside.retain(|child| !matches!(grammar.role(*child, source), Role::Other | Role::Callable | Role::Body));
            let recognized: usize = inside.iter().map(|child| child.byte_range().len()).sum();
            bytes += node.byte_range().len().saturating_sub(recognized);
        }
        open.append(&mut inside);
    }
    bytes
}

/// Whether a `.h` or `.c` file says something at the beginning of a line that only C++ says.
fn looks_like_cpp(text: &str) -> bool {
    const MARKS: [&str; 7] = ["class ", "namespace ", "template <", "template<", "using ", "public:", "private:"];
    let mut lines = text.lines().map(str::trim_start);
    lines.any(|line| MARKS.iter().any(|mark| line.starts_with(mark)))
}
