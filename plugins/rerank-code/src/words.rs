//! Words inside names, and their stems.

/// The parts of a name: `parse_httpRequest2` gives `parse`, `http`, `Request2`.
/// Splits at everything that is no letter or digit, where a capital follows a small
/// letter, and before the last capital of several (`HTTPServer`: `HTTP`, `Server`).
pub fn parts(name: &str) -> impl Iterator<Item = &str> {
    let separates = |c: char| match c.is_ascii() {
        true => !c.is_ascii_alphanumeric(),
        false => !c.is_alphanumeric(),
    };
    name.split(separates).flat_map(camel_parts).filter(|part| !part.is_empty())
}

fn camel_parts(word: &str) -> impl Iterator<Item = &str> {
    let bytes = word.as_bytes();
    let mut start = 0;
    let mut at = 1;
    std::iter::from_fn(move || {
        if start >= bytes.len() {
            return None;
        }
        while at < bytes.len() {
            let before = bytes[at - 1];
            let small_follows = bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase);
            let boundary = bytes[at].is_ascii_uppercase() && (!before.is_ascii_uppercase() || small_follows);
            at += 1;
            if boundary {
                let part = &word[start..at - 1];
                start = at - 1;
                return Some(part);
            }
        }
        let part = &word[start..];
        start = bytes.len();
        Some(part)
    })
}

/// Cuts a lower-case English word down to what its forms share: `queries` and `query`
/// to `queri`, `matches` to `match`, `parsing`, `parsed` and `parse` to `pars`. A few
/// suffixes only (plural, -ing, -ed, final e and y), so that names keep their meaning;
/// words of up to three letters stay.
pub fn stem(word: &mut String) {
    if word.len() <= 3 {
        return;
    }
    let any = |word: &str, ends: &[&str]| ends.iter().any(|end| word.ends_with(end));
    let plural_letters = if any(word, &["sses", "ches", "shes", "xes", "zes"]) || (word.ends_with("ies") && word.len() > 4) {
        2
    } else if word.ends_with('s') && !any(word, &["ss", "us", "is"]) {
        1
    } else {
        0
    };
    word.truncate(word.len() - plural_letters);
    for suffix in ["ing", "ed"] {
        let Some(rest) = word.strip_suffix(suffix) else {
            continue;
        };
        if rest.len() >= 3 && rest.contains(['a', 'e', 'i', 'o', 'u', 'y']) && !rest.ends_with('e') {
            let length = rest.len();
            word.truncate(length);
            undouble(word);
            break;
        }
    }
    if word.len() > 3 && word.ends_with('e') {
        word.pop();
    } else if word.len() > 3 && word.ends_with('y') {
        word.pop();
        word.push('i');
    }
}

/// `runn` to `run`; `call`, `pass` and `buzz` stay.
fn undouble(word: &mut String) {
    let mut backwards = word.bytes().rev();
    let (last, before) = (backwards.next(), backwards.next());
    if last == before && last.is_some_and(|b| b.is_ascii_lowercase() && !b"aeioulsz".contains(&b)) && word.len() > 3 {
        word.pop();
    }
}

/// The stem of a word in any case.
pub fn stem_of(word: &str) -> String {
    let mut stemmed = word.to_lowercase();
    stem(&mut stemmed);
    stemmed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fall_into_their_words() {
        let check = |name: &str, expected: &[&str]| {
            assert_eq!(parts(name).collect::<Vec<_>>(), expected, "{name}");
        };
        check("parse_httpRequest2", &["parse", "http", "Request2"]);
        check("HTTPServer", &["HTTP", "Server"]);
        check("Parser::parseAll", &["Parser", "parse", "All"]);
        check("src/a-b.rs", &["src", "a", "b", "rs"]);
        check("XML", &["XML"]);
        check("naïveÜber", &["naïveÜber"]);
        check("größeX", &["größe", "X"]);
        check("__", &[]);
        check("", &[]);
    }

    #[test]
    fn forms_of_a_word_meet_in_their_stem() {
        let check = |forms: &[&str]| {
            let stems: Vec<String> = forms.iter().map(|form| stem_of(form)).collect();
            assert!(stems.windows(2).all(|pair| pair[0] == pair[1]), "{stems:?}");
        };
        check(&["query", "queries", "queri"]);
        check(&["parse", "parses", "parsed", "parsing"]);
        check(&["match", "matches", "matching"]);
        check(&["class", "classes"]);
        check(&["running", "runs", "run"]);
        check(&["cache", "caches", "caching", "CACHED"]);
        check(&["call", "calling", "called"]);
        check(&["index", "indexes", "indexing"]);
    }

    #[test]
    fn stems_keep_short_and_special_words_apart() {
        for (one, other) in [("bus", "bu"), ("string", "str"), ("status", "statu"), ("red", "r")] {
            assert_ne!(stem_of(one), stem_of(other));
        }
        assert_eq!(stem_of("ß"), "ß");
        assert_eq!(stem_of(""), "");
    }
}
