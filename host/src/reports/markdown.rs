//! Writes a report for people, as a note on an incident: what happened, why and what to
//! do about it first, then what ran. Sections that would be empty are left out.

use std::fmt::Write as _;

use super::escape::{block, code, cut, prose};
use super::headline::{self, Style, duration};
use super::report::{RunOutcome, RunReport, StageReport};
use super::table::Side::{Left, Right};
use super::table::Table;

/// Characters of a name: spans, plugins, channels, models.
const NAME_CHARS_MAX: usize = 120;
/// Characters of a text of somebody else: messages, warnings, reasons.
const TEXT_CHARS_MAX: usize = 600;
/// Characters of a path or symbol.
const PATH_CHARS_MAX: usize = 200;
/// Characters of the request.
const REQUEST_CHARS_MAX: usize = 4_000;
/// Digits of a digest; the JSON has them all.
const DIGEST_CHARS: usize = 12;
/// Rows of a table, and items of a list. The JSON has them all.
const ROWS_MAX: usize = 100;

/// How the headline writes names and words of others here.
const STYLE: Style = Style { name: code, words: prose };

/// Writes the body of a section, or nothing.
type Section = fn(&RunReport, &mut String);

/// The report as Markdown.
pub fn markdown(report: &RunReport) -> String {
    let mut out = format!("# Run report {}\n\n**{}**\n", code(&report.identity.run_id, NAME_CHARS_MAX), headline::headline(report, &STYLE));
    let sections: [(&str, Section); 14] = [
        ("Stopped because", stopped),
        ("Degraded", degradations),
        ("Errors", errors),
        ("Warnings", warnings),
        ("Run", run),
        ("Stages", stages),
        ("Waterfall", waterfall),
        ("Gate", gate),
        ("Channels", channels),
        ("Plugins", plugins),
        ("Models", models),
        ("Findings", findings),
        ("Request", request),
        ("Ledger", ledger),
    ];
    for (title, section) in sections {
        let mut body = String::new();
        section(report, &mut body);
        if !body.is_empty() {
            // Writing to a String can't fail.
            let _ = write!(out, "\n## {title}\n\n{body}");
        }
    }
    out
}

fn stopped(report: &RunReport, out: &mut String) {
    let Some(stop) = &report.stopped_because else { return };
    let after = stop.after.as_deref().map(|after| format!(", after {}", name(after))).unwrap_or_default();
    let _ = writeln!(out, "- **where:** {}{after}", name(&stop.stage));
    let message = if stop.message.is_empty() { String::new() } else { format!(" – {}", text(&stop.message)) };
    let _ = writeln!(out, "- **cause:** {}{message}", name(&stop.cause));
    if !stop.not_reached.is_empty() {
        let _ = writeln!(out, "- **not reached:** {}", names(&stop.not_reached));
    }
    // Remedies are the host's own words, and Markdown already.
    let _ = writeln!(out, "- **what to do:** {}", cut(&stop.remedy, TEXT_CHARS_MAX));
}

fn degradations(report: &RunReport, out: &mut String) {
    // A single one is told above.
    if report.outcome == RunOutcome::Degraded && report.degradations.len() == 1 {
        return;
    }
    for part in report.degradations.iter().take(ROWS_MAX) {
        let _ = write!(out, "- {} in {}: {}", name(&part.part), name(&part.stage), name(&part.cause));
        if !part.message.is_empty() {
            let _ = write!(out, " – {}", text(&part.message));
        }
        if !part.instead.is_empty() {
            let _ = write!(out, "  \n  instead: {}", text(&part.instead));
        }
        let _ = writeln!(out, "  \n  remedy: {}", cut(&part.remedy, TEXT_CHARS_MAX));
    }
    more(report.degradations.len(), out);
}

fn errors(report: &RunReport, out: &mut String) {
    let mut table = Table::new(&[("stage", Left), ("class", Left), ("message", Left)]);
    // The one that ended the run is told above.
    let told =
        |class: &str, message: &str| report.stopped_because.as_ref().is_some_and(|stop| stop.cause == class && stop.message == message);
    let errors: Vec<_> = report.errors.iter().filter(|error| !told(&error.class, &error.message)).collect();
    for error in errors.iter().take(ROWS_MAX) {
        table.row([name(&error.stage), name(&error.class), text(&error.message)]);
    }
    table.write(out);
    more(errors.len(), out);
}

fn warnings(report: &RunReport, out: &mut String) {
    let told = |warning: &str| report.degradations.iter().any(|part| part.message == warning);
    let warnings: Vec<_> = report.warnings.iter().filter(|warning| !told(warning)).collect();
    for warning in warnings.iter().take(ROWS_MAX) {
        let _ = writeln!(out, "- {}", text(warning));
    }
    more(warnings.len(), out);
}

fn run(report: &RunReport, out: &mut String) {
    let identity = &report.identity;
    let mut facts = facts_table();
    let mut fact = |key: &str, value: String| facts.row([key.to_owned(), value]);
    fact("outcome", report.outcome.as_str().into());
    fact("tool", optional(identity.tool.as_deref(), name));
    fact("trace", optional(identity.trace_id.as_deref(), name));
    fact("caller's span", optional(identity.parent_span.as_deref(), name));
    fact("session", optional(identity.session_id.as_deref(), name));
    fact("the client's id", optional(identity.client_run_id.as_deref(), name));
    fact("started", optional(identity.started_at.as_deref(), text));
    fact("duration", duration(report.duration_us));
    fact("version", optional(identity.version.as_deref(), text));
    fact("configuration", optional(identity.config_sha256.as_deref(), digest));
    if let Some(index) = &report.index {
        fact("index", optional(index.generation.as_deref(), name));
        let dirty = if index.dirty == Some(true) { ", with changes that were not committed" } else { "" };
        fact("index commit", optional(index.commit.as_deref(), |commit| digest(commit) + dirty));
        fact("index age", index.age_s.map(|age| format!("{age} s")).unwrap_or_default());
        let counts = [
            (index.files_indexed, "files indexed"),
            (index.files_skipped, "files skipped"),
            (index.chunks, "chunks"),
            (index.chunks_embedded, "with a vector"),
        ];
        let coverage: Vec<String> = counts.iter().filter_map(|(count, what)| Some(format!("{} {what}", (*count)?))).collect();
        fact("index coverage", coverage.join(", "));
    }
    for (key, value) in report.answer.iter().take(ROWS_MAX) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        fact(&format!("answer: {}", text(key)), text(&value));
    }
    write_facts(facts, out);
}

fn stages(report: &RunReport, out: &mut String) {
    let mut table = Table::new(&[("stage", Left), ("start", Right), ("time", Right), ("share", Right), ("status", Left), ("facts", Left)]);
    let mut count = 0;
    for stage in &report.stages {
        stage_rows(stage, 0, &mut table, &mut count);
    }
    table.write(out);
    more(count, out);
    if !report.skipped.is_empty() {
        *out += if out.is_empty() { "Left out:\n\n" } else { "\nLeft out:\n\n" };
        for step in report.skipped.iter().take(ROWS_MAX) {
            let _ = writeln!(out, "- {}: {}", name(&step.stage), text(&step.reason));
        }
    }
}

fn stage_rows(stage: &StageReport, depth: usize, table: &mut Table, count: &mut usize) {
    *count += 1;
    if *count <= ROWS_MAX {
        // Spaces at the begin of a cell would be dropped.
        let indent = "· ".repeat(depth);
        let facts: Vec<String> = crate::telemetry::trace_tree::notes(&serde_json::Value::Object(stage.attributes.clone()));
        table.row([
            format!("{indent}{}", name(&stage.name)),
            duration(stage.started_us),
            stage.duration_us.map(duration).unwrap_or_default(),
            stage.share.map(|share| format!("{:.1} %", share * 100.0)).unwrap_or_default(),
            stage.status.as_str().into(),
            text(&facts.join(", ")),
        ]);
    }
    for child in &stage.children {
        stage_rows(child, depth + 1, table, count);
    }
}

fn waterfall(report: &RunReport, out: &mut String) {
    if !report.waterfall.is_empty() {
        *out += &block(&report.waterfall, "text");
    }
}

fn gate(report: &RunReport, out: &mut String) {
    let Some(gate) = &report.gate else { return };
    let mut facts = facts_table();
    facts.row(["class".into(), optional(gate.class.as_deref(), name)]);
    facts.row(["ambiguity".into(), number(gate.ambiguity)]);
    facts.row(["rrf\\_k".into(), number(gate.rrf_k)]);
    facts.row(["rm3".into(), gate.rm3.map(|rm3| if rm3 { "yes" } else { "no" }.to_owned()).unwrap_or_default()]);
    facts.row(["rerank depth".into(), count(gate.rerank_depth)]);
    write_facts(facts, out);
    let mut table = Table::new(&[("budget of", Left), ("depth", Right), ("weight", Right), ("reason", Left)]);
    for budget in gate.budgets.iter().take(ROWS_MAX) {
        table.row([name(&budget.channel), count(budget.depth), number(budget.weight), optional(budget.reason.as_deref(), text)]);
    }
    if !gate.budgets.is_empty() && !out.is_empty() {
        out.push('\n');
    }
    table.write(out);
    if let Some(reasons) = &gate.reasons {
        *out += if out.is_empty() { "Reasons: " } else { "\nReasons: " };
        let _ = writeln!(out, "{}", text(reasons));
    }
}

fn channels(report: &RunReport, out: &mut String) {
    let mut table = Table::new(&[
        ("channel", Left),
        ("depth", Right),
        ("candidates", Right),
        ("deadline", Right),
        ("time", Right),
        ("status", Left),
        ("cause", Left),
    ]);
    for channel in report.channels.iter().take(ROWS_MAX) {
        table.row([
            name(&channel.name),
            count(channel.depth),
            count(channel.hits),
            channel.deadline_ms.map(|ms| format!("{ms} ms")).unwrap_or_default(),
            channel.duration_us.map(duration).unwrap_or_default(),
            channel.status.as_str().into(),
            optional(channel.cause.as_deref(), text),
        ]);
    }
    table.write(out);
}

fn plugins(report: &RunReport, out: &mut String) {
    let mut table = Table::new(&[
        ("stage", Left),
        ("plugin", Left),
        ("version", Left),
        ("sha256", Left),
        ("used before", Right),
        ("guest time", Right),
        ("peak memory", Right),
        ("in", Right),
        ("out", Right),
        ("outcome", Left),
        ("instead", Left),
    ]);
    for plugin in report.plugins.iter().take(ROWS_MAX) {
        table.row([
            name(&plugin.stage),
            name(&plugin.name),
            optional(plugin.version.as_deref(), text),
            optional(plugin.sha256.as_deref(), digest),
            count(plugin.reuse),
            plugin.guest_time_us.map(duration).unwrap_or_default(),
            plugin.memory_bytes_peak.map(|bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))).unwrap_or_default(),
            count(plugin.candidates_in),
            count(plugin.candidates_out),
            text(&plugin.outcome),
            optional(plugin.fallback.as_deref(), text),
        ]);
    }
    table.write(out);
}

fn models(report: &RunReport, out: &mut String) {
    let mut table = Table::new(&[
        ("stage", Left),
        ("model", Left),
        ("mode", Left),
        ("dimension", Right),
        ("batch", Right),
        ("attempts", Right),
        ("time", Right),
        ("outcome", Left),
    ]);
    for model in report.models.iter().take(ROWS_MAX) {
        table.row([
            name(&model.stage),
            name(&model.name),
            optional(model.mode.as_deref(), text),
            count(model.dimension),
            count(model.batch),
            count(model.attempts),
            model.duration_us.map(duration).unwrap_or_default(),
            text(&model.outcome),
        ]);
    }
    table.write(out);
    more(report.models.len(), out);
}

fn findings(report: &RunReport, out: &mut String) {
    let mut table = Table::new(&[("rank", Right), ("score", Right), ("lines", Left), ("symbol", Left), ("found by", Left)]);
    for finding in report.findings.iter().take(ROWS_MAX) {
        let lines = match (finding.start_line, finding.end_line) {
            (Some(first), Some(last)) => format!("{}:{first}-{last}", finding.path),
            _ => finding.path.clone(),
        };
        let channel = |rank: Option<u64>| rank.map(|rank| format!(" #{rank}")).unwrap_or_default();
        let found: Vec<String> =
            finding.contributions.iter().take(ROWS_MAX).map(|part| part.channel.clone() + &channel(part.rank)).collect();
        table.row([
            finding.rank.to_string(),
            finding.score.map(|score| format!("{score:.4}")).unwrap_or_default(),
            code(&lines, PATH_CHARS_MAX),
            optional(finding.symbol.as_deref(), |symbol| code(symbol, PATH_CHARS_MAX)),
            text(&found.join(", ")),
        ]);
    }
    table.write(out);
    more(report.findings.len(), out);
}

fn request(report: &RunReport, out: &mut String) {
    if report.request.is_null() || report.request.as_object().is_some_and(serde_json::Map::is_empty) {
        return;
    }
    let mut given = report.request.clone();
    if let Some(members) = given.as_object_mut() {
        // Arguments that were not given.
        members.retain(|_, value| !value.is_null());
    }
    // Control characters are escaped by JSON; what steers the direction of reading isn't.
    let json = serde_json::to_string_pretty(&given).unwrap_or_default();
    let shown: Vec<String> = json.lines().map(super::escape::visible).collect();
    *out += &block(&cut(&shown.join("\n"), REQUEST_CHARS_MAX), "json");
}

fn ledger(report: &RunReport, out: &mut String) {
    let ledger = &report.ledger;
    let mut facts = facts_table();
    facts.row(["file".into(), optional(ledger.path.as_deref(), |path| code(path, TEXT_CHARS_MAX))]);
    facts.row(["schema".into(), count(ledger.schema)]);
    facts.row(["lines".into(), ledger.lines.to_string()]);
    facts.row(["lines missing".into(), if ledger.lost_lines > 0 { ledger.lost_lines.to_string() } else { String::new() }]);
    facts.row(["last line".into(), if ledger.torn { "cut short".into() } else { String::new() }]);
    write_facts(facts, out);
}

/// Names and values; a name without a value is left out.
fn facts_table() -> Facts {
    Facts(Vec::new())
}

struct Facts(Vec<[String; 2]>);

impl Facts {
    fn row(&mut self, row: [String; 2]) {
        if !row[1].is_empty() {
            self.0.push(row);
        }
    }
}

fn write_facts(facts: Facts, out: &mut String) {
    let mut table = Table::new(&[("what", Left), ("value", Left)]);
    facts.0.into_iter().for_each(|row| table.row(row));
    table.write(out);
}

fn more(count: usize, out: &mut String) {
    if count > ROWS_MAX {
        let _ = writeln!(out, "\n… and {} more, in the report's JSON", count - ROWS_MAX);
    }
}

fn name(text: &str) -> String {
    code(text, NAME_CHARS_MAX)
}

fn names(texts: &[String]) -> String {
    texts.iter().take(ROWS_MAX).map(|text| name(text)).collect::<Vec<_>>().join(", ")
}

fn text(text: &str) -> String {
    prose(text, TEXT_CHARS_MAX)
}

fn digest(digest: &str) -> String {
    code(&digest.chars().take(DIGEST_CHARS).collect::<String>(), DIGEST_CHARS)
}

fn optional(value: Option<&str>, write: impl Fn(&str) -> String) -> String {
    value.map(write).unwrap_or_default()
}

fn count(value: Option<u64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn number(value: Option<f64>) -> String {
    value.map(|value| format!("{:.3}", value).trim_end_matches('0').trim_end_matches('.').to_owned()).unwrap_or_default()
}
