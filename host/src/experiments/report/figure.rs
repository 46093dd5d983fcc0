//! Numbers of a report: rounded for programs, written for people.

use crate::experiments::metric::{Guard, Metric};

/// With six significant digits: what lies beyond differs between machines. What is not
/// finite becomes 0; nothing of a report is.
pub(super) fn figure(value: f64) -> f64 {
    if !value.is_finite() {
        return 0.0;
    }
    // Adding 0 takes the sign from −0.
    format!("{value:.5e}").parse::<f64>().unwrap_or(value) + 0.0
}

/// A value in its metric's unit.
pub(super) fn value(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Guard(Guard::LatencyP95Ms) => millis(value),
        _ => format!("{:.4}", value + 0.0),
    }
}

/// A difference in its metric's unit, with its sign.
pub(super) fn signed(metric: Metric, value: f64) -> String {
    with_sign(value, self::value(metric, value.abs()))
}

/// The sign of a value before its amount, unless that is written as 0.
pub(in crate::experiments) fn with_sign(value: f64, shown: String) -> String {
    let zero = shown.bytes().all(|byte| !(b'1'..=b'9').contains(&byte));
    match value {
        _ if zero => shown,
        value if value < 0.0 => format!("−{shown}"),
        _ => format!("+{shown}"),
    }
}

pub(in crate::experiments) fn millis(value: f64) -> String {
    format!("{value:.1} ms")
}

pub(in crate::experiments) fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

pub(in crate::experiments) fn p_value(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".into() } else { format!("{p:.4}") }
}

/// `1 unit`, `2 units`.
pub(in crate::experiments) fn counted(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written() {
        let success = Metric::Outcome(crate::experiments::metric::Outcome::Success);
        let latency = Metric::Guard(Guard::LatencyP95Ms);
        assert_eq!([figure(0.123_456_78), figure(-0.0), figure(1e-20), figure(f64::NAN)], [0.123_457, 0.0, 1e-20, 0.0]);
        assert_eq!([0.05, -0.05, 0.0, -0.000_01].map(|value| signed(success, value)), ["+0.0500", "−0.0500", "0.0000", "0.0000"]);
        assert_eq!(signed(latency, -12.34), "−12.3 ms");
        assert_eq!([0.95, 0.99167, 1.0].map(percent), ["95 %", "99.17 %", "100 %"]);
        assert_eq!([0.00001, 0.03].map(p_value), ["< 0.0001", "0.0300"]);
    }
}
