//! Texts of the report's own, in which keys stand between backticks.

/// A part of a text of the report's own.
pub(super) enum Span<'a> {
    Plain(&'a str),
    /// A key, between backticks.
    Key(&'a str),
}

/// Keys of arms, of experiments and of files stand between backticks.
pub(super) fn spans(text: &str) -> Vec<Span<'_>> {
    let is_key = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-@.".contains(&byte));
    let (mut spans, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once('`') {
        let Some((key, after)) = after.split_once('`').filter(|(key, _)| is_key(key)) else { break };
        spans.extend([Span::Plain(before), Span::Key(key)]);
        rest = after;
    }
    spans.push(Span::Plain(rest));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_words() {
        let check = |text: &str, expect: &str| {
            let shown = spans(text).into_iter().map(|span| match span {
                Span::Plain(plain) => plain.to_owned(),
                Span::Key(key) => format!("[{key}]"),
            });
            assert_eq!(shown.collect::<String>(), expect);
        };
        check("`on` is better than `off`.", "[on] is better than [off].");
        check("", "");
        check("one ` alone", "one ` alone");
        check("`<b>` and `on`", "`<b>` and `on`");
    }
}
