//! Signals from what the index knows of a chunk without its text: names and path.

use crate::query::Query;

/// File names that say nothing; such a file goes by its folder.
const GENERIC: [&str; 6] = ["mod", "index", "__init__", "main", "lib", "init"];

/// How much of the query the name of the file spells out, 0 to 1.
pub fn stem(query: &Query, path: &str) -> f32 {
    query.spelled(name_of(path))
}

/// How much of the query the best name defined here spells out, 0 to 1. Headings of
/// prose define nothing.
pub fn definition(query: &Query, symbol: &str, definitions: &str, language: &str) -> f32 {
    if language == "markdown" {
        return 0.0;
    }
    let names = std::iter::once(symbol).chain(definitions.split_whitespace());
    names.map(|name| query.spelled(name)).fold(0.0, f32::max)
}

/// 1 if the query is a name that is defined here and nothing else.
pub fn exact(query: &Query, symbol: &str, definitions: &str, language: &str) -> f32 {
    let mut names = std::iter::once(symbol).chain(definitions.split_whitespace());
    f32::from(language != "markdown" && names.any(|name| query.is(name)))
}

/// The name a file goes by: its own without the last ending, or that of its folder.
fn name_of(path: &str) -> &str {
    let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = match file.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => file,
    };
    let folder = folders.rsplit('/').next().unwrap_or_default();
    if GENERIC.contains(&stem) && !folder.is_empty() { folder } else { stem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom_plugin::testing;

    #[test]
    fn files_go_by_their_name_or_by_that_of_their_folder() {
        let check = |path: &str, expected: &str| assert_eq!(name_of(path), expected, "{path}");
        check("src/path_router.rs", "path_router");
        check("src/routing/mod.rs", "routing");
        check("pkg/__init__.py", "pkg");
        check("main.go", "main");
        check("a.test.ts", "a.test");
        check(".gitignore", ".gitignore");
        check("", "");
    }

    #[test]
    fn the_best_name_counts() {
        let query = Query::of(&testing::profile("rate limiter", 1_000, &[("rate", 9), ("limiter", 9)]));
        let of = |symbol: &str, definitions: &str| definition(&query, symbol, definitions, "rust");
        assert!((of("RateLimiter", "") - 1.0).abs() < 1e-6);
        assert!((of("", "new rate_limiter reset") - 1.0).abs() < 1e-6);
        assert!((of("net::RateLimiter", "Limiter") - 0.5).abs() < 1e-6, "a qualified name has more words");
        assert_eq!(of("Other", ""), 0.0);
        assert_eq!(exact(&query, "", "new RateLimiter", "rust"), 1.0);
        assert_eq!(exact(&query, "RateLimiters", "Limiter", "rust"), 1.0, "stems meet");
        assert_eq!(exact(&query, "Limiter", "rate", "rust"), 0.0);
        assert_eq!(definition(&query, "Rate limiter", "Rate limiter", "markdown"), 0.0);
    }
}
