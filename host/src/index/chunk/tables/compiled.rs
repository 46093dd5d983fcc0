//! Rust, C, C++, Go, Zig and Swift.

use super::super::grammar::{Name, Role};
use super::{Callee, NAME, Table, Tables};

pub(super) const RUST: Tables = Tables {
    keywords: &["Self", "self", "super"],
    signs: b"({!/",
    ..Tables::new(tree_sitter_rust::LANGUAGE, "::", RUST_ROLES, RUST_CALLS)
};
pub(super) const C: Tables = Tables { signs: b"(/", ..Tables::new(tree_sitter_c::LANGUAGE, "::", C_ROLES, C_CALLS) };
pub(super) const CPP: Tables = Tables {
    roles: [CPP_ROLES, C_ROLES],
    calls: [CPP_CALLS, C_CALLS],
    signs: b"(/w",
    ..Tables::new(tree_sitter_cpp::LANGUAGE, "::", &[], &[])
};
pub(super) const GO: Tables = Tables { signs: b"({/", ..Tables::new(tree_sitter_go::LANGUAGE, ".", GO_ROLES, GO_CALLS) };
pub(super) const ZIG: Tables = Tables { signs: b"({/", ..Tables::new(tree_sitter_zig::LANGUAGE, ".", ZIG_ROLES, ZIG_CALLS) };
pub(super) const SWIFT: Tables = Tables { signs: b"({/#", ..Tables::new(tree_sitter_swift::LANGUAGE, ".", SWIFT_ROLES, SWIFT_CALLS) };

const RUST_ROLES: Table<Role> = &[
    ("line_comment", Role::Comment),
    ("block_comment", Role::Comment),
    ("attribute_item", Role::Attribute),
    ("use_declaration", Role::Opaque),
    ("token_tree", Role::Opaque),
    ("function_item", Role::Definition(NAME)),
    ("function_signature_item", Role::Definition(NAME)),
    ("struct_item", Role::Definition(NAME)),
    ("enum_item", Role::Definition(NAME)),
    ("union_item", Role::Definition(NAME)),
    ("type_item", Role::Definition(NAME)),
    ("associated_type", Role::Definition(NAME)),
    ("const_item", Role::Definition(NAME)),
    ("static_item", Role::Definition(NAME)),
    ("macro_definition", Role::Definition(NAME)),
    ("mod_item", Role::Container(NAME)),
    ("trait_item", Role::Type(NAME)),
    ("impl_item", Role::Type(Name::Implemented)),
    ("foreign_mod_item", Role::Group),
];

const RUST_CALLS: Table<Callee> = &[
    ("call_expression", Callee::Field("function")),
    ("macro_invocation", Callee::Field("macro")),
    ("struct_expression", Callee::Field("name")),
    ("token_tree", Callee::Tokens),
    ("attribute_item", Callee::Annotation),
    ("inner_attribute_item", Callee::Annotation),
];

const C_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("preproc_include", Role::Opaque),
    ("string_literal", Role::Opaque),
    ("preproc_if", Role::Group),
    ("preproc_ifdef", Role::Group),
    ("preproc_else", Role::Group),
    ("preproc_elif", Role::Group),
    ("linkage_specification", Role::Group),
    ("preproc_def", Role::Definition(Name::Valued)),
    ("preproc_function_def", Role::Definition(NAME)),
    ("function_definition", Role::Definition(Name::Declarator)),
    ("type_definition", Role::Definition(Name::Declarator)),
    ("declaration", Role::Variable(Name::Declarator)),
    ("struct_specifier", Role::Definition(Name::Bodied)),
    ("union_specifier", Role::Definition(Name::Bodied)),
    ("enum_specifier", Role::Definition(Name::Bodied)),
];

const C_CALLS: Table<Callee> = &[("call_expression", Callee::Field("function"))];

/// In addition to C's, and before them.
const CPP_ROLES: Table<Role> = &[
    ("access_specifier", Role::Attribute),
    ("template_declaration", Role::Wrapper),
    ("namespace_definition", Role::Container(Name::Opened)),
    ("class_specifier", Role::Type(Name::Bodied)),
    ("struct_specifier", Role::Type(Name::Bodied)),
    ("union_specifier", Role::Type(Name::Bodied)),
    ("field_declaration", Role::Definition(Name::Prototype)),
    ("alias_declaration", Role::Definition(NAME)),
    ("concept_definition", Role::Definition(NAME)),
    ("lambda_expression", Role::Callable),
];

/// In addition to C's.
const CPP_CALLS: Table<Callee> = &[("new_expression", Callee::Field("type"))];

const GO_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("import_declaration", Role::Opaque),
    ("type_declaration", Role::Wrapper),
    ("const_declaration", Role::Wrapper),
    ("var_declaration", Role::Wrapper),
    ("function_declaration", Role::Definition(NAME)),
    ("method_declaration", Role::Definition(Name::Received)),
    ("type_spec", Role::Definition(NAME)),
    ("type_alias", Role::Definition(NAME)),
    ("method_elem", Role::Definition(NAME)),
    ("const_spec", Role::Variable(NAME)),
    ("var_spec", Role::Variable(NAME)),
    ("func_literal", Role::Callable),
];

const GO_CALLS: Table<Callee> = &[("call_expression", Callee::Field("function")), ("composite_literal", Callee::Field("type"))];

const ZIG_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("string", Role::Opaque),
    ("function_declaration", Role::Definition(NAME)),
    ("variable_declaration", Role::Holder(Name::Within("identifier"))),
    ("struct_declaration", Role::Body),
    ("enum_declaration", Role::Body),
    ("union_declaration", Role::Body),
    ("opaque_declaration", Role::Body),
];

const ZIG_CALLS: Table<Callee> = &[("call_expression", Callee::Field("function")), ("struct_initializer", Callee::First)];

const SWIFT_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("multiline_comment", Role::Comment),
    ("import_declaration", Role::Opaque),
    ("class_declaration", Role::Type(Name::Extended)),
    ("protocol_declaration", Role::Type(NAME)),
    ("function_declaration", Role::Definition(NAME)),
    ("protocol_function_declaration", Role::Definition(NAME)),
    ("init_declaration", Role::Definition(NAME)),
    ("typealias_declaration", Role::Definition(NAME)),
    ("associatedtype_declaration", Role::Definition(NAME)),
    ("property_declaration", Role::Variable(NAME)),
    ("computed_property", Role::Callable),
    ("lambda_literal", Role::Callable),
];

const SWIFT_CALLS: Table<Callee> = &[
    ("call_expression", Callee::First),
    ("constructor_expression", Callee::Field("constructed_type")),
    ("macro_invocation", Callee::First),
];
