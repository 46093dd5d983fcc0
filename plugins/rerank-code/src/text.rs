//! Signals from the text of a chunk: what it hands on from elsewhere, and phrases.

use crate::query::Query;

/// Languages with a way of handing names on that is looked for.
pub fn may_reexport(path: &str, language: &str) -> bool {
    match language {
        "rust" | "javascript" | "typescript" | "tsx" => true,
        "python" => path.ends_with("__init__.py"),
        _ => false,
    }
}

/// How much of the query the best name spells out that the text hands on, 0 to 1:
/// `pub use …;`, `export { … } from …`, and imports in a package's `__init__.py`.
pub fn reexport(query: &Query, text: &str) -> f32 {
    let mut best = 0.0_f32;
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        if let Some(end) = handing_on(line.trim_start()) {
            let from = &rest[line.len() - line.trim_start().len()..];
            let statement = &from[..from.find(end).unwrap_or(from.len())];
            // The names stand after the module in Python, and before it elsewhere.
            let names = statement.split_once(" import ").map_or(statement, |(_, names)| names);
            for name in names.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
                if !matches!(name, "pub" | "use" | "export" | "crate" | "self" | "super" | "as") {
                    best = best.max(query.spelled(name));
                }
            }
        }
        rest = after;
    }
    best
}

/// What ends the statement that a line begins, when that hands names on.
fn handing_on(line: &str) -> Option<char> {
    if line.starts_with("pub use ") {
        return Some(';');
    }
    if line.starts_with("export {") || line.starts_with("export{") {
        return Some('}');
    }
    if line.starts_with("from .") && line.contains(" import ") {
        return Some(if line.contains('(') { ')' } else { '\n' });
    }
    None
}

/// The share of the quoted phrases that occur, whatever their case.
pub fn phrases(query: &Query, text: &str) -> f32 {
    if query.phrases.is_empty() {
        return 0.0;
    }
    let text = text.to_lowercase();
    let occur = query.phrases.iter().filter(|phrase| text.contains(phrase.as_str()));
    occur.count() as f32 / query.phrases.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom_plugin::testing;

    #[test]
    fn what_is_handed_on_is_found() {
        let query = Query::of(&testing::profile("path router", 1_000, &[("path", 9), ("router", 9)]));
        let check = |text: &str, expected: f32| {
            let got = reexport(&query, text);
            assert!((got - expected).abs() < 1e-6, "{text}: {got}");
        };
        check("pub use self::path_router::PathRouter;", 1.0);
        check("mod a;\n    pub use crate::{\n    other::Thing,\n    PathRouter,\n};", 1.0);
        check("export { PathRouter, x } from './r'", 1.0);
        check("from .routing import (\n    APIRoute as R,\n    PathRouter,\n)", 1.0);
        check("from .router import Other\nPathRouter()", 0.0);
        check("use crate::PathRouter;", 0.0);
        check("let x = PathRouter::new();", 0.0);
        check("pub use router", 0.5);
        check("", 0.0);
    }

    #[test]
    fn phrases_occur_or_not() {
        let mut profile = testing::profile("words", 1_000, &[]);
        profile.phrases = vec!["connection refused".into(), "TimeOut".into(), " ".into()];
        let query = Query::of(&profile);
        let check = |text: &str, expected: f32| assert_eq!(phrases(&query, text), expected);
        check("Err(\"Connection refused\")", 0.5);
        check("connection refused after timeout", 1.0);
        check("connection was refused", 0.0);
    }

    #[test]
    fn only_some_files_are_looked_at() {
        assert!(may_reexport("src/lib.rs", "rust") && may_reexport("a/__init__.py", "python"));
        assert!(!may_reexport("a/b.py", "python") && !may_reexport("A.java", "java"));
    }
}
