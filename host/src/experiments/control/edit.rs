//! Changes the state and the coverage in the text of an experiment. Everything else stays,
//! byte by byte: other keys, their order, comments, blank lines, ends of lines.

use toml_edit::{Document, TomlError};

use crate::experiments::definition::State;

/// The text with another state and another coverage, as far as they are given. A key that
/// isn't there yet gets a line below `version`.
///
/// # Errors
/// When the text is no TOML.
pub(super) fn edit(text: &str, state: Option<State>, coverage: Option<f64>) -> Result<String, TomlError> {
    let mut edited = text.to_owned();
    // `{:?}` of a number always has a point or an exponent, as numbers in TOML do.
    let coverage = coverage.map(|coverage| ("coverage", format!("{coverage:?}")));
    let state = state.map(|state| ("state", format!("\"{}\"", word(state))));
    for (key, value) in coverage.into_iter().chain(state) {
        edited = set(&edited, key, &value)?;
    }
    Ok(edited)
}

/// A state as files have it.
pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Draft => "draft",
        State::Running => "running",
        State::Paused => "paused",
        State::Stopped => "stopped",
    }
}

fn set(text: &str, key: &str, value: &str) -> Result<String, TomlError> {
    let document = Document::parse(text)?;
    let place = |key: &str| document.get(key)?.as_value()?.span();
    if let Some(place) = place(key) {
        return Ok([&text[..place.start], value, &text[place.end..]].concat());
    }
    // What has a value that ends on its own line has nothing but a comment behind it there.
    let after = place("version").map_or(0, |place| place.end);
    let line_end = text[after..].find('\n').map(|length| after + length);
    let end_of_lines = if text.contains("\r\n") { "\r\n" } else { "\n" };
    Ok(match line_end {
        Some(end) if after > 0 => format!("{}{key} = {value}{end_of_lines}{}", &text[..=end], &text[end + 1..]),
        None if after > 0 => format!("{text}{end_of_lines}{key} = {value}"),
        // A text without a version isn't an experiment; its problems are told later.
        _ => format!("{key} = {value}{end_of_lines}{text}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_keys_change() {
        let check = |text: &str, state: State, coverage: Option<f64>, expect: &str| {
            assert_eq!(edit(text, state.into(), coverage).unwrap(), expect, "{text}");
        };
        let running = |text: &str, expect: &str| check(text, State::Running, None, expect);
        running(
            "# a\nid = 'x' # b\n\nstate   =  'draft'   # c\nmode='ab'\n[unit]\n",
            "# a\nid = 'x' # b\n\nstate   =  \"running\"   # c\nmode='ab'\n[unit]\n",
        );
        running("version = 1 # one\n\n# of units\n[unit]\n", "version = 1 # one\nstate = \"running\"\n\n# of units\n[unit]\n");
        running("version=1", "version=1\nstate = \"running\"");
        running("[unit]\nstate = 'draft'\n", "state = \"running\"\n[unit]\nstate = 'draft'\n");
        running("\"state\" = '''draft'''\nversion = 1", "\"state\" = \"running\"\nversion = 1");
        running("\u{feff}version = 1\nstate = \"paused\"\n", "\u{feff}version = 1\nstate = \"running\"\n");
        check(
            "version = 1\r\n# crlf\r\ncoverage = 1e-1\r\narms = [\r\n  { key = 'a' }, # one\n]\r\n",
            State::Stopped,
            Some(0.5),
            "version = 1\r\nstate = \"stopped\"\r\n# crlf\r\ncoverage = 0.5\r\narms = [\r\n  { key = 'a' }, # one\n]\r\n",
        );
        check("version = 1\n", State::Paused, Some(1.0), "version = 1\nstate = \"paused\"\ncoverage = 1.0\n");
        check("version = 1\n", State::Draft, Some(1e-7), "version = 1\nstate = \"draft\"\ncoverage = 1e-7\n");
        assert_eq!(edit("version = 1 # x", None, None).unwrap(), "version = 1 # x");
        assert!(edit("id = ", Some(State::Draft), None).is_err());
    }
}
