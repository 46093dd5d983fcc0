//! Moments of the journal: RFC 3339, as milliseconds since 1970 in UTC.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

pub(super) const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// None of a text that is no moment.
pub(super) fn read(text: &str) -> Option<i64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
}

/// To the second. A moment outside of the calendar is empty.
pub(super) fn write(millis: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let moment = OffsetDateTime::from_unix_timestamp(millis.div_euclid(1_000)).ok();
    moment.and_then(|moment| moment.format(format).ok()).unwrap_or_default()
}

/// How long something took or lasts, in its largest unit.
pub(super) fn span(millis: i64) -> String {
    let seconds = millis as f64 / 1_000.0;
    match seconds.abs() {
        s if s < 120.0 => format!("{seconds:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", seconds / 3_600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written() {
        let check = |text: &str, expect: &str| assert_eq!(read(text).map(write).unwrap_or_default(), expect, "{text:?}");
        check("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z");
        check("2026-03-01T12:00:00.987+01:00", "2026-03-01T11:00:00Z");
        check("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z");
        for bad in ["", "yesterday", "2026-03-01", "2026-13-01T00:00:00Z"] {
            check(bad, "");
        }
        assert_eq!(write(i64::MAX), "");
    }

    #[test]
    fn spans_have_their_largest_unit() {
        assert_eq!([5_000, 600_000, 36_000_000, 3 * DAY_MS].map(span), ["5 s", "10 min", "10 h", "3.0 days"]);
    }
}
