//! The names that nodes give to what they define.

use tree_sitter::Node;

use super::grammar::{Name, Role};

/// A name longer than this (in bytes) is an accident of a broken parse, and is left out.
const NAME_BYTES_MAX: usize = 200;

/// How deep declarators and types are followed.
const NESTING_MAX: usize = 16;

/// What a node is called.
#[derive(Debug, PartialEq)]
pub(super) struct Named {
    /// The name by itself.
    pub name: String,
    /// The name with the qualification that the node itself writes (`Type.Method`, `ns::Class::method`).
    pub symbol: String,
    /// False for what is only extended here (a Rust `impl`).
    pub defines: bool,
}

/// The name of `node`, if it has one by that rule.
pub(super) fn named(node: Node, rule: Name, source: &str) -> Option<Named> {
    match rule {
        Name::Field(field) => plain(text(node.child_by_field_name(field)?, source)?),
        Name::Bodied => {
            node.child_by_field_name("body")?;
            let name = without_arguments(node.child_by_field_name("name")?);
            plain(text(name, source)?)
        }
        Name::Valued => {
            node.child_by_field_name("value")?;
            plain(text(node.child_by_field_name("name")?, source)?)
        }
        Name::Opened => Some(Named { defines: false, ..plain(text(node.child_by_field_name("name")?, source)?)? }),
        Name::Declarator => declared(node, source).map(|(named, _)| named),
        Name::Prototype => declared(node, source).filter(|(_, function)| *function).map(|(named, _)| named),
        Name::Implemented => {
            let name = text(without_arguments(node.child_by_field_name("type")?), source)?;
            Some(Named { defines: false, ..plain(name)? })
        }
        Name::Received => {
            let method = text(node.child_by_field_name("name")?, source)?;
            let receiver = node.child_by_field_name("receiver")?.named_child(0)?;
            let receiver = text(without_arguments(receiver.child_by_field_name("type")?), source)?;
            Some(Named { symbol: format!("{receiver}.{method}"), ..plain(method)? })
        }
        Name::Assigned => {
            let left = node.child_by_field_name("left")?;
            (left.kind() == "identifier").then(|| plain(text(left, source)?))?
        }
        Name::Property => assigned_property(node.child_by_field_name("left")?, source),
    }
}

/// Whether the value that a binding gives its name is a function, a class or the like.
pub(super) fn binds_callable(node: Node, role: impl Fn(Node) -> Role) -> bool {
    let value = node.child_by_field_name("value").or_else(|| node.child_by_field_name("right"));
    value.is_some_and(|value| role(value) == Role::Callable)
}

fn plain(text: &str) -> Option<Named> {
    let text = text.trim_matches(['"', '\'', '`']);
    let name = text.rsplit("::").next().unwrap_or(text).trim();
    // Patterns (`{ a, b }`) and `_` are no names.
    let nameless = name.is_empty() || name == "_" || name.starts_with(['{', '[']) && !name.starts_with("[Symbol.");
    (!nameless).then(|| Named { name: name.to_owned(), symbol: text.to_owned(), defines: true })
}

/// The node's text on one line; None if it is no plausible name.
fn text<'s>(node: Node, source: &'s str) -> Option<&'s str> {
    let text = source.get(node.byte_range())?.trim();
    (!text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.contains(['\n', '\r'])).then_some(text)
}

/// The named type itself: `Vec` of `&mut std::vec::Vec<T>`.
fn without_arguments(mut node: Node) -> Node {
    for _ in 0..NESTING_MAX {
        let inner = match node.kind() {
            // C++'s template_type, Rust's scoped types.
            "template_type" | "scoped_type_identifier" => node.child_by_field_name("name"),
            "generic_type" | "reference_type" => node.child_by_field_name("type"),
            // Rust's has a field, Go's has not.
            "pointer_type" => node.child_by_field_name("type").or_else(|| node.named_child(0)),
            "parenthesized_type" => node.named_child(0),
            _ => None,
        };
        match inner {
            Some(inner) => node = inner,
            None => break,
        }
    }
    node
}

/// What a declaration of C or C++ declares (the first, if there are several), and whether it is a function.
fn declared(node: Node, source: &str) -> Option<(Named, bool)> {
    let mut at = node.child_by_field_name("declarator")?;
    let mut scopes: Vec<&str> = Vec::new();
    let mut function = false;
    for _ in 0..NESTING_MAX {
        at = match at.kind() {
            "identifier" | "field_identifier" | "type_identifier" | "destructor_name" | "operator_name" | "primitive_type" => {
                let name = text(at, source)?;
                scopes.push(name);
                let named = Named { symbol: scopes.join("::"), ..plain(name)? };
                return Some((named, function));
            }
            "operator_cast" => {
                let cast = text(at.child_by_field_name("type")?, source)?;
                let name = format!("operator {cast}");
                scopes.push(&name);
                let symbol = scopes.join("::");
                let named = Named { symbol, name, defines: true };
                return Some((named, true));
            }
            "qualified_identifier" => {
                if let Some(scope) = at.child_by_field_name("scope") {
                    scopes.push(text(without_arguments(scope), source)?);
                }
                at.child_by_field_name("name")?
            }
            "template_function" | "template_method" => at.child_by_field_name("name")?,
            "function_declarator" => {
                function = true;
                at.child_by_field_name("declarator")?
            }
            _ => at.child_by_field_name("declarator").or_else(|| at.named_child(0))?,
        };
    }
    None
}

/// `Type.method` of `Type.prototype.method = …`, `name` of `exports.name = …`.
fn assigned_property(left: Node, source: &str) -> Option<Named> {
    if left.kind() == "identifier" {
        return plain(text(left, source)?);
    }
    let property = text(left.child_by_field_name("property")?, source)?;
    let object = text(left.child_by_field_name("object")?, source)?;
    let object = object.strip_suffix(".prototype").unwrap_or(object);
    if object == "module" && property == "exports" {
        return None;
    }
    let named = plain(property)?;
    let bare = matches!(object, "exports" | "module.exports" | "this" | "window" | "global" | "globalThis");
    let path = object.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'.'));
    Some(match path && !bare {
        true => Named { symbol: format!("{object}.{property}"), ..named },
        false => named,
    })
}
