//! Texts of others within a report: cut, and made so that they are shown as what they
//! are and change nothing around them.

/// The text on one line: line feeds and tabs become signs and spaces, and what steers
/// terminals or the direction of reading becomes its number.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\u{2028}' | '\u{2029}' => out.push('⏎'),
            '\r' => {}
            '\t' => out.push(' '),
            c if steers(c) => out += &format!("\\u{{{:x}}}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// At most `chars_max` characters, the last of them `…` when there were more.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
            kept + "…"
        }
    }
}

/// The text as running text of Markdown.
pub(crate) fn prose(text: &str, chars_max: usize) -> String {
    let text = cut(visible(text).trim(), chars_max);
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    // A list item could begin with these, and be a heading or a list in itself.
    let begins_block = |c: char| matches!(c, '#' | '-' | '+' | '=');
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let mut at = 0;
    while let Some(c) = rest.next() {
        let within_word = c == '_' && before.is_alphanumeric() && rest.peek().is_some_and(|next| next.is_alphanumeric());
        let special = matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '$') && !within_word;
        let first = at == 0 && begins_block(c);
        let numbers = digits > 0 && at == digits && matches!(c, '.' | ')') && rest.peek().is_none_or(|next| *next == ' ');
        if special || first || numbers {
            out.push('\\');
        }
        out.push(c);
        before = c;
        at += c.len_utf8();
    }
    out
}

/// The text as code of Markdown, also within a table.
pub(crate) fn code(text: &str, chars_max: usize) -> String {
    let shown = cut(&visible(text), chars_max);
    // In a table a bar would end the cell, and can't be escaped behind a backslash.
    if shown.contains('|') || shown.trim().is_empty() {
        return prose(text, chars_max);
    }
    let fence = "`".repeat(longest_run(&shown) + 1);
    let pad = if shown.starts_with(['`', ' ']) || shown.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{pad}{shown}{pad}{fence}")
}

/// The lines as a block of code.
pub(crate) fn block(text: &str, language: &str) -> String {
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end_matches('\n'))
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_what_they_are() {
        let check = |text: &str, as_prose: &str, as_code: &str| {
            assert_eq!((prose(text, 20).as_str(), code(text, 20).as_str()), (as_prose, as_code), "{text:?}");
        };
        check("plain_word", "plain_word", "`plain_word`");
        check("_it_ *b* [x](y)", "\\_it\\_ \\*b\\* \\[x\\](y)", "`_it_ *b* [x](y)`");
        check("a|b\\|c", "a\\|b\\\\\\|c", "a\\|b\\\\\\|c");
        check("a `b` ``c``", "a \\`b\\` \\`\\`c\\`\\`", "``` a `b` ``c`` ```");
        check("one\ntwo\r\n\x1b[31m", "one⏎two⏎\\\\u{1b}\\[31m", "`one⏎two⏎\\u{1b}[31m`");
        check("# h", "\\# h", "`# h`");
        check("12. x", "12\\. x", "`12. x`");
        check("1.5 ms", "1.5 ms", "`1.5 ms`");
        check("\u{202e}evil", "\\\\u{202e}evil", "`\\u{202e}evil`");
        check("", "", "");
        check("123456789012345678901", "1234567890123456789…", "`1234567890123456789…`");
    }

    #[test]
    fn blocks_have_a_fence_that_nothing_in_them_ends() {
        assert_eq!(block("a\n", "text"), "```text\na\n```\n");
        assert_eq!(block("```\n````", ""), "`````\n```\n````\n`````\n");
    }
}
