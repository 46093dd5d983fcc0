//! What each language's node kinds mean, as tables. [`roles`](Tables::roles) says what is defined, [`calls`](Tables::calls)
//! what is mentioned.

mod compiled;
mod functional;
mod managed;
mod scripts;

use tree_sitter_language::LanguageFn;

use super::Language;
use super::grammar::{Name, Role};

/// Node kinds with what they mean.
pub(super) type Table<T> = &'static [(&'static str, T)];

/// How a node mentions something. Calls are named by the last part of what they call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callee {
    /// A call of what a field names.
    Field(&'static str),
    /// A call of what the first child names.
    First,
    /// Tokens of a Rust macro.
    Tokens,
    /// A statement that may be a documentation string.
    Statement,
    /// An attribute, which calls nothing.
    Annotation,
}

/// All that is known of a language's grammar. Where there are two tables, the first entry for a kind counts.
#[derive(Clone, Copy)]
pub(super) struct Tables {
    pub function: LanguageFn,
    /// Between the parts of a symbol.
    pub separator: &'static str,
    pub roles: [Table<Role>; 2],
    pub calls: [Table<Callee>; 2],
    /// What the nodes with [`Role::ByWord`] are, by the word that they begin with.
    pub words: Table<Role>,
    /// Characters in names besides letters, digits, `_` and `$`.
    pub marks: &'static str,
    /// Every call and comment has one of these characters; empty if calls need none.
    pub signs: &'static [u8],
    /// Names in the place of a called one that are part of the language.
    pub keywords: &'static [&'static str],
}

impl Tables {
    /// None for languages without a grammar.
    pub fn of(language: Language) -> Option<Tables> {
        Some(match language {
            Language::Rust => compiled::RUST,
            Language::C => compiled::C,
            Language::Cpp => compiled::CPP,
            Language::Go => compiled::GO,
            Language::Zig => compiled::ZIG,
            Language::Swift => compiled::SWIFT,
            Language::Java => managed::JAVA,
            Language::CSharp => managed::CSHARP,
            Language::Kotlin => managed::KOTLIN,
            Language::Scala => managed::SCALA,
            Language::Dart => managed::DART,
            Language::Python => scripts::PYTHON,
            Language::JavaScript => scripts::JAVASCRIPT,
            Language::TypeScript => scripts::TYPESCRIPT,
            Language::Tsx => scripts::TSX,
            Language::Ruby => scripts::RUBY,
            Language::Php => scripts::PHP,
            Language::Lua => scripts::LUA,
            Language::Bash => scripts::BASH,
            Language::Elixir => functional::ELIXIR,
            Language::Haskell => functional::HASKELL,
            Language::Markdown | Language::Text => return None,
        })
    }

    /// One table of each, and names of letters, digits, `_` and `$`.
    const fn new(function: LanguageFn, separator: &'static str, roles: Table<Role>, calls: Table<Callee>) -> Tables {
        Tables { function, separator, roles: [roles, &[]], calls: [calls, &[]], words: &[], marks: "", signs: &[], keywords: &[] }
    }
}

const NAME: Name = Name::Field("name");
