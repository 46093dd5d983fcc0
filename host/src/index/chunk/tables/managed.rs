//! Java, C#, Kotlin, Scala and Dart.

use super::super::grammar::{Name, Role};
use super::{Callee, NAME, Table, Tables};

pub(super) const JAVA: Tables = Tables { signs: b"(/", ..Tables::new(tree_sitter_java::LANGUAGE, ".", JAVA_ROLES, JAVA_CALLS) };
pub(super) const CSHARP: Tables = Tables { signs: b"({/", ..Tables::new(tree_sitter_c_sharp::LANGUAGE, ".", CSHARP_ROLES, CSHARP_CALLS) };
pub(super) const KOTLIN: Tables = Tables { signs: b"({/", ..Tables::new(tree_sitter_kotlin_ng::LANGUAGE, ".", KOTLIN_ROLES, KOTLIN_CALLS) };
pub(super) const SCALA: Tables = Tables { signs: b"({/w", ..Tables::new(tree_sitter_scala::LANGUAGE, ".", SCALA_ROLES, SCALA_CALLS) };
pub(super) const DART: Tables = Tables { signs: b"(/", ..Tables::new(tree_sitter_dart::LANGUAGE, ".", DART_ROLES, DART_CALLS) };

const JAVA_ROLES: Table<Role> = &[
    ("line_comment", Role::Comment),
    ("block_comment", Role::Comment),
    ("import_declaration", Role::Opaque),
    ("class_declaration", Role::Type(NAME)),
    ("interface_declaration", Role::Type(NAME)),
    ("enum_declaration", Role::Type(NAME)),
    ("record_declaration", Role::Type(NAME)),
    ("annotation_type_declaration", Role::Type(NAME)),
    ("enum_body_declarations", Role::Group),
    ("method_declaration", Role::Definition(NAME)),
    ("constructor_declaration", Role::Definition(NAME)),
    ("compact_constructor_declaration", Role::Definition(NAME)),
    ("annotation_type_element_declaration", Role::Definition(NAME)),
    ("lambda_expression", Role::Callable),
];

const JAVA_CALLS: Table<Callee> = &[("method_invocation", Callee::Field("name")), ("object_creation_expression", Callee::Field("type"))];

const CSHARP_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("using_directive", Role::Opaque),
    ("global_statement", Role::Wrapper),
    ("preproc_if", Role::Group),
    ("preproc_else", Role::Group),
    ("preproc_elif", Role::Group),
    ("namespace_declaration", Role::Container(Name::Opened)),
    ("class_declaration", Role::Type(NAME)),
    ("interface_declaration", Role::Type(NAME)),
    ("struct_declaration", Role::Type(NAME)),
    ("record_declaration", Role::Type(NAME)),
    ("enum_declaration", Role::Definition(NAME)),
    ("delegate_declaration", Role::Definition(NAME)),
    ("method_declaration", Role::Definition(NAME)),
    ("local_function_statement", Role::Definition(NAME)),
    ("constructor_declaration", Role::Definition(NAME)),
    ("destructor_declaration", Role::Definition(NAME)),
    ("operator_declaration", Role::Definition(Name::Field("operator"))),
    ("property_declaration", Role::Definition(NAME)),
    ("event_declaration", Role::Definition(NAME)),
    ("lambda_expression", Role::Callable),
];

const CSHARP_CALLS: Table<Callee> =
    &[("invocation_expression", Callee::Field("function")), ("object_creation_expression", Callee::Field("type"))];

const KOTLIN_ROLES: Table<Role> = &[
    ("line_comment", Role::Comment),
    ("block_comment", Role::Comment),
    ("file_annotation", Role::Attribute),
    ("import", Role::Opaque),
    ("package_header", Role::Opaque),
    ("class_declaration", Role::Type(NAME)),
    ("object_declaration", Role::Type(NAME)),
    ("companion_object", Role::Type(NAME)),
    ("class_body", Role::Body),
    ("enum_class_body", Role::Body),
    ("function_declaration", Role::Definition(NAME)),
    ("type_alias", Role::Definition(Name::Field("type"))),
    ("property_declaration", Role::Wrapper),
    ("variable_declaration", Role::Variable(Name::Within("identifier"))),
    ("lambda_literal", Role::Callable),
    ("anonymous_function", Role::Callable),
];

const KOTLIN_CALLS: Table<Callee> = &[("call_expression", Callee::First), ("constructor_invocation", Callee::First)];

const SCALA_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("block_comment", Role::Comment),
    ("annotation", Role::Attribute),
    ("import_declaration", Role::Opaque),
    ("package_clause", Role::Container(Name::Opened)),
    ("package_object", Role::Type(NAME)),
    ("class_definition", Role::Type(NAME)),
    ("object_definition", Role::Type(NAME)),
    ("trait_definition", Role::Type(NAME)),
    ("enum_definition", Role::Type(NAME)),
    ("given_definition", Role::Type(NAME)),
    ("extension_definition", Role::Group),
    ("function_definition", Role::Definition(NAME)),
    ("function_declaration", Role::Definition(NAME)),
    ("type_definition", Role::Definition(NAME)),
    ("val_definition", Role::Variable(Name::Field("pattern"))),
    ("var_definition", Role::Variable(Name::Field("pattern"))),
    ("lambda_expression", Role::Callable),
];

const SCALA_CALLS: Table<Callee> = &[("call_expression", Callee::Field("function")), ("instance_expression", Callee::First)];

const DART_ROLES: Table<Role> = &[
    ("comment", Role::Comment),
    ("documentation_comment", Role::Comment),
    ("annotation", Role::Attribute),
    ("import_or_export", Role::Opaque),
    ("class_declaration", Role::Type(NAME)),
    ("mixin_declaration", Role::Type(NAME)),
    ("enum_declaration", Role::Type(NAME)),
    ("extension_declaration", Role::Type(NAME)),
    ("extension_type_declaration", Role::Type(NAME)),
    ("type_alias", Role::Definition(Name::Within("type_identifier"))),
    ("member_declaration", Role::Wrapper),
    ("declaration", Role::Definition(Name::Signature)),
    ("method_declaration", Role::Definition(Name::Signature)),
    ("function_declaration", Role::Definition(Name::Signature)),
    ("getter_declaration", Role::Definition(Name::Signature)),
    ("setter_declaration", Role::Definition(Name::Signature)),
    ("local_function_declaration", Role::Definition(Name::Signature)),
    ("top_level_variable_declaration", Role::Wrapper),
    ("static_final_declaration", Role::Variable(NAME)),
    ("initialized_identifier", Role::Variable(NAME)),
    ("function_expression", Role::Callable),
];

const DART_CALLS: Table<Callee> = &[
    ("call_expression", Callee::Field("function")),
    ("cascade_call_expression", Callee::Field("property")),
    ("new_expression", Callee::Field("type")),
    ("const_object_expression", Callee::Field("type")),
];
