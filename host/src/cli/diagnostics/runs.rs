//! `spanloom diagnostics runs`: the runs there were, out of their ledgers.

use clap::{Args, ValueEnum};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use crate::cli::{Failure, print};
use crate::config::Loaded;
use crate::engines::duckdb::{RunFilter, RunList, RunRow, list_runs};
use crate::index::data_dir::DataDir;

/// Files without a readable first line that are named; the others are counted.
const DAMAGED_SHOWN: usize = 5;

#[derive(Args)]
pub struct RunsArgs {
    /// Only runs begun since: a time ago (90s, 30m, 1h, 7d), a day (2026-11-21, UTC) or a moment (RFC 3339)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only runs begun before, written as for --since
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only calls of this tool
    #[arg(long, value_name = "TOOL")]
    tool: Option<String>,
    /// Only runs that ended like this; unfinished ones still run or their process is gone
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// The slowest first instead of the newest
    #[arg(long)]
    slowest: bool,
    /// How many are listed, 1 to 100,000
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Status {
    Ok,
    Error,
    Cancelled,
    Unfinished,
}

pub fn run(loaded: &Loaded, arguments: &RunsArgs) -> Result<(), Failure> {
    let now = OffsetDateTime::now_utc();
    let moment = |flag: &str, text: &Option<String>| text.as_deref().map(|text| moment(flag, text, now)).transpose();
    let status = arguments.status.and_then(|status| status.to_possible_value());
    let filter = RunFilter {
        since_us: moment("--since", &arguments.since)?,
        until_us: moment("--until", &arguments.until)?,
        tool: arguments.tool.clone(),
        status: status.map(|status| status.get_name().to_owned()),
        slowest: arguments.slowest,
        limit: arguments.limit,
    };
    let folder = DataDir::new(&loaded.config.data_dir.0).ledgers();
    let list = list_runs(&folder, &filter).map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?;
    if arguments.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&list).map_err(Failure::failed)?))?;
    } else {
        print(&table(&list))?;
    }
    for path in list.damaged.iter().take(DAMAGED_SHOWN) {
        eprintln!("passed over, no line that begins a run: {path}");
    }
    if let Some(more) = list.damaged.len().checked_sub(DAMAGED_SHOWN).filter(|more| *more > 0) {
        eprintln!("passed over as well: {more} more files");
    }
    Ok(())
}

/// A moment in microseconds since 1970.
fn moment(flag: &str, text: &str, now: OffsetDateTime) -> Result<i64, Failure> {
    let at = ago(text)
        .and_then(|seconds| now.checked_sub(time::Duration::seconds(seconds)))
        .or_else(|| Some(Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?.midnight().assume_utc()))
        .or_else(|| OffsetDateTime::parse(text, &Rfc3339).ok());
    let at = at.ok_or_else(|| {
        Failure::Usage(format!("{flag} is `{text}`; allowed: such as 90s, 30m, 1h, 7d, 2026-11-21 or 2026-11-21T08:30:00Z"))
    })?;
    // Years of four digits fit.
    Ok((at.unix_timestamp_nanos() / 1_000) as i64)
}

/// Seconds of `90s`, `30m`, `1h`, `7d` or `2w`.
fn ago(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let number = text.strip_suffix(unit).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    number.parse::<i64>().ok()?.checked_mul(seconds)
}

fn table(list: &RunList) -> String {
    let heads = ["started", "run", "tool", "status", "ms", "found", "degraded", "error", "trace", "session"].map(str::to_owned);
    let rows: Vec<[String; 10]> = std::iter::once(heads).chain(list.runs.iter().map(cells)).collect();
    let mut widths = [0; 10];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in &rows {
        // Numbers end in a line, words begin in one.
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            4 | 5 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        out += cells.collect::<Vec<_>>().join("  ").trim_end();
        out.push('\n');
    }
    out += &format!("{} of {} runs, {} ledgers\n", list.runs.len(), list.matching, list.files);
    out
}

fn cells(run: &RunRow) -> [String; 10] {
    let or_dash = |text: &Option<String>| text.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| "-".into());
    let started = run.started_at.as_deref().map(|at| at.chars().take(19).collect::<String>().replace('T', " "));
    [
        or_dash(&started),
        run.run_id.clone(),
        or_dash(&run.tool),
        run.status.clone(),
        run.duration_us.map_or_else(|| "-".into(), |us| format!("{:.1}", us as f64 / 1_000.0)),
        run.findings.map_or_else(|| "-".into(), |count| count.to_string()),
        or_dash(&Some(run.degraded.join(","))),
        or_dash(&run.error_class),
        or_dash(&run.trace_id),
        or_dash(&run.session_id),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_three_ways() {
        let now = OffsetDateTime::from_unix_timestamp(1_000_000).unwrap();
        for (text, seconds) in [
            ("90s", 1_000_000 - 90),
            ("30m", 1_000_000 - 1_800),
            ("1h", 1_000_000 - 3_600),
            ("2d", 1_000_000 - 172_800),
            ("1w", 1_000_000 - 604_800),
            ("1970-01-03", 172_800),
            ("1970-01-01T00:00:01.5Z", 1),
            ("1970-01-01T01:00:01+01:00", 1),
        ] {
            let found = moment("--since", text, now).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(found / 1_000_000, seconds, "{text}");
        }
        for bad in ["", "h", "-1h", "1.5h", "yesterday", "2026-13-01", "99999999999999999999d", "9223372036854775807w", "ü"] {
            assert!(
                matches!(moment("--since", bad, now), Err(Failure::Usage(message)) if message.contains("--since is `") && message.contains("allowed: ")),
                "{bad}"
            );
        }
    }
}
