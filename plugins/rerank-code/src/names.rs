//! Signals from what the index knows of a chunk without its text: names and path.

use crate::files;
use crate::query::{Query, segments};

/// A name that is only the end of the one in the query (`Router` for `axum::Router`).
const SUFFIX_FACTOR: f32 = 0.6;
/// A name that is written with other capitals.
const OTHER_CASE_FACTOR: f32 = 0.8;
/// A word of a folder, beside one of the file's own name.
const FOLDER_FACTOR: f32 = 0.5;

/// How well the best name defined here is a name of the query: 1 for the same name, or
/// one whose last segments it is (`b` or `A::b` for `m::A::b`); less if only the end of
/// the query's name fits or the case differs; 0 for none.
pub fn exact(query: &Query, symbol: &str, definitions: &str) -> f32 {
    if query.names.is_empty() {
        return 0.0;
    }
    let best_of = |name: &str| {
        let fits = query.names.iter().map(|wanted| fit(wanted, name));
        fits.fold(0.0, f32::max)
    };
    let names = std::iter::once(symbol).chain(definitions.split_whitespace());
    names.map(best_of).fold(0.0, f32::max)
}

/// Compares the last segments of two names, as many as both have.
fn fit(wanted: &[String], name: &str) -> f32 {
    let (mut compared, mut same_case) = (0, true);
    for (one, other) in wanted.iter().rev().zip(segments(name).rev()) {
        if one != other {
            if one.to_lowercase() != other.to_lowercase() {
                return 0.0;
            }
            same_case = false;
        }
        compared += 1;
    }
    if compared == 0 {
        return 0.0;
    }
    let whole = if compared == wanted.len() { 1.0 } else { SUFFIX_FACTOR };
    whole * if same_case { 1.0 } else { OTHER_CASE_FACTOR }
}

/// How well the query's terms name something defined here, 0 to 1: the best over the
/// names of `share of the query's weight in the name × (1 + share of the name's words
/// that are terms) / 2`. So of two names with the same terms the shorter one wins.
pub fn definition(query: &Query, symbol: &str, definitions: &str) -> f32 {
    let score = |name: &str| {
        let (found, matched, all) = query.terms_of_name(name);
        if found == 0 {
            return 0.0;
        }
        query.share(found) * (1.0 + matched as f32 / all as f32) / 2.0
    };
    let names = std::iter::once(symbol).chain(definitions.split_whitespace());
    names.map(score).fold(0.0, f32::max)
}

/// How well the path fits, 0 to 1: 1 if it ends with a file or folder that the query
/// names (folders may also stand within); otherwise the share of the query's weight in
/// the words of the file name, and half that of terms that only the folders have.
pub fn path(query: &Query, path: &str) -> f32 {
    if query.files.iter().any(|file| names_path(file, path)) {
        return 1.0;
    }
    let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
    let (in_file, _, _) = query.terms_of_name(files::stem(file));
    let (in_folders, _, _) = query.terms_of_name(folders);
    query.share(in_file) + FOLDER_FACTOR * query.share(in_folders & !in_file)
}

/// Whether `wanted` is made of whole segments of the path.
fn names_path(wanted: &str, path: &str) -> bool {
    let wanted = wanted.trim_matches('/');
    let bounded = format!("/{}/", path.to_lowercase());
    !wanted.is_empty() && bounded.contains(&format!("/{wanted}/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom_plugin::testing;

    fn query(terms: &[(&str, u32)], identifiers: &[&str]) -> Query {
        let mut profile = testing::profile("words of a text", 1_000, terms);
        profile.identifiers = identifiers.iter().map(|id| id.to_string()).collect();
        Query::of(&profile)
    }

    #[test]
    fn names_of_the_query_fit_symbols_by_their_last_segments() {
        let check = |identifier: &str, symbol: &str, definitions: &str, expected: f32| {
            let got = exact(&query(&[], &[identifier]), symbol, definitions);
            assert!((got - expected).abs() < 1e-6, "{identifier} {symbol} {definitions}: {got}");
        };
        check("parse", "parse", "", 1.0);
        check("parse", "Parser::parse", "", 1.0);
        check("Parser::parse", "m::Parser::parse", "", 1.0);
        check("Parser::parse", "Other::parse", "", 0.0);
        check("Parser.parse()", "Parser::parse", "", 1.0);
        check("axum::Router", "Router", "", 0.6);
        check("router", "Router", "", 0.8);
        check("parse", "", "new parse reset", 1.0);
        check("parse", "parse_all", "parser", 0.0);
        check("parse", "", "", 0.0);
        assert_eq!(exact(&query(&[], &[]), "parse", "parse"), 0.0);
    }

    #[test]
    fn definitions_with_more_of_the_query_and_less_of_the_rest_win() {
        let query = query(&[("parse", 50), ("query", 60), ("string", 90)], &[]);
        let of = |definitions: &str| definition(&query, "", definitions);
        assert!((of("parse_query_string") - 1.0).abs() < 1e-6);
        assert!(of("parseQueryString") > of("parse_query"));
        assert!(of("parse_query") > of("parse_query_or_default_value"));
        assert!(of("parsing") > 0.0);
        assert_eq!(of("reset other"), 0.0);
        assert_eq!(of(""), 0.0);
    }

    #[test]
    fn file_names_count_more_than_folders_and_named_files_most() {
        let by_terms = query(&[("router", 50)], &[]);
        assert!((path(&by_terms, "src/router.rs") - 1.0).abs() < 1e-6);
        assert!((path(&by_terms, "src/routers/mod.rs") - 0.5).abs() < 1e-6);
        assert_eq!(path(&by_terms, "src/lib.rs"), 0.0);
        assert_eq!(path(&by_terms, ""), 0.0);
        let by_file = query(&[], &["app/Main.rs"]);
        assert_eq!(path(&by_file, "src/app/main.rs"), 1.0);
        assert_eq!(path(&by_file, "src/app/domain.rs"), 0.0);
        assert_eq!(path(&query(&[], &["src/app"]), "src/app/x.rs"), 1.0);
    }
}
