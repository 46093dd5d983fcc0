//! What a client would rather have, by its `Accept` header (RFC 9110, 12.5.1).

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// The best of `offered` for the client: the one of the highest quality, the first of
/// equals, and the first of all when there is no header. `None` when the client takes
/// none of them. Parts of the header that can't be read are passed over.
pub(super) fn best<'a>(headers: &HeaderMap, offered: &[&'a str]) -> Option<&'a str> {
    let values: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<Range> = values.iter().flat_map(|value| value.split(',')).filter_map(Range::read).collect();
    if ranges.is_empty() {
        return offered.first().copied();
    }
    let mut best: Option<(u16, &str)> = None;
    for &kind in offered {
        let quality = quality(kind, &ranges);
        if quality > best.map_or(0, |(best, _)| best) {
            best = Some((quality, kind));
        }
    }
    best.map(|(_, kind)| kind)
}

/// One part of the header, such as `text/*;q=0.5`.
struct Range<'a> {
    kind: &'a str,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn read(part: &'a str) -> Option<Range<'a>> {
        let mut pieces = part.split(';').map(str::trim);
        let kind = pieces.next().filter(|kind| kind.contains('/'))?;
        let weight = pieces.find_map(|piece| piece.strip_prefix("q=").or_else(|| piece.strip_prefix("Q=")));
        let quality = match weight {
            None => 1_000,
            Some(text) => text.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight)).map(|weight| (weight * 1_000.0) as u16)?,
        };
        Some(Range { kind, quality })
    }
}

/// The quality that the most specific range gives a kind; 0 when none admits it.
fn quality(kind: &str, ranges: &[Range]) -> u16 {
    let specific = |range: &&Range| match range.kind.split_once('/') {
        Some(("*", "*")) => Some(1),
        Some((main, "*")) => kind.split('/').next().is_some_and(|own| own.eq_ignore_ascii_case(main)).then_some(2),
        _ => range.kind.eq_ignore_ascii_case(kind).then_some(3),
    };
    ranges
        .iter()
        .filter_map(|range| Some((specific(&range)?, range.quality)))
        .max_by_key(|(specific, _)| *specific)
        .map_or(0, |found| found.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: [&str; 3] = ["application/json", "text/markdown", "text/plain"];

    fn check(accept: &[&str], expect: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        assert_eq!(best(&headers, &OFFERED), expect, "{accept:?}");
    }

    #[test]
    fn the_most_wanted_kind_is_given() {
        let [json, markdown, plain] = OFFERED.map(Some);
        check(&[], json);
        check(&[""], json);
        check(&["nonsense"], json);
        check(&["*/*"], json);
        check(&["text/markdown"], markdown);
        check(&["TEXT/Markdown; charset=utf-8"], markdown);
        check(&["text/*"], markdown);
        check(&["text/plain"], plain);
        check(&["text/markdown;q=0.5, application/json;q=0.4"], markdown);
        check(&["text/markdown;q=0.5", "application/json;q=0.9"], json);
        check(&["text/*;q=0.9, text/markdown;q=0.1, application/json;q=0.5"], plain);
        check(&["*/*, application/json;q=0"], markdown);
        check(&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], json);
    }

    #[test]
    fn what_is_not_taken_is_not_given() {
        check(&["text/html"], None);
        check(&["application/json;q=0"], None);
        check(&["image/*, text/markdown;q=0.0"], None);
        check(&["text/markdown;q=2, text/html"], None);
    }
}
