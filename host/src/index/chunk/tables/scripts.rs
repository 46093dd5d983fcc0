//! Python, JavaScript, TypeScript, Ruby, PHP, Lua and shell scripts.

use super::super::grammar::{Name, Role};
use super::{Callee, NAME, Table, Tables};

pub(super) const PYTHON: Tables =
    Tables { keywords: &["super"], signs: b"(#@'\"", ..Tables::new(tree_sitter_python::LANGUAGE, ".", PYTHON_ROLES, PYTHON_CALLS) };
pub(super) const JAVASCRIPT: Tables = Tables {
    keywords: &["super"],
    signs: b"(/`<@w",
    ..Tables::new(tree_sitter_javascript::LANGUAGE, ".", JAVASCRIPT_ROLES, JAVASCRIPT_CALLS)
};
pub(super) const TYPESCRIPT: Tables =
    Tables { function: tree_sitter_typescript::LANGUAGE_TYPESCRIPT, roles: [TYPESCRIPT_ROLES, JAVASCRIPT_ROLES], ..JAVASCRIPT };
pub(super) const TSX: Tables = Tables { function: tree_sitter_typescript::LANGUAGE_TSX, ..TYPESCRIPT };
pub(super) const RUBY: Tables = Tables {
    words: RUBY_WORDS,
    marks: "?!",
    keywords: &["super"],
    ..Tables::new(tree_sitter_ruby::LANGUAGE, "::", RUBY_ROLES, RUBY_CALLS)
};
pub(super) const PHP: Tables = Tables { signs: b"(#/w", ..Tables::new(tree_sitter_php::LANGUAGE_PHP, "::", PHP_ROLES, PHP_CALLS) };
pub(super) const LUA: Tables = Tables { signs: b"({['\"-", ..Tables::new(tree_sitter_lua::LANGUAGE, ".", LUA_ROLES, LUA_CALLS) };
pub(super) const BASH: Tables = Tables { marks: "-.", ..Tables::new(tree_sitter_bash::LANGUAGE, ".", BASH_ROLES, BASH_CALLS) };

const PYTHON_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("string", Role::Opaque),
    ("import_statement", Role::Opaque),
    ("import_from_statement", Role::Opaque),
    ("decorated_definition", Role::Wrapper),
    ("expression_statement", Role::Wrapper),
    ("function_definition", Role::Definition(NAME)),
    ("class_definition", Role::Type(NAME)),
    ("type_alias_statement", Role::Definition(Name::Field("left"))),
    ("assignment", Role::Variable(Name::Assigned)),
    ("lambda", Role::Callable),
];

const PYTHON_CALLS: Table<Callee> =
    &[("call", Callee::Field("function")), ("decorator", Callee::First), ("expression_statement", Callee::Statement)];

const JAVASCRIPT_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("decorator", Role::Attribute),
    ("string", Role::Opaque),
    ("import_statement", Role::Opaque),
    ("export_statement", Role::Wrapper),
    ("expression_statement", Role::Wrapper),
    ("lexical_declaration", Role::Wrapper),
    ("variable_declaration", Role::Wrapper),
    ("function_declaration", Role::Definition(NAME)),
    ("generator_function_declaration", Role::Definition(NAME)),
    ("class_declaration", Role::Type(NAME)),
    ("method_definition", Role::Definition(NAME)),
    ("variable_declarator", Role::Variable(NAME)),
    ("field_definition", Role::Bound(Name::Field("property"))),
    ("pair", Role::Bound(Name::Field("key"))),
    ("assignment_expression", Role::Bound(Name::Property)),
    ("arrow_function", Role::Callable),
    ("function_expression", Role::Callable),
    ("generator_function", Role::Callable),
    ("class", Role::Callable),
];

const JAVASCRIPT_CALLS: Table<Callee> = &[
    ("call_expression", Callee::Field("function")),
    ("new_expression", Callee::Field("constructor")),
    ("jsx_opening_element", Callee::Field("name")),
    ("jsx_self_closing_element", Callee::Field("name")),
    ("decorator", Callee::First),
];

/// In addition to JavaScript's.
const TYPESCRIPT_ROLES: Table<Role> = &[
    ("ambient_declaration", Role::Wrapper),
    ("abstract_class_declaration", Role::Type(NAME)),
    ("interface_declaration", Role::Definition(NAME)),
    ("type_alias_declaration", Role::Definition(NAME)),
    ("enum_declaration", Role::Definition(NAME)),
    ("internal_module", Role::Container(NAME)),
    ("module", Role::Container(NAME)),
    ("function_signature", Role::Definition(NAME)),
    ("method_signature", Role::Definition(NAME)),
    ("abstract_method_signature", Role::Definition(NAME)),
    ("public_field_definition", Role::Bound(NAME)),
];

const RUBY_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("string", Role::Opaque),
    ("class", Role::Type(NAME)),
    ("module", Role::Container(NAME)),
    ("singleton_class", Role::Group),
    ("do_block", Role::Body),
    ("method", Role::Definition(NAME)),
    ("singleton_method", Role::Definition(NAME)),
    ("alias", Role::Definition(NAME)),
    ("assignment", Role::Variable(Name::Assigned)),
    ("lambda", Role::Callable),
    ("call", Role::ByWord),
];

/// Methods that define methods, and those whose blocks group what is tested or run.
const RUBY_WORDS: Table<Role> = &[
    ("require", Role::Opaque),
    ("require_relative", Role::Opaque),
    ("define_method", Role::Definition(Name::Argument)),
    ("alias_method", Role::Definition(Name::Argument)),
    ("describe", Role::Container(Name::Grouped)),
    ("context", Role::Container(Name::Grouped)),
    ("RSpec.describe", Role::Container(Name::Grouped)),
    ("feature", Role::Container(Name::Grouped)),
    ("namespace", Role::Container(Name::Grouped)),
    ("included", Role::Group),
    ("class_methods", Role::Group),
];

const RUBY_CALLS: Table<Callee> = &[("call", Callee::Field("method"))];

const PHP_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("namespace_use_declaration", Role::Opaque),
    ("namespace_definition", Role::Container(Name::Opened)),
    ("class_declaration", Role::Type(NAME)),
    ("interface_declaration", Role::Type(NAME)),
    ("trait_declaration", Role::Type(NAME)),
    ("enum_declaration", Role::Type(NAME)),
    ("function_definition", Role::Definition(NAME)),
    ("method_declaration", Role::Definition(NAME)),
    ("const_declaration", Role::Wrapper),
    ("const_element", Role::Variable(Name::Within("name"))),
    ("anonymous_function", Role::Callable),
    ("arrow_function", Role::Callable),
];

const PHP_CALLS: Table<Callee> = &[
    ("function_call_expression", Callee::Field("function")),
    ("member_call_expression", Callee::Field("name")),
    ("nullsafe_member_call_expression", Callee::Field("name")),
    ("scoped_call_expression", Callee::Field("name")),
    ("object_creation_expression", Callee::First),
];

const LUA_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("string", Role::Opaque),
    ("function_declaration", Role::Definition(Name::Path("name"))),
    ("variable_declaration", Role::Wrapper),
    ("assignment_statement", Role::Variable(Name::FirstAssigned)),
    ("field", Role::Bound(NAME)),
    ("function_definition", Role::Callable),
];

const LUA_CALLS: Table<Callee> = &[("function_call", Callee::Field("name"))];

const BASH_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("heredoc_body", Role::Opaque),
    ("function_definition", Role::Definition(NAME)),
    ("declaration_command", Role::Wrapper),
    ("variable_assignment", Role::Variable(NAME)),
];

const BASH_CALLS: Table<Callee> = &[("command", Callee::Field("name"))];
