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

impl Named {
    /// The symbol of what is defined within the function `outer`, qualified with it.
    pub fn below(&self, outer: &Named, separator: &str) -> String {
        let scope = outer.symbol.strip_suffix(outer.name.as_str()).unwrap_or_default();
        [&outer.symbol, separator, self.symbol.strip_prefix(scope).unwrap_or(&self.symbol)].concat()
    }
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
        Name::Opened => {
            node.child_by_field_name("body")?;
            Some(Named { defines: false, ..plain(text(node.child_by_field_name("name")?, source)?)? })
        }
        Name::Instance => Some(Named { defines: false, ..plain(text(node.child_by_field_name("name")?, source)?)? }),
        Name::Extended => {
            let kind = node.child_by_field_name("declaration_kind").and_then(|kind| text(kind, source));
            let name = text(node.child_by_field_name("name")?, source)?;
            Some(Named { defines: kind != Some("extension"), ..plain(name)? })
        }
        Name::Within(kind) => {
            let mut cursor = node.walk();
            let child = node.named_children(&mut cursor).find(|child| child.kind() == kind)?;
            plain(text(child, source)?)
        }
        Name::Path(field) => path(text(node.child_by_field_name(field)?, source)?),
        Name::Argument => argument(node, source),
        Name::Grouped => Some(Named { defines: false, ..argument(node, source)? }),
        Name::Head => {
            let mut at = head(node)?;
            for _ in 0..NESTING_MAX {
                at = match at.kind() {
                    "binary_operator" => at.child_by_field_name("left")?,
                    "call" => at.child_by_field_name("target")?,
                    _ => return plain(text(at, source)?),
                };
            }
            None
        }
        Name::Signature => signature(node, source),
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
            matches!(left.kind(), "identifier" | "constant").then(|| plain(text(left, source)?))?
        }
        Name::FirstAssigned => {
            let variables = text(node.named_child(0)?, source)?;
            path(variables.split(',').next().unwrap_or(variables).trim_end())
        }
        Name::Property => assigned_property(node.child_by_field_name("left")?, source),
    }
}

/// Whether the value that a binding gives its name is a function, a class or the like.
pub(super) fn binds_callable(node: Node, role: impl Fn(Node) -> Role) -> bool {
    let field = |name| node.child_by_field_name(name);
    let value = field("value").or_else(|| field("right")).or_else(|| field("computed_value")).or_else(|| {
        // Lua assigns lists of values.
        let last = node.named_child(node.named_child_count().saturating_sub(1) as u32)?;
        (last.kind() == "expression_list").then(|| last.named_child(0))?
    });
    value.is_some_and(|value| role(value) == Role::Callable)
}

fn plain(text: &str) -> Option<Named> {
    let text = text.trim_matches(['"', '\'', '`']);
    let name = text.rsplit("::").next().unwrap_or(text).trim();
    // Patterns (`{ a, b }`) and `_` are no names.
    let nameless = name.is_empty() || name == "_" || name.starts_with(['{', '[']) && !name.starts_with("[Symbol.");
    (!nameless).then(|| Named { name: name.to_owned(), symbol: text.to_owned(), defines: true })
}

/// A path of names, with its last part as the name: `M.add` and `M:add` are both `add` of `M.add`.
fn path(text: &str) -> Option<Named> {
    let named = plain(text.rsplit(['.', ':']).next().unwrap_or(text))?;
    Some(Named { symbol: text.replace(':', "."), ..named })
}

/// What a call's first argument says: `define_method(:name)`, `describe "name"`, `defmodule A.B`.
fn argument(node: Node, source: &str) -> Option<Named> {
    let first = arguments(node)?.named_child(0)?;
    let said = text(first, source)?.trim_start_matches(':').trim_matches(['"', '\'']);
    match first.kind() {
        // A dotted name, such as Elixir's modules have.
        "alias" => Some(Named { symbol: said.to_owned(), ..path(said)? }),
        _ => plain(said),
    }
}

fn arguments(node: Node) -> Option<Node> {
    let mut cursor = node.walk();
    node.child_by_field_name("arguments").or_else(|| node.named_children(&mut cursor).find(|child| child.kind() == "arguments"))
}

/// The first argument of `def add(a) when …` and of `@type add(a) :: …`.
pub(super) fn head(node: Node) -> Option<Node> {
    arguments(node.child_by_field_name("operand").unwrap_or(node))?.named_child(0)
}

/// The name in the signature of a Dart function or method; of `Type.name` constructors the last one.
fn signature(node: Node, source: &str) -> Option<Named> {
    let mut cursor = node.walk();
    let mut signature = node.named_children(&mut cursor).find(|child| child.kind().ends_with("_signature"))?;
    if signature.kind() == "method_signature" {
        signature = signature.named_child(0)?;
    }
    if let Some(operator) = signature.child_by_field_name("operator") {
        return plain(text(operator, source)?);
    }
    let name = signature.children_by_field_name("name", &mut signature.walk()).last()?;
    plain(text(name, source)?)
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
