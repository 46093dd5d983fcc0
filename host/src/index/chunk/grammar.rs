//! What each grammar's node kinds mean for chunking, as one table per language, and the parsers.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tree_sitter::{Node, ParseOptions, ParseState, Parser, Tree};

use super::Language;

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
    /// The `name` field, of a namespace, which many files open and none defines.
    Opened,
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
    /// The last property on the left side of an assignment.
    Property,
}

/// A language's grammar with the roles of its node kinds.
pub(super) struct Grammar {
    parsed: tree_sitter::Language,
    /// By kind id.
    roles: Vec<Role>,
    /// Between the parts of a symbol.
    pub separator: &'static str,
    pub body: Option<u16>,
}

impl Grammar {
    /// The grammar, built once per process; None for languages without one.
    pub fn of(language: Language) -> Option<&'static Grammar> {
        static GRAMMARS: [OnceLock<Grammar>; Language::ALL.len()] = [const { OnceLock::new() }; Language::ALL.len()];
        let (function, separator) = match language {
            Language::Rust => (tree_sitter_rust::LANGUAGE, "::"),
            Language::Python => (tree_sitter_python::LANGUAGE, "."),
            Language::JavaScript => (tree_sitter_javascript::LANGUAGE, "."),
            Language::TypeScript => (tree_sitter_typescript::LANGUAGE_TYPESCRIPT, "."),
            Language::Tsx => (tree_sitter_typescript::LANGUAGE_TSX, "."),
            Language::Go => (tree_sitter_go::LANGUAGE, "."),
            Language::Java => (tree_sitter_java::LANGUAGE, "."),
            Language::C => (tree_sitter_c::LANGUAGE, "::"),
            Language::Cpp => (tree_sitter_cpp::LANGUAGE, "::"),
            Language::Markdown | Language::Text => return None,
        };
        Some(GRAMMARS[language as usize].get_or_init(|| {
            let parsed = tree_sitter::Language::new(function);
            let mut roles = vec![Role::Other; parsed.node_kind_count()];
            for (id, role) in roles.iter_mut().enumerate() {
                let id = id as u16;
                let Some(kind) = parsed.node_kind_for_id(id).filter(|_| parsed.node_kind_is_named(id)) else {
                    continue;
                };
                if let Some((_, found)) = tables(language).into_iter().flatten().find(|(name, _)| *name == kind) {
                    *role = *found;
                }
            }
            Grammar { body: parsed.field_id_for_name("body").map(u16::from), parsed, roles, separator }
        }))
    }

    pub fn role(&self, node: Node) -> Role {
        // What could not be parsed has an id beyond all kinds; it is looked into for the items that could.
        self.roles.get(usize::from(node.kind_id())).copied().unwrap_or(Role::Group)
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

type Table = &'static [(&'static str, Role)];

/// The tables that together hold for a language; the first entry for a kind counts.
fn tables(language: Language) -> [Table; 2] {
    match language {
        Language::Rust => [RUST, &[]],
        Language::Python => [PYTHON, &[]],
        Language::JavaScript => [JAVASCRIPT, &[]],
        Language::TypeScript | Language::Tsx => [TYPESCRIPT, JAVASCRIPT],
        Language::Go => [GO, &[]],
        Language::Java => [JAVA, &[]],
        Language::C => [C, &[]],
        Language::Cpp => [CPP, C],
        Language::Markdown | Language::Text => [&[], &[]],
    }
}

const NAME: Name = Name::Field("name");

const RUST: Table = &[
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

const PYTHON: Table = &[
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

const JAVASCRIPT: Table = &[
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

/// In addition to JavaScript's.
const TYPESCRIPT: Table = &[
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

const GO: Table = &[
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

const JAVA: Table = &[
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

const C: Table = &[
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

/// In addition to C's, and before them.
const CPP: Table = &[
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A grammar that renames a kind must not silently lose its definitions. (A kind of a shared table need be in one of
    /// the grammars only.)
    #[test]
    fn every_kind_of_the_tables_exists() {
        let listed = |language: Language, kind: &str| tables(language).into_iter().flatten().any(|(name, _)| *name == kind);
        let exists =
            |language: Language, kind: &str| Grammar::of(language).is_some_and(|grammar| grammar.parsed.id_for_node_kind(kind, true) != 0);
        for language in Language::ALL {
            for (kind, _) in tables(language).into_iter().flatten() {
                let found = Language::ALL.into_iter().any(|other| listed(other, kind) && exists(other, kind));
                assert!(found, "{language} has no {kind}");
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
