//! Elixir and Haskell.

use super::super::grammar::{Name, Role};
use super::{Callee, NAME, Table, Tables};

pub(super) const ELIXIR: Tables = Tables {
    words: ELIXIR_WORDS,
    marks: "?!",
    keywords: ELIXIR_KEYWORDS,
    ..Tables::new(tree_sitter_elixir::LANGUAGE, ".", ELIXIR_ROLES, ELIXIR_CALLS)
};
pub(super) const HASKELL: Tables = Tables { marks: "'", ..Tables::new(tree_sitter_haskell::LANGUAGE, ".", HASKELL_ROLES, HASKELL_CALLS) };

const ELIXIR_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("string", Role::Opaque),
    ("do_block", Role::Body),
    ("unary_operator", Role::ByWord),
    ("call", Role::ByWord),
];

/// Elixir's definitions are calls of macros, and what is said of them stands in attributes before them.
const ELIXIR_WORDS: Table<Role> = &[
    ("defmodule", Role::Container(Name::Argument)),
    ("defprotocol", Role::Container(Name::Argument)),
    ("defimpl", Role::Container(Name::Grouped)),
    ("describe", Role::Container(Name::Grouped)),
    ("def", Role::Definition(Name::Head)),
    ("defp", Role::Definition(Name::Head)),
    ("defmacro", Role::Definition(Name::Head)),
    ("defmacrop", Role::Definition(Name::Head)),
    ("defguard", Role::Definition(Name::Head)),
    ("defguardp", Role::Definition(Name::Head)),
    ("defdelegate", Role::Definition(Name::Head)),
    ("defn", Role::Definition(Name::Head)),
    ("alias", Role::Opaque),
    ("import", Role::Opaque),
    ("require", Role::Opaque),
    ("use", Role::Opaque),
    ("@type", Role::Definition(Name::Head)),
    ("@typep", Role::Definition(Name::Head)),
    ("@opaque", Role::Definition(Name::Head)),
    ("@callback", Role::Definition(Name::Head)),
    ("@macrocallback", Role::Definition(Name::Head)),
    ("@doc", Role::Attribute),
    ("@typedoc", Role::Attribute),
    ("@shortdoc", Role::Attribute),
    ("@spec", Role::Attribute),
    ("@impl", Role::Attribute),
    ("@deprecated", Role::Attribute),
    ("@since", Role::Attribute),
    ("@tag", Role::Attribute),
];

const ELIXIR_KEYWORDS: &[&str] = &[
    "alias",
    "case",
    "cond",
    "defexception",
    "defoverridable",
    "defstruct",
    "for",
    "if",
    "import",
    "quote",
    "receive",
    "require",
    "try",
    "unless",
    "unquote",
    "unquote_splicing",
    "use",
    "with",
];

const ELIXIR_CALLS: Table<Callee> = &[("call", Callee::Field("target")), ("unary_operator", Callee::Annotation)];

const HASKELL_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("haddock", Role::Comment),
    ("imports", Role::Transparent),
    ("declarations", Role::Transparent),
    ("import", Role::Opaque),
    ("header", Role::Opaque),
    ("data_type", Role::Definition(NAME)),
    ("newtype", Role::Definition(NAME)),
    ("type_synonym", Role::Definition(NAME)),
    ("type_family", Role::Definition(NAME)),
    ("class", Role::Type(NAME)),
    ("instance", Role::Type(Name::Instance)),
    ("class_declarations", Role::Body),
    ("instance_declarations", Role::Body),
    ("signature", Role::Equation { name: NAME, local: false }),
    ("bind", Role::Equation { name: NAME, local: false }),
    ("function", Role::Equation { name: NAME, local: true }),
];

const HASKELL_CALLS: Table<Callee> = &[("apply", Callee::Field("function"))];
