//! One variable at a time: text, choice, number, list. What can't be used is put on a
//! list and counts as unset, as the specification has it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::telemetry::Ignored;

/// The variables, and what of them was not heeded so far.
pub struct Given<'a> {
    variables: &'a BTreeMap<String, String>,
    pub ignored: Vec<Ignored>,
}

impl<'a> Given<'a> {
    pub fn new(variables: &'a BTreeMap<String, String>) -> Given<'a> {
        Given { variables, ignored: Vec::new() }
    }

    /// Without blanks around it; an empty variable counts as unset.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Puts a value on the list of what is not heeded.
    pub fn ignore(&mut self, variable: &str, value: &str, why: impl Into<String>) {
        let ignored = Ignored { variable: variable.to_owned(), value: Some(value.to_owned()), why: why.into() };
        if !self.ignored.contains(&ignored) {
            self.ignored.push(ignored);
        }
    }

    /// The same for a value that may hold a secret.
    pub fn ignore_secret(&mut self, variable: &str, why: impl Into<String>) {
        let ignored = Ignored { variable: variable.to_owned(), value: None, why: why.into() };
        if !self.ignored.contains(&ignored) {
            self.ignored.push(ignored);
        }
    }

    /// One of the words, in any case.
    pub fn choice<T: Copy>(&mut self, name: &str, allowed: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let found = allowed.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<&str> = allowed.iter().map(|(word, _)| *word).collect();
            self.ignore(name, text, format!("allowed: {}", words.join(", ")));
        }
        found
    }

    /// `true` in any case is true; everything but `false` is complained about.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        self.choice(name, &[("true", true), ("false", false)])
    }

    /// A whole number.
    pub fn number(&mut self, name: &str, allowed: RangeInclusive<u64>) -> Option<u64> {
        self.parsed(name, |number: &u64| allowed.contains(number), format!("{} to {}", allowed.start(), allowed.end()))
    }

    /// Milliseconds.
    pub fn milliseconds(&mut self, name: &str, allowed: RangeInclusive<u64>) -> Option<Duration> {
        self.number(name, allowed).map(Duration::from_millis)
    }

    /// Milliseconds of a wait, where the specification takes 0 for no limit: here it is
    /// the longest wait that is allowed.
    pub fn wait(&mut self, name: &str, longest: Duration) -> Option<Duration> {
        let longest_ms = longest.as_millis() as u64;
        let wait = self.milliseconds(name, 0..=longest_ms)?;
        if wait.is_zero() {
            self.ignore(name, "0", format!("no wait is without a limit; it is {longest_ms} ms"));
            return Some(longest);
        }
        Some(wait)
    }

    /// Anything that can be parsed and is allowed.
    pub fn parsed<T: std::str::FromStr>(&mut self, name: &str, ok: impl Fn(&T) -> bool, allowed: impl Display) -> Option<T> {
        let text = self.text(name)?;
        let parsed = text.parse().ok().filter(|value| ok(value));
        if parsed.is_none() {
            self.ignore(name, text, format!("allowed: {allowed}"));
        }
        parsed
    }

    /// The known words of a comma list, in any case, each once and in the order of
    /// `allowed`. `none` stands alone. `None` when nothing of it can be used.
    pub fn list<T: Copy>(&mut self, name: &str, allowed: &[(&str, T)]) -> Option<Vec<T>> {
        let text = self.text(name)?;
        let mut known = vec![false; allowed.len()];
        let mut none = false;
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match allowed.iter().position(|(name, _)| name.eq_ignore_ascii_case(word)) {
                Some(at) => known[at] = true,
                None if word.eq_ignore_ascii_case("none") => none = true,
                None => {
                    let words: Vec<&str> = allowed.iter().map(|(word, _)| *word).collect();
                    self.ignore(name, word, format!("allowed: {}, none", words.join(", ")));
                }
            }
        }
        let found: Vec<T> = allowed.iter().zip(&known).filter(|(_, known)| **known).map(|((_, value), _)| *value).collect();
        if none && !found.is_empty() {
            self.ignore(name, "none", "it stands beside others, which are taken");
        }
        (none || !found.is_empty()).then_some(found)
    }

    /// `key=value,key=value`, values percent-encoded. All or nothing: one bad member
    /// makes the whole variable count as unset.
    pub fn pairs(&mut self, name: &str) -> Option<Vec<(String, String)>> {
        let text = self.text(name)?;
        let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
        let pairs: Option<Vec<(String, String)>> = members
            .map(|member| {
                let (key, value) = member.split_once('=')?;
                let key = percent_decoded(key.trim())?;
                Some((key, percent_decoded(value.trim())?)).filter(|(key, _)| !key.is_empty())
            })
            .collect();
        if pairs.is_none() {
            // Headers hold tokens, so no value of pairs is repeated.
            self.ignore_secret(name, "allowed: key=value pairs with commas between, values percent-encoded");
        }
        pairs
    }
}

/// `%41` becomes `A`. `None` when digits are missing or the bytes are no UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given<T>(value: &str, read: impl FnOnce(&mut Given) -> T) -> (T, usize) {
        let variables = BTreeMap::from([("V".to_owned(), value.to_owned())]);
        let mut given = Given::new(&variables);
        let read = read(&mut given);
        (read, given.ignored.len())
    }

    #[test]
    fn values_are_read_or_complained_about() {
        let flag = |text: &str| given(text, |given| given.flag("V"));
        assert_eq!(flag(" TRUE "), (Some(true), 0));
        assert_eq!(flag("false"), (Some(false), 0));
        assert_eq!(flag("1"), (None, 1));
        assert_eq!(flag("  "), (None, 0));
        let number = |text: &str| given(text, |given| given.number("V", 1..=100));
        assert_eq!(number("100"), (Some(100), 0));
        for bad in ["0", "101", "-1", "ten", "1.5", "99999999999999999999999"] {
            assert_eq!(number(bad), (None, 1), "{bad}");
        }
        let wait = |text: &str| given(text, |given| given.wait("V", Duration::from_secs(1)));
        assert_eq!(wait("250"), (Some(Duration::from_millis(250)), 0));
        assert_eq!(wait("0"), (Some(Duration::from_secs(1)), 1));
        assert_eq!(wait("1001"), (None, 1));
    }

    #[test]
    fn lists_keep_what_is_known() {
        let check = |text: &str, expect: Option<&[u8]>, ignored: usize| {
            let (found, complaints) = given(text, |given| given.list("V", &[("one", 1_u8), ("two", 2)]));
            assert_eq!((found.as_deref(), complaints), (expect, ignored), "{text}");
        };
        check("one", Some(&[1]), 0);
        check(" Two , ONE,one,", Some(&[1, 2]), 0);
        check("none", Some(&[]), 0);
        check("one,zipkin", Some(&[1]), 1);
        check("zipkin", None, 1);
        check("none,two", Some(&[2]), 1);
        check("", None, 0);
        check(",", None, 0);
    }

    #[test]
    fn pairs_are_all_or_nothing() {
        let check = |text: &str, expect: Option<&[(&str, &str)]>| {
            let (found, complaints) = given(text, |given| given.pairs("V"));
            let found: Option<Vec<(&str, &str)>> = found.as_ref().map(|pairs| pairs.iter().map(|(k, v)| (&**k, &**v)).collect());
            assert_eq!(found.as_deref(), expect, "{text}");
            assert_eq!(complaints, usize::from(expect.is_none()), "{text}");
        };
        check("a=b", Some(&[("a", "b")]));
        check(" a = b , c=d%2Ce%20%C3%A9,", Some(&[("a", "b"), ("c", "d,e é")]));
        check("a=b=c", Some(&[("a", "b=c")]));
        check("a=", Some(&[("a", "")]));
        for bad in ["a", "=b", "a=b,c", "a=%4", "a=%zz", "a=%+1", "a=%ff"] {
            check(bad, None);
        }
    }
}
