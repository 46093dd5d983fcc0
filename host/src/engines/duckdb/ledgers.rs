//! Run ledgers, read where they lie: which runs there were, and how they ended.
//!
//! Ledgers of schema 1 and 2 are read alike; lines that are torn or no JSON are
//! passed over, as a crash leaves them.

use std::path::Path;

use duckdb::{Connection, params};
use serde::Serialize;

use super::{CatalogError, settings};

/// Bytes of a ledger's line. The longest hold the findings of a whole page.
const LINE_BYTES_MAX: u32 = 4 << 20;
/// Threads that parse ledgers: two keep up with what a disk gives.
const THREADS: i64 = 2;

/// Which runs are listed.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Begun at this time or after it, in microseconds since 1970.
    pub since_us: Option<i64>,
    /// Begun before this time.
    pub until_us: Option<i64>,
    pub tool: Option<String>,
    /// `ok`, `error`, `cancelled` or `unfinished`.
    pub status: Option<String>,
    /// The slowest first, unfinished ones last; else the newest first.
    pub slowest: bool,
    pub limit: u32,
}

/// A run, as its first and its last line tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunRow {
    pub run_id: String,
    /// As the ledger has it: RFC 3339.
    pub started_at: Option<String>,
    pub tool: Option<String>,
    /// `unfinished` when there is no last line: it still runs, or the process is gone.
    pub status: String,
    pub duration_us: Option<i64>,
    pub findings: Option<u64>,
    /// Parts that did not do their full part.
    pub degraded: Vec<String>,
    pub error_class: Option<String>,
    pub trace_id: Option<String>,
    pub session_id: Option<String>,
    pub path: String,
}

/// What [`list_runs`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunList {
    pub runs: Vec<RunRow>,
    /// Runs that pass the filter, listed or not.
    pub matching: u64,
    /// Ledger files there are.
    pub files: u64,
    /// Files without a first line that can be read, by path.
    pub damaged: Vec<String>,
}

/// Ledgers, and their bytes, that are read at once: DuckDB keeps what it has read of each
/// until it has read all.
const FILES_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: u64 = 16 << 20;

/// A ledger's first and last line.
const LINES: &str = "
CREATE TEMP TABLE lines (filename VARCHAR, line VARCHAR, \"at\" VARCHAR, at_us BIGINT, trace_id VARCHAR, session_id VARCHAR, tool VARCHAR,
    status VARCHAR, duration_us BIGINT, findings UBIGINT, degraded VARCHAR, error_class VARCHAR)";

/// What is needed of the first and last lines alone: whole outcomes of thousands of
/// runs would not fit into the memory a catalog is allowed.
const LEDGERS: &str = "
INSERT INTO lines
SELECT filename, line, \"at\", epoch_us(try_cast(\"at\" AS TIMESTAMP)) AS at_us, trace_id, session_id, tool, status,
       try_cast(duration_us AS BIGINT) AS duration_us,
       CASE WHEN json_type(outcome, '$.findings') = 'ARRAY' THEN json_array_length(outcome, '$.findings') END AS findings,
       array_to_string(json_extract_string(outcome, '$.degraded[*].part'), chr(10)) AS degraded,
       json_extract_string(outcome, '$.error.class') AS error_class
FROM read_json({files}, format = 'newline_delimited', ignore_errors = true, filename = true, maximum_object_size = $1, columns = {
    line: 'VARCHAR', \"at\": 'VARCHAR', trace_id: 'VARCHAR', session_id: 'VARCHAR', tool: 'VARCHAR',
    status: 'VARCHAR', duration_us: 'VARCHAR', outcome: 'JSON'
})
WHERE line IN ('run.start', 'run.end')";

const RUNS: &str = "
WITH starts AS (SELECT DISTINCT ON (filename) * FROM lines WHERE line = 'run.start' ORDER BY filename, \"at\"),
ends AS (SELECT DISTINCT ON (filename) * FROM lines WHERE line = 'run.end' ORDER BY filename, \"at\" DESC),
runs AS (
    SELECT
        parse_filename(starts.filename, true) AS run_id, starts.\"at\" AS started_at, starts.at_us AS started_us, starts.tool AS tool,
        coalesce(ends.status, 'unfinished') AS status, coalesce(ends.duration_us, ends.at_us - starts.at_us) AS duration_us,
        ends.findings AS findings, ends.degraded AS degraded, ends.error_class AS error_class,
        starts.trace_id AS trace_id, starts.session_id AS session_id, starts.filename AS path
    FROM starts LEFT JOIN ends USING (filename)
)
SELECT run_id, started_at, tool, status, duration_us, findings, degraded, error_class, trace_id, session_id, path, count(*) OVER ()
FROM runs
WHERE ($1 IS NULL OR started_us >= $1) AND ($2 IS NULL OR started_us < $2)
  AND ($3 IS NULL OR tool = $3) AND ($4 IS NULL OR status = $4)
ORDER BY CASE WHEN $5 THEN duration_us END DESC NULLS LAST, started_us DESC NULLS LAST, run_id DESC
LIMIT $6";

/// The runs whose ledgers are below `folder` (`…/telemetry/runs`). No folder is no runs.
///
/// # Errors
/// When a file can't be opened, or DuckDB fails.
pub fn list_runs(folder: &Path, filter: &RunFilter) -> Result<RunList, CatalogError> {
    // Keeping the order of lines of thousands of files would take gigabytes; `ORDER BY` sets it.
    let settings = settings()?.threads(THREADS)?.with("preserve_insertion_order", "false")?;
    let connection = Connection::open_in_memory_with_flags(settings)?;
    let pattern = format!("{}/*/*.jsonl", literal(&folder.to_string_lossy()));
    let files = {
        let mut statement = connection.prepare("SELECT file FROM glob($1) ORDER BY file")?;
        statement.query_map(params![pattern], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?
    };
    if files.is_empty() {
        return Ok(RunList::default());
    }
    connection.execute(LINES, [])?;
    let mut rest = &files[..];
    while !rest.is_empty() {
        let some;
        (some, rest) = rest.split_at(at_once(rest));
        // Each name is a pattern for itself alone. Lists can't be bound.
        let names: Vec<String> = some.iter().map(|file| format!("'{}'", literal(file).replace('\'', "''"))).collect();
        connection.execute(&LEDGERS.replace("{files}", &format!("[{}]", names.join(", "))), params![LINE_BYTES_MAX])?;
    }
    let mut matching = 0;
    let mut statement = connection.prepare(RUNS)?;
    let rows = statement.query_map(
        params![filter.since_us, filter.until_us, filter.tool, filter.status, filter.slowest, filter.limit],
        |row| {
            matching = row.get::<_, i64>(11)? as u64;
            Ok(RunRow {
                run_id: row.get(0)?,
                started_at: row.get(1)?,
                tool: row.get(2)?,
                status: row.get(3)?,
                duration_us: row.get(4)?,
                findings: row.get(5)?,
                degraded: row.get::<_, Option<String>>(6)?.map(|parts| parts.lines().map(str::to_owned).collect()).unwrap_or_default(),
                error_class: row.get(7)?,
                trace_id: row.get(8)?,
                session_id: row.get(9)?,
                path: row.get(10)?,
            })
        },
    )?;
    let runs = rows.collect::<Result<Vec<RunRow>, _>>()?;
    let mut statement = connection
        .prepare("SELECT file FROM glob($1) WHERE file NOT IN (SELECT filename FROM lines WHERE line = 'run.start') ORDER BY file")?;
    let damaged = statement.query_map(params![pattern], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(RunList { runs, matching, files: files.len() as u64, damaged })
}

/// How many of the files are read together: at least one.
fn at_once(files: &[String]) -> usize {
    let mut bytes = 0;
    let fit = files.iter().take(FILES_AT_ONCE).take_while(|file| {
        // One that is gone has none.
        bytes += std::fs::metadata(file).map_or(0, |about| about.len());
        bytes <= BYTES_AT_ONCE
    });
    fit.count().max(1)
}

/// A path within a pattern, every character of which stands for itself.
fn literal(path: &str) -> String {
    path.chars().fold(String::new(), |mut out, c| {
        match c {
            '*' | '?' | '[' => out.extend(['[', c, ']']),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    const MINUTE_US: i64 = 60_000_000;

    /// Four runs in a folder whose name is also a pattern, and what is no run.
    fn ledgers() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |day: &str, name: &str, text: &str| {
            let day = folder.path().join("da[t]a*").join(day);
            std::fs::create_dir_all(&day).unwrap();
            std::fs::write(day.join(format!("{name}.jsonl")), text).unwrap();
        };
        let lines = |lines: &[Json]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let start = |schema: u32, tool: &str, at: &str| json!({"line": "run.start", "at": at, "schema": schema, "tool": tool, "trace_id": "t1", "session_id": "s"});
        let outcome = json!({"findings": [{"rank": 1}, {"rank": 2}], "degraded": [{"part": "dense"}, {"part": "rerank"}]});
        write(
            "1970-01-01",
            "old",
            &lines(&[
                start(1, "semantic_search", "1970-01-01T00:01:00Z"),
                json!({"line": "span", "at": "1970-01-01T00:01:00.1Z", "status": "error", "attributes": {"tool": "x"}}),
                json!({"line": "run.end", "at": "1970-01-01T00:01:00.250000999Z", "status": "ok", "outcome": outcome}),
            ]),
        );
        write(
            "1970-01-01",
            "failed",
            &lines(&[
                start(2, "open_file", "1970-01-01T00:02:00.5Z"),
                json!({"line": "run.end", "at": "1970-01-01T00:02:01Z", "status": "error", "duration_us": 7, "outcome": {"error": {"class": "not_found"}}}),
            ]),
        );
        let torn = lines(&[start(2, "semantic_search", "1970-01-02T00:00:00Z")]) + "{\"line\": \"run.e";
        write("1970-01-02", "torn", &torn);
        write(
            "1970-01-02",
            "none",
            &lines(&[
                start(2, "semantic_search", "1970-01-02T00:01:00Z"),
                json!({"line": "run.end", "at": "1970-01-02T00:01:09Z", "status": "ok", "outcome": {"findings": [], "degraded": []}}),
            ]),
        );
        write("1970-01-02", "garbage", "\u{0}\u{1}garbage\n{}\n[1]\n");
        write("1970-01-02", "empty", "");
        folder
    }

    fn list(folder: &tempfile::TempDir, filter: RunFilter) -> RunList {
        list_runs(&folder.path().join("da[t]a*"), &RunFilter { limit: if filter.limit == 0 { 100 } else { filter.limit }, ..filter })
            .unwrap()
    }

    #[test]
    fn more_ledgers_than_are_read_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let day = folder.path().join("it's [a] day");
        std::fs::create_dir_all(&day).unwrap();
        let filler = "x".repeat(20_000);
        let count = FILES_AT_ONCE * 8 + 1;
        for number in 0..count {
            let start = json!({"line": "run.start", "at": "2026-01-01T00:00:00Z", "tool": "open_file", "filler": filler});
            let end = json!({"line": "run.end", "at": "2026-01-01T00:00:01Z", "status": "ok", "outcome": {"filler": filler}});
            std::fs::write(day.join(format!("r{number}.jsonl")), format!("{start}\n{end}\n")).unwrap();
        }
        let list = list_runs(folder.path(), &RunFilter { limit: 5, ..RunFilter::default() }).unwrap();
        assert_eq!((list.files, list.matching, list.runs.len(), list.damaged.len()), (count as u64, count as u64, 5, 0));
        assert_eq!(list.runs[0].duration_us, Some(1_000_000));
    }

    #[test]
    fn runs_of_both_schemas_are_listed_with_how_they_ended() {
        let folder = ledgers();
        let found = list(&folder, RunFilter::default());
        let told: Vec<_> = found.runs.iter().map(|run| (run.run_id.as_str(), run.status.as_str(), run.duration_us, run.findings)).collect();
        assert_eq!(
            told,
            [
                ("none", "ok", Some(9_000_000), Some(0)),
                ("torn", "unfinished", None, None),
                ("failed", "error", Some(7), None),
                ("old", "ok", Some(250_000), Some(2)),
            ]
        );
        assert_eq!((found.matching, found.files), (4, 6));
        let damaged: Vec<_> = found.damaged.iter().filter_map(|path| path.rsplit('/').next()).collect();
        assert_eq!(damaged, ["empty.jsonl", "garbage.jsonl"]);
        let old = &found.runs[3];
        assert_eq!(old.degraded, ["dense", "rerank"]);
        assert_eq!((old.trace_id.as_deref(), old.session_id.as_deref()), (Some("t1"), Some("s")));
        assert_eq!(found.runs[2].error_class.as_deref(), Some("not_found"));
        assert!(Path::new(&old.path).is_file());
    }

    #[test]
    fn filters_narrow_and_sort() {
        let folder = ledgers();
        let check = |filter: RunFilter, expect: &[&str]| {
            let found = list(&folder, filter.clone());
            assert_eq!(found.runs.iter().map(|run| run.run_id.as_str()).collect::<Vec<_>>(), expect, "{filter:?}");
        };
        let all = RunFilter::default;
        check(RunFilter { since_us: Some(2 * MINUTE_US), ..all() }, &["none", "torn", "failed"]);
        check(RunFilter { until_us: Some(2 * MINUTE_US), ..all() }, &["old"]);
        check(RunFilter { since_us: Some(MINUTE_US), until_us: Some(MINUTE_US + 1), ..all() }, &["old"]);
        check(RunFilter { tool: Some("open_file".into()), ..all() }, &["failed"]);
        check(RunFilter { tool: Some("' OR 1=1 --".into()), ..all() }, &[]);
        check(RunFilter { status: Some("unfinished".into()), ..all() }, &["torn"]);
        check(RunFilter { slowest: true, ..all() }, &["none", "old", "failed", "torn"]);
        check(RunFilter { slowest: true, status: Some("ok".into()), limit: 1, ..all() }, &["none"]);
        assert_eq!(list(&folder, RunFilter { limit: 1, ..all() }).matching, 4);
    }

    #[test]
    fn no_folder_and_no_ledgers_are_no_runs() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_path_buf(), folder.path().join("none")] {
            assert_eq!(list_runs(&path, &RunFilter { limit: 1, ..RunFilter::default() }).unwrap(), RunList::default());
        }
    }
}
