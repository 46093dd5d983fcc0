//! A population of sessions that searches, clicks and reports, while the server is killed
//! in the middle: the report finds the better fusion, and nothing acknowledged is missing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};
use spanloom::envelope::AnswerEnvelope;

use crate::authoring::example_copy;
use crate::experiments::{journal, write};
use crate::support::Sandbox;
use crate::support::mcp::{raw_call, raw_request_by};
use crate::support::projects::{Language, with_tools};
use crate::support::repo::Repo;
use crate::support::server::Server;

const SESSIONS: usize = 5_000;
/// Sessions at once.
const CLIENTS: usize = 4;
/// How likely a reader goes on to the next finding.
const GOES_ON: f64 = 0.8;
/// How likely a reader uses what was looked for, once it is seen, and anything else.
const USES: [f64; 2] = [0.7, 0.05];

/// Files about one thing each, in words that overlap.
fn corpus() -> Repo {
    let repo = Repo::empty("population");
    let (verbs, nouns, places) = (
        ["parse", "encode", "merge", "retry", "rotate", "cache"],
        ["token", "packet", "ledger", "index", "window", "bucket"],
        ["disk", "network", "memory", "queue", "archive"],
    );
    for verb in verbs {
        for noun in nouns {
            let mut text = String::new();
            for place in places {
                text += &format!(
                    "/// {verb} the {noun} that comes from the {place}; the {noun} is {verb}d once and kept for the {place}.\n\
                     pub fn {verb}_{noun}_{place}({noun}: &str) -> usize {{\n    let {place} = {noun}.len();\n    {place} + {}\n}}\n\n",
                    verb.len()
                );
            }
            repo.write(&format!("src/{verb}_{noun}.rs"), &text);
        }
    }
    repo.commit("All of it");
    repo
}

fn queries() -> Vec<String> {
    let mut queries = Vec::new();
    for verb in ["parse", "encode", "merge", "retry", "rotate", "cache"] {
        for (noun, place) in [("token", "network"), ("packet", "archive"), ("ledger", "disk"), ("window", "queue")] {
            queries.push(format!("where is a {noun} from the {place} {verb}d and kept"));
        }
    }
    queries
}

/// The example's component, built; its path.
pub fn fusion_dbsf(name: &str) -> PathBuf {
    let project = example_copy(Language::Rust, name);
    with_tools(Sandbox::new()).run(&["plugin", "build", project.to_str().expect("text")]).check(0, &[]);
    let built = std::fs::read_dir(project.join("build")).expect("a component").flatten().map(|file| file.path());
    built.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "wasm")).expect("a component")
}

/// What the command line says a component's digest is.
pub fn sha256(sandbox: &Sandbox, plugin: &str) -> String {
    let told = sandbox.json(&["plugin", "inspect", "--json", plugin]);
    told["sha256"].as_str().unwrap_or_else(|| panic!("no digest in {told}")).to_owned()
}

pub fn extra(component: &Path) -> String {
    format!("[[plugins.extra]]\nstage = \"fusion\"\npath = \"{}\"\n", component.display())
}

/// What a client knows of a session when it ends.
#[derive(Default)]
struct Known {
    /// Runs whose answer came.
    runs: BTreeSet<String>,
    /// Findings whose use was acknowledged: run and chunk.
    used: BTreeSet<(String, u64)>,
}

/// One session: a query, a look down the list, and what was of use.
async fn session(
    client: &reqwest::Client,
    server: &Server,
    number: usize,
    wanted: &[(String, u64)],
    known: &mut Known,
) -> Result<(), reqwest::Error> {
    let mut random = ChaCha8Rng::seed_from_u64(number as u64);
    let (query, wanted) = &wanted[number % wanted.len()];
    let id = format!("session-{number}");
    let header = [("x-session-id", id.as_str())];
    let asked = raw_request_by(client, server, "semantic_search", json!({"query": query}), &header, json!({})).send().await?;
    let run = asked.headers()["x-run-id"].to_str().expect("an id").to_owned();
    let body: Json = asked.json().await?;
    let Ok(answer) = serde_json::from_value::<AnswerEnvelope>(body["result"]["structuredContent"].clone()) else { return Ok(()) };
    known.runs.insert(run.clone());
    let mut used = Vec::new();
    for finding in &answer.findings {
        let likes = USES[usize::from(finding.chunk_id.0 != *wanted)];
        if random.random_bool(likes) {
            used.push(finding.chunk_id.0);
        }
        if !random.random_bool(GOES_ON) {
            break;
        }
    }
    if used.is_empty() {
        return Ok(());
    }
    let feedback = json!({"run_id": run, "chunk_ids": used, "kind": "used"});
    let told: Json = raw_request_by(client, server, "report_feedback", feedback, &header, json!({})).send().await?.json().await?;
    if told["result"]["structuredContent"]["accepted"].is_u64() {
        known.used.extend(used.into_iter().map(|chunk| (run.clone(), chunk)));
    }
    Ok(())
}

/// Sessions of a range, several at once; those that fail are left, as their clients are
/// when the server dies. Ends the server by `kill -9` after `kill_after` of them.
async fn populate(server: Server, sessions: std::ops::Range<usize>, kill_after: Option<usize>, wanted: &Arc<Vec<(String, u64)>>) -> Known {
    let server = Arc::new(server);
    let next = Arc::new(AtomicUsize::new(sessions.start));
    let done = Arc::new(AtomicUsize::new(0));
    let readers = (0..CLIENTS).map(|_| {
        let (server, next, done, wanted, end) = (server.clone(), next.clone(), done.clone(), wanted.clone(), sessions.end);
        tokio::spawn(async move {
            let (client, mut known) = (reqwest::Client::new(), Known::default());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end || session(&client, &server, number, &wanted, &mut known).await.is_err() {
                    return known;
                }
                // In the middle of what the others are about.
                if Some(done.fetch_add(1, Ordering::Relaxed) + 1) == kill_after {
                    server.kill_now();
                }
            }
        })
    });
    let mut all = Known::default();
    for reader in readers.collect::<Vec<_>>() {
        let known = reader.await.expect("a reader");
        all.runs.extend(known.runs);
        all.used.extend(known.used);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_population_prefers_the_better_fusion_and_loses_nothing() {
    let component = fusion_dbsf("population");
    let sandbox = Sandbox::new().with_config(&format!("[search]\nrerank = false\n{}", extra(&component)));
    sandbox.index(&corpus());
    let (rrf, dbsf) = (sha256(&sandbox, "fusion-rrf"), sha256(&sandbox, component.to_str().expect("text")));

    // People want what the one ranks higher than the other.
    let server = Server::start(&sandbox);
    let mut wanted = Vec::new();
    for query in queries() {
        let mut ranks = Vec::new();
        for plugin in ["fusion-rrf", "fusion-dbsf"] {
            let arguments = json!({"query": query, "fusion": {"plugin": plugin}});
            let answer = raw_call(&server, "semantic_search_pro", arguments, &[], json!({})).await.envelope();
            ranks.push(answer.findings.iter().map(|finding| (finding.chunk_id.0, f64::from(finding.rank))).collect::<HashMap<_, _>>());
        }
        let gain = |chunk: &u64| 1.0 / ranks[1][chunk] - ranks[0].get(chunk).map_or(0.0, |rank| 1.0 / rank);
        let best = ranks[1].keys().max_by(|one, other| gain(one).total_cmp(&gain(other))).expect("a finding");
        if gain(best) > 0.1 {
            wanted.push((query, *best));
        }
    }
    assert!(wanted.len() >= 3, "only {} queries tell the two apart", wanted.len());
    drop(server);
    let wanted = Arc::new(wanted);

    write(
        &sandbox,
        "fusion.toml",
        &format!(
            r#"
id = "fusion"
version = 1
state = "running"
mode = "ab"
owner = "search"
hypothesis = "Scores say more than ranks."
[[arms]]
key = "rrf"
plugins.fusion = {{ plugin = "fusion-rrf", sha256 = "{rrf}" }}
[[arms]]
key = "dbsf"
plugins.fusion = {{ plugin = "fusion-dbsf", sha256 = "{dbsf}" }}
[metrics]
primary = "reciprocal_rank"
secondary = ["success"]
[stop]
units_min = 1000
"#
        ),
    );
    let half = SESSIONS / 2;
    // Who is in the middle of something when the server dies comes no more.
    let before = populate(Server::start(&sandbox), 0..SESSIONS, Some(half), &wanted).await;
    assert!(before.runs.len() >= half && before.runs.len() < half + 2 * CLIENTS, "{}", before.runs.len());
    let after = populate(Server::start(&sandbox), half + 2 * CLIENTS..SESSIONS, None, &wanted).await;
    assert_eq!(after.runs.len(), SESSIONS - half - 2 * CLIENTS);

    let events = journal(&sandbox);
    let runs: BTreeSet<&str> = of(&events, "search").filter_map(|event| event["query_id"].as_str()).collect();
    let used: BTreeSet<(String, u64)> = of(&events, "used")
        .map(|event| {
            (event["query_id"].as_str().unwrap_or("").to_owned(), event["event_attributes"]["object"]["object_id"].as_u64().unwrap_or(0))
        })
        .collect();
    for known in [&before, &after] {
        let lost: Vec<&String> = known.runs.iter().filter(|run| !runs.contains(run.as_str())).collect();
        assert!(lost.is_empty(), "{} searches were answered and are not in the journal", lost.len());
        let lost: Vec<_> = known.used.difference(&used).collect();
        assert!(lost.is_empty(), "{} were acknowledged and are not in the journal", lost.len());
    }

    let report = sandbox.json(&["experiment", "report", "fusion", "--format", "json"]);
    let primary = &report["comparisons"][0];
    let told = report["verdict"].to_string();
    assert!(report["sample_ratio"]["p"].as_f64() > Some(0.001), "{}", report["sample_ratio"]);
    assert_eq!((&primary["arm"], &primary["metric"]), (&json!("dbsf"), &json!("reciprocal_rank")), "{primary}");
    assert!(primary["difference"].as_f64() > Some(0.0), "{primary}");
    assert!(told.contains("better") && told.contains("dbsf"), "{told}");

    // Whoever asks DuckDB as the page says gets the same units.
    let counted = by_duckdb(&sandbox);
    let reported: BTreeMap<String, u64> = report["arms"]
        .as_array()
        .expect("arms")
        .iter()
        .map(|arm| (arm["arm"].as_str().or(arm["key"].as_str()).unwrap_or("").to_owned(), arm["units"].as_u64().unwrap_or(0)))
        .collect();
    assert_eq!(counted, reported);
}

fn of<'a>(events: &'a [Json], action: &'a str) -> impl Iterator<Item = &'a Json> {
    events.iter().filter(move |event| event["action_name"] == action)
}

/// Units by arm, by the statements of the page.
fn by_duckdb(sandbox: &Sandbox) -> BTreeMap<String, u64> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/experiments.md")).expect("the page");
    let sql = page.split("```sql").nth(1).and_then(|rest| rest.split("```").next()).expect("SQL");
    let folder = sandbox.data().join("experiments");
    let sql = sql.replace(".spanloom/experiments", folder.to_str().expect("text")).replace("'rrf-k'", "'fusion'");
    let database = duckdb::Connection::open_in_memory().expect("DuckDB");
    let mut units = BTreeMap::new();
    for statement in sql.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        let query = statement.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
        if query.trim_start().starts_with("CREATE") {
            database.execute_batch(&query).unwrap_or_else(|error| panic!("{error}: {query}"));
            continue;
        }
        let mut prepared = database.prepare(&query).unwrap_or_else(|error| panic!("{error}: {query}"));
        let mut rows = prepared.query([]).unwrap_or_else(|error| panic!("{error}: {query}"));
        let mut found = 0;
        while let Some(row) = rows.next().expect("a row") {
            found += 1;
            if query.contains("AS success") && query.contains("deviation FROM units") {
                units.insert(row.get::<_, String>(0).expect("an arm"), row.get::<_, i64>(1).expect("units") as u64);
            }
        }
        assert!(found > 0, "nothing comes of {query}");
    }
    units
}
