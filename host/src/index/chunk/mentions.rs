//! What code says in words and what it calls: comments, documentation strings and the names of what is called, found
//! along with the definitions and handed out to chunks by their lines.

use std::collections::HashSet;
use std::ops::Range;

use tree_sitter::Node;

use super::Chunk;
use super::grammar::{Grammar, Mention, Name, Role, first_word};
use super::names::head;

/// The most names of calls that a chunk keeps; more are in generated code only.
const CALLS_MAX: usize = 200;

/// A longer name (in bytes) of something called is an accident of a broken parse.
const NAME_BYTES_MAX: usize = 100;

/// How far type arguments are looked through for the name before them, in bytes.
const ARGUMENTS_BYTES_MAX: usize = 300;

/// Shorter nodes (in bytes) are looked through for a sign of a mention before they are walked into.
const GLANCE_BYTES_MAX: usize = 120;

/// The attributes of Elixir that hold documentation.
const DOCUMENTING: [&str; 4] = ["@doc", "@moduledoc", "@typedoc", "@shortdoc"];

/// The mentions of a file, as bytes of its text.
pub(super) struct Mentions {
    /// Comments and documentation strings, with their marks; they do not overlap.
    comments: Vec<Range<usize>>,
    /// Names of what is called.
    calls: Vec<Range<usize>>,
    /// Where the head of the last definition that is written as a call begins, which calls nothing.
    head: Option<usize>,
}

impl Mentions {
    pub fn new() -> Mentions {
        Mentions { comments: Vec::new(), calls: Vec::new(), head: None }
    }

    /// Takes what is mentioned in a node, but not within the node that has the id `except`.
    pub fn walk(&mut self, grammar: &Grammar, source: &str, node: Node, except: usize) {
        let mut cursor = node.walk();
        let mut depth = 0;
        loop {
            let node = cursor.node();
            if node.id() != except && !self.take(grammar, source, node) && cursor.goto_first_child() {
                depth += 1;
                continue;
            }
            while depth == 0 || !cursor.goto_next_sibling() {
                if depth == 0 || !cursor.goto_parent() {
                    return;
                }
                depth -= 1;
            }
        }
    }

    /// Brings all that was taken, in any order and maybe twice, into order.
    pub fn sorted(mut self) -> Mentions {
        for ranges in [&mut self.comments, &mut self.calls] {
            ranges.sort_unstable_by_key(|range| (range.start, range.end));
            ranges.dedup();
        }
        self
    }

    /// Takes what a node itself mentions. True if there is nothing more within it.
    pub fn take(&mut self, grammar: &Grammar, source: &str, node: Node) -> bool {
        let callee = match grammar.mention(node) {
            Mention::Nothing => return nothing_within(&grammar.signs, source.as_bytes(), node),
            Mention::Comment => {
                self.comments.push(node.byte_range());
                return true;
            }
            Mention::Statement => {
                let only = node.named_child(0).filter(|_| node.named_child_count() == 1);
                let text = only.filter(|only| only.kind() == "string");
                self.comments.extend(text.map(|text| text.byte_range()));
                return text.is_some();
            }
            Mention::Annotation => {
                let text = source.get(node.byte_range()).unwrap_or_default();
                let word = first_word(text);
                if DOCUMENTING.contains(&word) && text.contains('"') {
                    self.comments.push(node.start_byte() + word.len()..node.end_byte());
                }
                return text.starts_with(['@', '#']);
            }
            Mention::Tokens => {
                let call = begins(source, node, b'(');
                self.calls.extend(name_before(source, node.start_byte(), grammar).filter(|_| call));
                return false;
            }
            Mention::Called(field) => node.child_by_field_id(field),
            Mention::CalledFirst => node.named_child(0),
        };
        // What is called twice (`f a b` is `(f a) b`, `f(a) { … }`) is named once, within.
        let Some(callee) = callee.filter(|callee| callee.kind_id() != node.kind_id()) else { return false };
        let role = grammar.role(node, source);
        if role == Role::Definition(Name::Head) {
            self.head = head(node).map(|head| head.start_byte());
        }
        // Go's slices and maps, and what only looks like a call (`def add(…)`).
        let names = !begins(source, callee, b'[') && callee.kind() != "map_type" && self.head != Some(callee.start_byte());
        if names && matches!(role, Role::Other | Role::Callable) {
            let name = name_before(source, callee.end_byte(), grammar);
            self.calls.extend(name.filter(|name| name.start >= callee.start_byte()));
        }
        false
    }

    /// Gives a chunk whose text starts at the byte `start` what is mentioned there.
    pub fn tell(&self, chunk: &mut Chunk, start: usize, source: &str) {
        let end = start + chunk.text.len();
        let first = self.comments.partition_point(|comment| comment.end <= start);
        for comment in self.comments[first..].iter().take_while(|comment| comment.start < end) {
            let within = comment.start.max(start)..comment.end.min(end);
            push_words(&mut chunk.comments, source.get(within).unwrap_or_default(), comment.start >= start);
        }
        let first = self.calls.partition_point(|name| name.start < start);
        let mut seen = HashSet::new();
        for name in self.calls[first..].iter().take_while(|name| name.end <= end) {
            if chunk.calls.len() == CALLS_MAX {
                break;
            }
            if seen.insert(&source[name.clone()]) {
                chunk.calls.push(source[name.clone()].to_owned());
            }
        }
    }
}

/// Whether a node is short and has none of the characters that mentions have: most of a tree is such nodes.
fn nothing_within(signs: &[bool; 256], source: &[u8], node: Node) -> bool {
    let bytes = source.get(node.byte_range()).unwrap_or_default();
    bytes.len() < 3 || bytes.len() <= GLANCE_BYTES_MAX && !bytes.iter().any(|byte| signs[usize::from(*byte)])
}

fn begins(source: &str, node: Node, with: u8) -> bool {
    source.as_bytes().get(node.start_byte()) == Some(&with)
}

/// The name that ends at `end`, behind which there may be type arguments (`Vec::<T>`, `make[T]`).
fn name_before(source: &str, end: usize, grammar: &Grammar) -> Option<Range<usize>> {
    let tables = &grammar.tables;
    let end = without_arguments(&source.as_bytes()[..end]);
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$') || tables.marks.contains(c);
    let text = source.get(..end)?;
    let start = text.char_indices().rev().take_while(|(_, c)| is_part(*c)).last()?.0;
    let name = &text[start..];
    let start = start + name.len() - name.trim_start_matches(|c| tables.marks.contains(c)).len();
    let name = &text[start..];
    let is_name = name.starts_with(|c: char| !c.is_numeric()) && name.len() <= NAME_BYTES_MAX && !tables.keywords.contains(&name);
    is_name.then_some(start..end)
}

/// The end of a text without the type arguments at its end, and without what separates them from a name.
fn without_arguments(text: &[u8]) -> usize {
    let close = match text.last() {
        Some(b'>') => (b'<', b'>'),
        Some(b']') => (b'[', b']'),
        _ => return text.len(),
    };
    let mut depth = 0;
    for at in (text.len().saturating_sub(ARGUMENTS_BYTES_MAX)..text.len()).rev() {
        match text[at] {
            byte if byte == close.1 => depth += 1,
            byte if byte == close.0 => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text[..at].strip_suffix(b"::").map_or(at, <[u8]>::len);
        }
    }
    text.len()
}

/// Adds the words of a comment or a documentation string to `to`, one line for each of its lines. `begins` tells that
/// the first line has the opening mark.
fn push_words(to: &mut String, comment: &str, begins: bool) {
    let block = comment.trim_start().starts_with(['"', '\'']) || comment.trim_start().starts_with(|c: char| c.is_ascii_alphabetic());
    for (at, line) in comment.lines().enumerate() {
        let mut words = without_closing(line.trim());
        if at == 0 && begins {
            words = without_opening(words);
        } else if !block {
            // The margin of a block.
            words = words.trim_start_matches('*');
        }
        let words = words.trim();
        let words = if block { words.trim_end_matches(['"', '\'']) } else { words };
        if !words.is_empty() {
            if !to.is_empty() {
                to.push('\n');
            }
            to.push_str(words);
        }
    }
}

/// A first line without the mark that opens it.
fn without_opening(line: &str) -> &str {
    for block in ["/*", "{-", "(*", "--[[", "=begin"] {
        if let Some(rest) = line.strip_prefix(block) {
            return rest.trim_start_matches(['*', '!', '|', '-']);
        }
    }
    if let Some(rest) = line.strip_prefix("//") {
        return rest.trim_start_matches('/').trim_start_matches(['!', '<']);
    }
    if let Some(rest) = line.strip_prefix("--") {
        let rest = rest.trim_start_matches('-').trim_start();
        return rest.strip_prefix(['|', '^']).unwrap_or(rest);
    }
    if line.starts_with('#') {
        return line.trim_start_matches('#').trim_start_matches('!');
    }
    // A documentation string, with its prefix (`r"""`, `~S"""`).
    let prefix = line.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '~');
    match prefix.starts_with(['"', '\'']) {
        true => prefix.trim_start_matches(['"', '\'']),
        false => line,
    }
}

fn without_closing(line: &str) -> &str {
    for block in ["*/", "-}", "*)", "]]", "=end", "\"\"\"", "'''"] {
        if let Some(rest) = line.strip_suffix(block) {
            return rest.trim_end_matches('*');
        }
    }
    line
}
