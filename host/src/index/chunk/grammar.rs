//! What node kinds mean to the chunker, the grammars with that meaning, and the parsers. The meanings of each language's
//! kinds are in [`tables`](super::tables).

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tree_sitter::{Node, ParseOptions, ParseState, Parser, Tree};

use super::Language;
use super::tables::{Callee, Table, Tables};

/// What a kind of node is to the chunker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing by itself; what is within may be something.
    Other,
    /// Goes with the item that follows without a blank line between.
    Comment,
    /// Goes with the item that follows.
    Attribute,
    /// Defines nothing and need not be looked into.
    Opaque,
    /// Stands for the first child that has a role (decorators, `export`, `template <…>`).
    Wrapper,
    /// A function or a type that is not cut by its members.
    Definition(Name),
    /// Defines its name where it stands in a file, module or namespace, not within a type or function, unless its value
    /// is a function.
    Variable(Name),
    /// Defines its name only if its value is a function.
    Bound(Name),
    /// A function without a name, the value that a variable or binding is asked for.
    Callable,
    /// A namespace or module: cut by its members if it is large, and part of their symbols.
    Container(Name),
    /// As a container; also the variables within are members and no definitions.
    Type(Name),
    /// As a container, without a name (`#ifdef`, `extern "C"`).
    Group,
    /// Is not there: what is within stands in its place (the list of all declarations of a Haskell file).
    Transparent,
    /// Holds the members of the container that it is a part of.
    Body,
    /// A variable, or a type if its value is a [`Role::Body`] (`const Point = struct { … };`).
    Holder(Name),
    /// One of several nodes that define a name together: neighbours of the same name are one item. With `local`, also
    /// within functions.
    Equation { name: Name, local: bool },
    /// What [`Tables::words`] has for the word that it begins with, else [`Role::Opaque`] for attributes (`@limit 3`) and
    /// [`Role::Other`] for all else.
    ByWord,
}

impl Role {
    /// Whether the node, out of its wrappers, can be what a stretch of lines is about.
    pub fn is_item(self) -> bool {
        !matches!(self, Role::Other | Role::Comment | Role::Attribute | Role::Opaque | Role::Callable | Role::Body)
    }
}

/// Where the name of a definition is found in its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// The text of a field.
    Field(&'static str),
    /// The `name` field, of a type that has a `body` here (else it is only mentioned).
    Bodied,
    /// The `name` field, of a macro that has a value (an include guard has none).
    Valued,
    /// The `name` field, of a namespace that has a `body` here, which many files open and none defines.
    Opened,
    /// The `name` field, of a type that is implemented or extended here and defined elsewhere.
    Instance,
    /// As a field `name`; a Swift `extension` defines nothing.
    Extended,
    /// The first child of this kind.
    Within(&'static str),
    /// A path in a field, of which the last part is the name (`M.add`, `M:add`).
    Path(&'static str),
    /// The first argument of a call that defines something: a name, a symbol or a string.
    Argument,
    /// As before, of a call that groups something and defines nothing.
    Grouped,
    /// What is called or named on the left of the first argument (`def add(a, b) when …`).
    Head,
    /// The last name of the signature of a Dart function, method or constructor.
    Signature,
    /// The innermost declarator of C and C++.
    Declarator,
    /// As before, if it declares a function.
    Prototype,
    /// The type of a Rust `impl`, which does not define it.
    Implemented,
    /// A Go method: its name, after the type of its receiver.
    Received,
    /// The left side of an assignment, if that is an identifier.
    Assigned,
    /// The first of the variables of a Lua assignment.
    FirstAssigned,
    /// The last property on the left side of an assignment.
    Property,
}

/// What a node tells besides what it defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mention {
    Nothing,
    /// A comment, the whole node.
    Comment,
    /// A statement that is a documentation string if it is nothing but a string.
    Statement,
    /// An attribute: documentation in Elixir, else of no interest.
    Annotation,
    /// A call of what the field names.
    Called(u16),
    /// A call of what the first child names.
    CalledFirst,
    /// Tokens of a macro: in parentheses behind a name, they are most likely a call.
    Tokens,
}

/// A language's grammar with the meanings of its node kinds.
pub(super) struct Grammar {
    parsed: tree_sitter::Language,
    /// By kind id.
    roles: Vec<Role>,
    /// By kind id.
    mentions: Vec<Mention>,
    /// By character: [`Tables::signs`], or all if there are none.
    pub signs: [bool; 256],
    pub tables: Tables,
    pub body: Option<u16>,
}

impl Grammar {
    /// The grammar, built once per process; None for languages without one.
    pub fn of(language: Language) -> Option<&'static Grammar> {
        static GRAMMARS: [OnceLock<Option<Grammar>>; Language::ALL.len()] = [const { OnceLock::new() }; Language::ALL.len()];
        GRAMMARS[language as usize].get_or_init(|| Tables::of(language).map(Grammar::new)).as_ref()
    }

    fn new(tables: Tables) -> Grammar {
        let parsed = tree_sitter::Language::new(tables.function);
        let field = |name: &str| parsed.field_id_for_name(name).map(u16::from);
        let kinds = 0..u16::try_from(parsed.node_kind_count()).unwrap_or(u16::MAX);
        let named = |id: u16| parsed.node_kind_for_id(id).filter(|_| parsed.node_kind_is_named(id));
        let roles: Vec<Role> = kinds.clone().map(|id| named(id).and_then(|kind| find(tables.roles, kind)).unwrap_or(Role::Other)).collect();
        let mention = |id: u16| match find(tables.calls, named(id)?)? {
            Callee::Field(name) => field(name).map(Mention::Called),
            Callee::First => Some(Mention::CalledFirst),
            Callee::Tokens => Some(Mention::Tokens),
            Callee::Statement => Some(Mention::Statement),
            Callee::Annotation => Some(Mention::Annotation),
        };
        let mentions = kinds.map(|id| match roles[usize::from(id)] {
            Role::Comment => Mention::Comment,
            _ => mention(id).unwrap_or(Mention::Nothing),
        });
        let mut signs = [tables.signs.is_empty(); 256];
        tables.signs.iter().for_each(|sign| signs[usize::from(*sign)] = true);
        Grammar { body: field("body"), signs, mentions: mentions.collect(), roles, parsed, tables }
    }

    pub fn role(&self, node: Node, source: &str) -> Role {
        // What could not be parsed has an id beyond all kinds; it is looked into for the items that could.
        match self.roles.get(usize::from(node.kind_id())).copied().unwrap_or(Role::Group) {
            Role::ByWord => {
                let word = first_word(source.get(node.byte_range()).unwrap_or_default());
                let unlisted = if word.starts_with('@') { Role::Opaque } else { Role::Other };
                self.tables.words.iter().find(|(listed, _)| *listed == word).map_or(unlisted, |(_, role)| *role)
            }
            Role::Holder(name) => match node.named_child(node.named_child_count().saturating_sub(1) as u32) {
                Some(value) if self.role(value, source) == Role::Body => Role::Type(name),
                _ => Role::Variable(name),
            },
            role => role,
        }
    }

    pub fn mention(&self, node: Node) -> Mention {
        self.mentions.get(usize::from(node.kind_id())).copied().unwrap_or(Mention::Nothing)
    }

    /// The named children, with what is within the transparent ones in their place.
    pub fn children<'t>(&self, node: Node<'t>) -> Vec<Node<'t>> {
        let mut found: Vec<Node> = node.named_children(&mut node.walk()).collect();
        let transparent = |child: &Node| self.roles.get(usize::from(child.kind_id())) == Some(&Role::Transparent);
        while let Some(at) = found.iter().position(transparent) {
            let inside: Vec<Node> = found[at].named_children(&mut found[at].walk()).collect();
            found.splice(at..=at, inside);
        }
        found
    }

    /// Parses with this thread's parser for the language. The error says why there is no tree.
    pub fn parse(&self, language: Language, text: &str, time_max: Duration) -> Result<Tree, String> {
        thread_local! {
            static PARSERS: RefCell<[Option<Parser>; Language::ALL.len()]> = const {
                RefCell::new([const { None }; Language::ALL.len()])
            };
        }
        if u32::try_from(text.len()).is_err() {
            return Err("the file is too large for the parser (4 GiB)".to_owned());
        }
        PARSERS.with_borrow_mut(|parsers| {
            let slot = &mut parsers[language as usize];
            let parser = match slot {
                Some(parser) => parser,
                None => slot.insert(parser(&self.parsed).map_err(|e| format!("the {language} grammar is refused: {e}"))?),
            };
            let begun = Instant::now();
            let mut progress = |_: &ParseState| match begun.elapsed() < time_max {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            };
            let options = ParseOptions::new().progress_callback(&mut progress);
            let bytes = text.as_bytes();
            let mut read = |from: usize, _| bytes.get(from..).unwrap_or_default();
            let tree = parser.parse_with_options(&mut read, None, Some(options));
            if tree.is_none() {
                // The next file must not resume this one.
                parser.reset();
            }
            tree.ok_or_else(|| format!("parsing took longer than {} ms", time_max.as_millis()))
        })
    }
}

fn parser(language: &tree_sitter::Language) -> Result<Parser, tree_sitter::LanguageError> {
    let mut parser = Parser::new();
    parser.set_language(language)?;
    Ok(parser)
}

fn find<T: Copy>(tables: [Table<T>; 2], kind: &str) -> Option<T> {
    tables.into_iter().flatten().find(|(listed, _)| *listed == kind).map(|(_, meaning)| *meaning)
}

/// The letters, digits, `_` and `.` that a text begins with, with a `@` before them.
pub(super) fn first_word(text: &str) -> &str {
    let rest = text.strip_prefix('@').unwrap_or(text);
    let length = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')).count();
    &text[..text.len() - rest.len() + length]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grammar that renames a kind must not silently lose its definitions. (A kind of a shared table need be in one of
    /// the grammars only.)
    #[test]
    fn every_kind_of_the_tables_exists() {
        // The tables of a language (by their addresses), its kinds and its fields.
        let grammars = || Language::ALL.into_iter().filter_map(|language| Some((language, Grammar::of(language)?)));
        let check = |table: *const (), kind: &str, language: Language| {
            let shares = |grammar: &Grammar| {
                let roles = grammar.tables.roles.map(|table| table.as_ptr().cast::<()>());
                let calls = grammar.tables.calls.map(|table| table.as_ptr().cast::<()>());
                roles.contains(&table) || calls.contains(&table)
            };
            let exists = |grammar: &Grammar| grammar.parsed.id_for_node_kind(kind, true) != 0;
            assert!(grammars().any(|(_, grammar)| shares(grammar) && exists(grammar)), "{language} has no {kind}");
        };
        for (language, grammar) in grammars() {
            for table in grammar.tables.roles {
                table.iter().for_each(|(kind, _)| check(table.as_ptr().cast(), kind, language));
            }
            for table in grammar.tables.calls {
                table.iter().for_each(|(kind, _)| check(table.as_ptr().cast(), kind, language));
            }
            for (kind, callee) in grammar.tables.calls.into_iter().flatten() {
                let Callee::Field(field) = callee else { continue };
                let known = grammar.parsed.id_for_node_kind(kind, true) == 0 || grammar.parsed.field_id_for_name(field).is_some();
                assert!(known, "{language} has no field {field}");
            }
        }
    }

    #[test]
    fn a_parse_that_takes_too_long_says_so() {
        let grammar = Grammar::of(Language::Rust).expect("Rust has a grammar");
        let text = "fn f() { g(1, [2], 3) }\n".repeat(2_000);
        let error = grammar.parse(Language::Rust, &text, Duration::ZERO).unwrap_err();
        assert_eq!(error, "parsing took longer than 0 ms");
        let tree = grammar.parse(Language::Rust, "fn f() {}", Duration::from_secs(60)).unwrap();
        assert!(!tree.root_node().has_error());
    }
}
