//! Holds a run against its repetition: is the answer the same, and if not, what differs.
//!
//! Works on ledger lines alone, so that runs of other processes and versions can be
//! compared. Running it again is the matter of the command line.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::envelope::ExperimentStamp;
use crate::telemetry::conventions::{attr, event};

/// Findings that are named one by one; the others are counted.
const MOVES_MAX: usize = 20;

/// A run, as far as it has to be known to be repeated and compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Original {
    pub run_id: String,
    pub tool: String,
    /// The arguments, as the client sent them.
    pub request: Json,
    /// Of Spanloom.
    pub version: String,
    pub config_sha256: Option<String>,
    /// The generation that was searched.
    pub generation: Option<String>,
    /// By stage, those that took part.
    pub plugins: BTreeMap<String, PluginStamp>,
    /// The experiments that it was part of.
    pub experiments: Vec<Exposed>,
    /// `ok`, `error`, `cancelled`; `None` when the run did not end.
    pub status: Option<String>,
    pub outcome: Json,
}

/// A run's part in an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    pub stamp: ExperimentStamp,
    /// Where two arms shared the answer: what decided who picked first.
    pub seed: Option<u64>,
}

/// A plugin that took part in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginStamp {
    pub name: String,
    pub version: String,
    pub sha256: String,
}

/// Whether two runs gave the same answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub same: bool,
    pub original: Side,
    pub replayed: Side,
    /// What differs of what went in and what came out.
    pub differences: Vec<Difference>,
}

/// One of the runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    pub run_id: String,
    pub status: Option<String>,
    /// Digest of the answer; ledgers of earlier versions have none.
    pub envelope_sha256: Option<String>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// `configuration`, `plugin fusion`, `finding src/a.rs:1-9`, …
    pub what: String,
    pub then: Json,
    pub now: Json,
}

impl Original {
    /// A run out of its ledger's lines. What is missing there is empty.
    pub fn of(lines: &[Json]) -> Original {
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let some = |value: &Json| value.as_str().map(str::to_owned);
        let first = |kind: &str| lines.iter().find(|line| line["line"] == kind).cloned().unwrap_or_default();
        let (start, end) = (first("run.start"), first("run.end"));
        let spans = || lines.iter().filter(|line| line["line"] == "span").map(|line| &line["attributes"]);
        let plugins = spans().filter_map(|attributes| {
            let stamp = PluginStamp {
                name: some(&attributes["plugin.name"])?,
                version: text(&attributes["plugin.version"]),
                sha256: text(&attributes["plugin.sha256"]),
            };
            Some((some(&attributes["plugin.stage"])?, stamp))
        });
        let plugins = plugins.collect();
        let exposures = lines.iter().filter(|line| line["name"] == event::EXPOSURE).map(|line| &line["attributes"]);
        let experiments = exposures.filter_map(|attributes| {
            let number = |key: &str| attributes[key].as_u64().and_then(|number| u32::try_from(number).ok());
            let stamp = ExperimentStamp {
                id: some(&attributes[attr::EXPERIMENT])?,
                version: number(attr::EXPERIMENT_VERSION)?,
                variant: some(&attributes[attr::VARIANT])?,
                bucket: number(attr::EXPERIMENT_BUCKET)?,
            };
            let seed = attributes[attr::EXPERIMENT_SEED].as_str().and_then(|seed| u64::from_str_radix(seed, 16).ok());
            Some(Exposed { stamp, seed })
        });
        let experiments = experiments.collect();
        let searched = spans().find_map(|attributes| some(&attributes["retrieval.index_generation"]));
        Original {
            run_id: text(&start["run_id"]),
            tool: text(&start["tool"]),
            request: start["request"].clone(),
            version: text(&start["version"]),
            config_sha256: some(&start["config_sha256"]),
            generation: some(&end["outcome"]["index"]["generation"]).or(searched),
            plugins,
            experiments,
            status: some(&end["status"]),
            outcome: end["outcome"].clone(),
        }
    }

    /// # Errors
    /// Why there is nothing to repeat or nothing to compare with, and what to do.
    pub fn check(&self) -> Result<(), String> {
        if self.tool.is_empty() {
            return Err("its ledger has no line that begins the run, so nobody knows what was asked".into());
        }
        if self.request.get("query").is_some_and(|query| !query.is_string()) {
            return Err("the query's text was not recorded; `telemetry.record_query_text = true` records it for later runs".into());
        }
        match self.status.as_deref() {
            Some("ok" | "error") => Ok(()),
            Some(other) => Err(format!("it ended as {other}: there is no answer to compare with")),
            None => Err("it did not end, or not yet: there is no answer to compare with".into()),
        }
    }

    fn side(&self) -> Side {
        let sha256 = self.outcome["envelope_sha256"].as_str().map(str::to_owned);
        Side { run_id: self.run_id.clone(), status: self.status.clone(), envelope_sha256: sha256 }
    }
}

/// Holds a run against its repetition. Answers are the same when their digests are;
/// for runs without one, when nothing that the ledger has of the answer differs.
pub fn compare(then: &Original, now: &Original) -> Comparison {
    let mut answer = Vec::new();
    let mut note = |what: String, then: Json, now: Json| {
        if then != now {
            answer.push(Difference { what, then, now });
        }
    };
    note("status".into(), json!(then.status), json!(now.status));
    note("error".into(), then.outcome["error"].clone(), now.outcome["error"].clone());
    for key in ["degraded", "warnings", "confidence", "next_cursor", "path", "start_line", "end_line", "total_lines"] {
        note(key.into(), then.outcome[key].clone(), now.outcome[key].clone());
    }
    for key in ["generation", "commit", "dirty", "coverage"] {
        note(format!("index {key}"), then.outcome["index"][key].clone(), now.outcome["index"][key].clone());
    }
    answer.extend(findings(&then.outcome["findings"], &now.outcome["findings"]));

    let (original, replayed) = (then.side(), now.side());
    let same = match (&original.envelope_sha256, &replayed.envelope_sha256) {
        (Some(then), Some(now)) => then == now,
        _ => answer.is_empty(),
    };
    let mut differences = circumstances(then, now);
    if !same {
        if answer.is_empty() {
            // Ledgers have neither the texts of findings nor their explanations.
            answer.push(Difference {
                what: "answer's texts".into(),
                then: json!(original.envelope_sha256),
                now: json!(replayed.envelope_sha256),
            });
        }
        differences.append(&mut answer);
    }
    Comparison { same, original, replayed, differences }
}

/// What went in otherwise.
fn circumstances(then: &Original, now: &Original) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut note = |what: &str, then: Json, now: Json| {
        if then != now {
            all.push(Difference { what: what.into(), then, now });
        }
    };
    note("version of spanloom", json!(then.version), json!(now.version));
    // Ledgers of earlier versions don't say.
    if let (Some(then), Some(now)) = (&then.config_sha256, &now.config_sha256) {
        note("configuration", json!(then), json!(now));
    }
    let told = |plugin: &PluginStamp| json!(format!("{} {} (sha256 {})", plugin.name, plugin.version, plugin.sha256));
    let stages: std::collections::BTreeSet<&String> = then.plugins.keys().chain(now.plugins.keys()).collect();
    for stage in stages {
        let [then, now] = [then, now].map(|run| run.plugins.get(stage).map(told).unwrap_or_default());
        note(&format!("plugin {stage}"), then, now);
    }
    all
}

/// Findings that are gone, that are new, or that have another rank or score.
fn findings(then: &Json, now: &Json) -> Vec<Difference> {
    let place = |finding: &Json| format!("{}:{}-{}", finding["path"].as_str().unwrap_or("?"), finding["start_line"], finding["end_line"]);
    let listed = |list: &Json| -> Vec<(String, Json)> {
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().map(|finding| (place(finding), json!({"rank": finding["rank"], "score": finding["score"]}))).collect()
    };
    let (then, now) = (listed(then), listed(now));
    let find = |list: &[(String, Json)], place: &str| list.iter().find(|(known, _)| known == place).map(|(_, at)| at.clone());
    let mut all: Vec<Difference> = Vec::new();
    for (place, was) in &then {
        let is = find(&now, place).unwrap_or_default();
        if *was != is {
            all.push(Difference { what: format!("finding {place}"), then: was.clone(), now: is });
        }
    }
    for (place, is) in now.iter().filter(|(place, _)| find(&then, place).is_none()) {
        all.push(Difference { what: format!("finding {place}"), then: Json::Null, now: is.clone() });
    }
    let more = all.len().saturating_sub(MOVES_MAX);
    if more > 0 {
        all.truncate(MOVES_MAX);
        all.push(Difference { what: format!("{more} more findings"), then: Json::Null, now: Json::Null });
    }
    all
}

impl Comparison {
    /// The comparison for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let verdict = if self.same { "the same" } else { "another answer" };
        out += &format!("{verdict}: run {} repeated as {}\n", self.original.run_id, self.replayed.run_id);
        if self.original.envelope_sha256.is_none() {
            out += "the original has no digest of its answer: compared by what its ledger has of it\n";
        }
        let shown = |value: &Json| match value {
            Json::Null => "none".to_owned(),
            Json::String(text) => text.clone(),
            other => match (&other["rank"], &other["score"]) {
                (Json::Null, _) => other.to_string(),
                (rank, score) => format!("rank {rank}, score {score}"),
            },
        };
        for Difference { what, then, now } in &self.differences {
            match (then, now) {
                (Json::Null, Json::Null) => out += &format!("  {what}\n"),
                _ => out += &format!("  {what}: {} → {}\n", shown(then), shown(now)),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(plugin: &str, config: &str, outcome: Json) -> Vec<Json> {
        vec![
            json!({"line": "run.start", "run_id": "r", "tool": "semantic_search", "request": {"query": "q"}, "version": "1", "config_sha256": config}),
            json!({"line": "span", "attributes": {"plugin.stage": "fusion", "plugin.name": plugin, "plugin.version": "1.0.0", "plugin.sha256": "ab"}}),
            json!({"line": "span", "attributes": {"retrieval.index_generation": "g000001"}}),
            json!({"line": "run.end", "status": "ok", "outcome": outcome}),
        ]
    }

    fn finding(path: &str, rank: u32, score: f64) -> Json {
        json!({"path": path, "start_line": 1, "end_line": 9, "rank": rank, "score": score})
    }

    fn outcome(sha256: &str, findings: &[Json]) -> Json {
        json!({"envelope_sha256": sha256, "findings": findings, "degraded": [], "index": {"generation": "g000001"}})
    }

    #[track_caller]
    fn check(then: Vec<Json>, now: Vec<Json>, same: bool, expect: &[&str]) {
        let comparison = compare(&Original::of(&then), &Original::of(&now));
        assert_eq!(comparison.same, same, "{comparison:?}");
        let what: Vec<&str> = comparison.differences.iter().map(|difference| difference.what.as_str()).collect();
        assert_eq!(what, expect);
        let text = comparison.text();
        assert!(text.starts_with(if same { "the same" } else { "another answer" }), "{text}");
    }

    #[test]
    fn equal_digests_are_the_same_answer_whatever_went_in() {
        let one = outcome("s", &[finding("a", 1, 0.5)]);
        check(ledger("rrf", "c", one.clone()), ledger("rrf", "c", one.clone()), true, &[]);
        check(ledger("rrf", "c", one.clone()), ledger("other", "d", one), true, &["configuration", "plugin fusion"]);
    }

    #[test]
    fn what_differs_is_named_by_finding() {
        let then = outcome("s", &[finding("a", 1, 0.5), finding("b", 2, 0.4), finding("c", 3, 0.3), finding("e", 4, 0.1)]);
        let now = outcome("t", &[finding("b", 1, 0.4), finding("d", 2, 0.4), finding("c", 3, 0.2), finding("e", 4, 0.1)]);
        let expect = ["finding a:1-9", "finding b:1-9", "finding c:1-9", "finding d:1-9"];
        check(ledger("rrf", "c", then), ledger("rrf", "c", now), false, &expect);
        check(ledger("rrf", "c", outcome("s", &[])), ledger("rrf", "c", outcome("t", &[])), false, &["answer's texts"]);
        let many: Vec<Json> = (0..30).map(|rank| finding(&format!("f{rank}"), rank, 0.1)).collect();
        let comparison =
            compare(&Original::of(&ledger("rrf", "c", outcome("s", &many))), &Original::of(&ledger("rrf", "c", outcome("t", &[]))));
        assert_eq!(comparison.differences.last().unwrap().what, "10 more findings");
    }

    #[test]
    fn runs_without_a_digest_are_compared_by_their_ledgers() {
        let without = |findings: &[Json]| json!({"findings": findings});
        let one = without(&[finding("a", 1, 0.5)]);
        check(ledger("rrf", "c", one.clone()), ledger("rrf", "c", one.clone()), true, &[]);
        check(ledger("rrf", "c", one), ledger("rrf", "c", without(&[])), false, &["finding a:1-9"]);
    }

    #[test]
    fn what_can_not_be_repeated_says_why() {
        let check = |change: fn(&mut Vec<Json>), expect: &str| {
            let mut lines = ledger("rrf", "c", outcome("s", &[]));
            change(&mut lines);
            match Original::of(&lines).check() {
                Ok(()) => assert_eq!(expect, ""),
                Err(why) => assert!(!expect.is_empty() && why.contains(expect), "{why}"),
            }
        };
        check(|_| {}, "");
        check(|lines| lines[3]["status"] = json!("error"), "");
        check(|lines| lines[3]["status"] = json!("cancelled"), "ended as cancelled");
        check(|lines| drop(lines.pop()), "did not end");
        check(|lines| lines[0]["request"]["query"] = json!({"bytes": 3}), "was not recorded");
        check(|lines| drop(lines.remove(0)), "no line that begins");
        check(Vec::clear, "no line that begins");
    }

    #[test]
    fn a_run_is_read_out_of_its_lines() {
        let run = Original::of(&ledger("rrf", "c", outcome("s", &[])));
        assert_eq!((run.generation.as_deref(), run.config_sha256.as_deref()), (Some("g000001"), Some("c")));
        assert_eq!(run.plugins["fusion"], PluginStamp { name: "rrf".into(), version: "1.0.0".into(), sha256: "ab".into() });
    }
}
