//! Plugins that are exchanged under load: no call fails, no run mixes versions, and what
//! is refused leaves the old version serving.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value as Json, json};
use spanloom::types::Stage;

use crate::support::admin::{self, Scrape, checks, choose, plugins, reload, serving};
use crate::support::components::component;
use crate::support::mcp::{Client, Raw, raw_call};
use crate::support::otlp::{Collector, Span};
use crate::support::projects::{Language, built, with_tools};
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::{Sandbox, wait_until};

const QUERY: &str = "capacity of the token bucket release";
/// Between two exchanges of the file.
const SWAP_INTERVAL: Duration = Duration::from_millis(100);
/// Exchanges that have to have been seen.
const SWAPS: u64 = 40;
/// No time runs out, however busy the machine is: what is degraded is so for another reason.
const PATIENT: &str = "[plugins.limits]\ncall_ms_max = 20000\nsetup_ms_max = 20000\n\
     [search]\ndeadline_ms = 60000\nembed_deadline_ms = 20000\nchannel_deadline_ms = 20000\n";

/// A server whose fusion is a file that can be exchanged.
struct Swapping {
    sandbox: Sandbox,
    collector: Collector,
    file: PathBuf,
}

impl Swapping {
    /// With version 1.0.0 in the file; `fusion` are lines below `[plugins.fusion]`, `more`
    /// other sections.
    async fn new(fusion: &str, more: &str) -> Swapping {
        let collector = Collector::start().await;
        let sandbox = Sandbox::new();
        sandbox.index(&Repo::sample());
        let file = sandbox.path("fusion.wasm");
        let config = format!(
            "[telemetry]\notlp_endpoint = \"{}\"\n[plugins.fusion]\npath = \"{}\"\n{fusion}\n{more}",
            collector.http,
            file.display()
        );
        let swapping = Swapping { sandbox: sandbox.with_config(&config), collector, file };
        swapping.put("version_a");
        swapping
    }

    /// Puts a component in the place of the file, in one step.
    fn put(&self, example: &str) {
        self.put_bytes(&std::fs::read(component(example)).expect("it was built"));
    }

    fn put_bytes(&self, bytes: &[u8]) {
        put(&self.file, bytes);
    }

    /// The check of the file in `/readyz`: there is one when the file is refused.
    async fn refusal(&self, server: &Server) -> Option<(bool, String)> {
        checks(server).await.remove(&format!("plugin file {}", self.file.display()))
    }
}

fn put(file: &Path, bytes: &[u8]) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, bytes).expect("a file");
    std::fs::rename(&beside, file).expect("a renamed file");
}

async fn search(server: &Server, arguments: Json) -> Raw {
    raw_call(server, "semantic_search_pro", arguments, &[], json!({})).await
}

/// The version that a search was fused with, by its own word.
async fn version(swapping: &Swapping, server: &Server) -> String {
    let raw = search(server, json!({"query": QUERY})).await;
    assert_eq!(raw.envelope().degraded, []);
    let versions = fused_with(&swapping.sandbox.ledger(raw.header("x-run-id")));
    let (_, version) = versions.first().expect("it was fused").clone();
    assert_eq!(versions.len(), 1, "{versions:?}");
    version
}

/// Sha-256 and version of every fusion of a run; what the host says and what the guest
/// says on its span and in its event has to be the same.
#[track_caller]
fn fused_with(lines: &[Json]) -> BTreeSet<(String, String)> {
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let spans = lines.iter().filter(|line| line["line"] == "span" && line["name"] == "retrieval.fuse");
    spans
        .map(|span| {
            let attributes = &span["attributes"];
            let version = text(&attributes["plugin.version"]);
            assert_eq!(attributes["swapped.version"], attributes["plugin.version"], "{span}");
            let told =
                lines.iter().find(|line| line["line"] == "event" && line["name"] == "swapped.fused" && line["span_id"] == span["span_id"]);
            assert_eq!(told.map(|event| text(&event["attributes"]["swapped.version"])).as_deref(), Some(&*version), "{span}");
            (text(&attributes["plugin.sha256"]), version)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_exchanged_under_load() {
    let swapping = Swapping::new("", PATIENT).await;
    let server = Arc::new(Server::start(&swapping.sandbox));
    let before = plugins(&server).await["revision"].as_u64().expect("a number");
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (server, stop) = (server.clone(), stop.clone());
        clients.spawn(async move {
            let client = Client::connect(&server).await;
            let mut runs = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let explain = (runs.len() + number) % 4 == 0;
                let answer = client.search(json!({"query": QUERY, "explain": explain})).await;
                assert_eq!((&answer.degraded[..], &answer.warnings[..]), (&[][..], &[][..]));
                assert!(!answer.findings.is_empty());
                let stamp = answer.explanation.map(|explanation| explanation.plugins[&spanloom::types::Stage::Fusion].sha256.clone());
                runs.push((answer.observability.run_id, explain, stamp));
            }
            runs
        });
    }
    let mut exchanged = 0_u64;
    let mut ticks = tokio::time::interval(SWAP_INTERVAL);
    while plugins(&server).await["revision"].as_u64().expect("a number") < before + SWAPS {
        ticks.tick().await;
        exchanged += 1;
        swapping.put(if exchanged % 2 == 1 { "version_b" } else { "version_a" });
        let answer = reload(&server).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(exchanged < 10 * SWAPS, "the server does not notice");
    }
    stop.store(true, Ordering::Relaxed);
    let mut runs = Vec::new();
    while let Some(ended) = clients.join_next().await {
        runs.extend(ended.expect("every call was answered"));
    }

    let mut versions = BTreeMap::new();
    for (run_id, explained, stamp) in &runs {
        let lines = swapping.sandbox.ledger(run_id);
        let fusions = lines.iter().filter(|line| line["line"] == "span" && line["name"] == "retrieval.fuse").count();
        assert!(if *explained { fusions > 1 } else { fusions == 1 }, "{run_id}: {fusions} fusions");
        let with = fused_with(&lines);
        assert_eq!(with.len(), 1, "{run_id} mixes versions: {with:?}");
        let (sha256, version) = with.into_iter().next().expect("there is one");
        assert!(stamp.as_ref().is_none_or(|stamp| *stamp == sha256), "{run_id}: the answer says {stamp:?}, the ledger {sha256}");
        *versions.entry(version).or_insert(0_u64) += 1;
    }
    assert_eq!(versions.keys().collect::<Vec<_>>(), ["1.0.0", "2.0.0"], "{versions:?} in {} runs", runs.len());
    let scrape = Scrape::of(&server).await;
    assert!(scrape.count("plugin_loads_total", &[("outcome", "switched")]) >= SWAPS);
    assert_eq!(scrape.count("plugin_loads_total", &[("outcome", "refused")]), 0);
    check_drains(&swapping.collector, runs.len()).await;
}

/// Whatever was fused with a version was so before the version was drained.
async fn check_drains(collector: &Collector, runs: usize) {
    let named = |name: &str| -> Vec<Span> { collector.spans().into_iter().filter(|span| span.name == name).collect() };
    wait_until("the spans of all runs", async || {
        let traces: BTreeSet<String> = named("tools/call semantic_search_pro").into_iter().map(|span| span.trace_id).collect();
        (traces.len() >= runs).then_some(())
    })
    .await;
    // Each exchange has both below its own `plugin.load`.
    let switches = named("plugin.switch");
    let drains: Vec<(u64, u64, Json)> = named("plugin.drain")
        .into_iter()
        .map(|drain| {
            let switch = switches.iter().find(|switch| switch.parent == drain.parent).expect("what is drained was switched");
            assert!(drain.start_ns >= switch.start_ns);
            (switch.start_ns, drain.end_ns, drain.attributes["plugin.sha256"].clone())
        })
        .collect();
    assert!(drains.len() as u64 >= SWAPS, "{} drains", drains.len());
    for fusion in named("retrieval.fuse") {
        let sha256 = &fusion.attributes["plugin.sha256"];
        // It used the version before the next switch, or an older one of the same digest.
        let next = switches.iter().map(|switch| switch.start_ns).filter(|start| *start > fusion.start_ns).min();
        let Some(next) = next else { continue };
        let ends = drains.iter().filter(|(switch, _, of)| *switch <= next && of == sha256).map(|(_, end, _)| *end);
        let last = ends.max();
        assert!(last.is_some_and(|end| end >= fusion.end_ns), "fused until {} with a version drained at {last:?}", fusion.end_ns);
    }
}

/// A run that takes its time keeps its version, and that version stays until the run ends.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_is_drained_when_its_last_run_ends() {
    let slow =
        format!("[[plugins.extra]]\nstage = \"rerank\"\npath = \"{}\"\nlimits = {{ call_ms_max = 6000 }}\n", component("rerank").display());
    let swapping = Swapping::new("", &slow).await;
    let server = Arc::new(Server::start(&swapping.sandbox));
    let running = tokio::spawn({
        let server = server.clone();
        let arguments = json!({"query": QUERY, "rerank": {"plugin": "hostile", "parameters": {"mode": "spin"}}});
        async move { search(&server, arguments).await }
    });
    let fused = |span: &Span| span.name == "retrieval.fuse" && span.attributes.contains_key("swapped.version");
    let fusion = wait_until("the slow run's fusion", async || collector_span(&swapping.collector, fused)).await;
    swapping.put("version_b");
    assert_eq!(reload(&server).await.status, 200);
    assert_eq!(version(&swapping, &server).await, "2.0.0");
    assert!(!running.is_finished(), "the old run goes on beside");
    assert!(collector_span(&swapping.collector, |span| span.name == "plugin.drain").is_none());

    let raw = running.await.expect("an answer");
    assert_eq!(fused_with(&swapping.sandbox.ledger(raw.header("x-run-id"))).into_iter().next().expect("it was fused").1, "1.0.0");
    let trace = swapping.collector.trace(raw.header("x-trace-id")).await;
    let drain = wait_until("the drain", async || collector_span(&swapping.collector, |span| span.name == "plugin.drain")).await;
    assert_eq!(drain.attributes["plugin.sha256"], fusion.attributes["plugin.sha256"]);
    let rerank = trace.span("retrieval.rerank");
    assert!(drain.start_ns < rerank.end_ns && drain.end_ns >= rerank.end_ns, "{drain:?} of {rerank:?}");
}

fn collector_span(collector: &Collector, wanted: impl Fn(&Span) -> bool) -> Option<Span> {
    collector.spans().into_iter().find(wanted)
}

/// A refusal: what is put in the file, `None` for nothing at all; the class; words.
type Refused = (Option<Vec<u8>>, &'static str, &'static str);

/// Every refusal leaves version 1.0.0 serving and is told everywhere; a good file ends it.
async fn check_refusals(swapping: &Swapping, refused: Vec<Refused>) {
    let server = Server::start(&swapping.sandbox);
    assert_eq!(version(swapping, &server).await, "1.0.0");
    for (bytes, class, part) in refused {
        match &bytes {
            Some(bytes) => swapping.put_bytes(bytes),
            None => std::fs::remove_file(&swapping.file).expect("it was there"),
        }
        let file = swapping.file.display().to_string();
        let answer = reload(&server).await;
        assert_eq!(answer.status, 409, "{class}: {}", answer.body);
        let told = &answer.body["refused"][0];
        assert_eq!((&told["source"], &told["class"]), (&json!(file), &json!(class)), "{part}: {told}");
        for _ in 0..3 {
            assert_eq!(version(swapping, &server).await, "1.0.0", "{class}");
        }
        let (ok, words) = swapping.refusal(&server).await.unwrap_or_else(|| panic!("{class} is not in /readyz"));
        assert!(!ok && words.contains(part) && words.contains("the version before it goes on serving"), "{class}: {words}");
        wait_until("the log", async || server.said().lines().any(|line| line.contains(&file) && line.contains(part)).then_some(())).await;
        let failed = |span: &Span| {
            let [of, source] = ["error.type", "plugin.source"].map(|key| span.attributes.get(key));
            span.name == "plugin.load" && span.failed && of == Some(&json!(class)) && source == Some(&json!(file))
        };
        wait_until(&format!("the span of {class}"), async || collector_span(&swapping.collector, failed)).await;

        // Also without being told to look.
        swapping.put("version_a");
        wait_until("the refusal to go", async || swapping.refusal(&server).await.is_none().then_some(())).await;
        assert_eq!(reload(&server).await.status, 200);
        assert_eq!(version(swapping, &server).await, "1.0.0");
    }
    assert!(Scrape::of(&server).await.count("plugin_loads_total", &[("outcome", "refused")]) > 0);
}

fn bytes(example: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(component(example)).expect("it was built"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_the_old_version_serves() {
    let swapping = Swapping::new("parameters = { note = \"for version 1\" }", "").await;
    check_refusals(
        &swapping,
        vec![
            (Some(b"This is a text file.\n".to_vec()), "not_a_component", "is no WebAssembly component"),
            (Some(Vec::new()), "not_a_component", "is no WebAssembly component"),
            (bytes("gate"), "wrong_world", "this host asks a fusion plugin for"),
            (bytes("describe_traps"), "describe", "`describe` failed: trap.unreachable"),
            (bytes("describe_spins"), "describe", "`describe` failed: deadline"),
            (bytes("describe_garbage"), "describe", "is not JSON"),
            (bytes("version_strict"), "configure", "version 3.0.0 takes no parameters"),
            (bytes("version_broken"), "self_test", "bad_output"),
            (None, "read", "can't be read"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn golden_cases_have_to_pass() {
    let swapping = Swapping::new("cases = \"cases\"", "").await;
    let cases = swapping.sandbox.path("cases");
    std::fs::create_dir(&cases).expect("a folder");
    let case = json!({
        "schema": 1, "stage": "fusion", "name": "one run by the constant of version 1.0.0",
        "input": {"rrf_k": 60, "runs": [{"channel": "bm25", "weight": 1, "ids": [7, 9], "scores": [2.0, 1.0]}]},
        "expect": {"output": {"ids": [7, 9], "scores": [1.0 / 61.0, 1.0 / 62.0]}},
    });
    std::fs::write(cases.join("one-run.json"), case.to_string()).expect("a case");
    check_refusals(&swapping, vec![(bytes("version_b"), "self_test", "one-run.json")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_component_is_the_only_one_that_serves() {
    let digest = |example: &str| {
        let path = component(example);
        let inspected = Sandbox::new().json(&["plugin", "inspect", "--json", path.to_str().expect("a path that is UTF-8")]);
        inspected["sha256"].as_str().expect("a digest").to_owned()
    };
    let (pinned, other) = (digest("version_a"), digest("version_b"));
    let swapping = Swapping::new(&format!("sha256 = \"{}\"", pinned.to_uppercase()), "").await;
    check_refusals(&swapping, vec![(bytes("version_b"), "pin", "is not the pinned component")]).await;

    // Choosing it by name does not get around the pin.
    let server = Server::start(&swapping.sandbox);
    assert_eq!(choose(&server, "fusion", json!({"plugin": "swapped", "parameters": {"a": 1}})).await.status, 200);
    swapping.put("version_b");
    assert_eq!(reload(&server).await.status, 409);
    let refused = choose(&server, "fusion", json!({"plugin": "swapped", "sha256": other})).await;
    assert_eq!((refused.status, &refused.body["class"]), (409, &json!("pin")), "{}", refused.body);
    assert_eq!(version(&swapping, &server).await, "1.0.0");
    drop(server);

    // Nor does starting anew.
    swapping
        .sandbox
        .run(&["serve", "--bind", "127.0.0.1:0", "--metrics-bind", "127.0.0.1:0"])
        .check(1, &["is not the pinned component", &other]);
}

#[tokio::test(flavor = "multi_thread")]
async fn components_of_the_folder_can_be_chosen() {
    let collector = Collector::start().await;
    let sandbox =
        Sandbox::new().with_config(&format!("[telemetry]\notlp_endpoint = \"{}\"\n[plugins]\nfolder = \"plugins\"\n", collector.http));
    sandbox.index(&Repo::sample());
    let folder = sandbox.path("plugins");
    std::fs::create_dir(&folder).expect("a folder");
    let file = folder.join("swapped.wasm");
    let server = Server::start(&sandbox);
    let rrf = ("fusion-rrf".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let is = |name: &str, version: &str| (name.to_owned(), version.to_owned());
    let knows = async |name: &str| {
        let state = plugins(&server).await;
        state["plugins"].as_array().expect("a list").iter().any(|plugin| plugin["name"] == name).then_some(())
    };
    let unknown = choose(&server, "fusion", json!({"plugin": "swapped"})).await;
    assert_eq!((unknown.status, &unknown.body["class"]), (404, &json!("unknown_plugin")), "{}", unknown.body);
    assert_eq!(choose(&server, "judge", json!({"plugin": "swapped"})).await.status, 404);
    for body in [json!({}), json!({"plugin": 7}), json!({"plugin": "swapped", "speed": "high"})] {
        assert!((400..500).contains(&choose(&server, "fusion", body).await.status));
    }

    // A new file is there by its name, for requests too; it serves when somebody says so.
    put(&file, &bytes("version_strict").expect("bytes"));
    wait_until("the new component", async || knows("swapped").await).await;
    assert_eq!(serving(&server, "fusion").await, rrf);
    let named = search(&server, json!({"query": QUERY, "fusion": {"plugin": "swapped"}})).await;
    assert_eq!(named.envelope().degraded, []);
    let refused = choose(&server, "fusion", json!({"plugin": "swapped", "parameters": {"a": 1}})).await;
    assert_eq!((refused.status, &refused.body["class"]), (409, &json!("configure")), "{}", refused.body);
    assert_eq!(serving(&server, "fusion").await, rrf);
    assert_eq!(choose(&server, "gate", json!({"plugin": "swapped"})).await.status, 404);
    let chosen = choose(&server, "fusion", json!({"plugin": "swapped"})).await;
    assert_eq!(chosen.status, 200, "{}", chosen.body);
    assert_eq!(serving(&server, "fusion").await, is("swapped", "3.0.0"));

    // A new version of the file takes its place; with parameters when it is told to.
    put(&file, &bytes("version_b").expect("bytes"));
    wait_until("the new version", async || (serving(&server, "fusion").await == is("swapped", "2.0.0")).then_some(())).await;
    assert_eq!(choose(&server, "fusion", json!({"plugin": "swapped", "parameters": {"a": 1}})).await.status, 200);
    // Another file of the same name is left out, and said to be.
    let twin = folder.join("twin.wasm");
    put(&twin, &bytes("version_a").expect("bytes"));
    let key = "plugin file plugins/twin.wasm";
    let words = wait_until("the refusal", async || checks(&server).await.remove(key)).await.1;
    assert!(words.contains("calls itself `swapped`"), "{words}");
    std::fs::remove_file(&twin).expect("it was there");
    wait_until("the refusal to go", async || (!checks(&server).await.contains_key(key)).then_some(())).await;

    // Without its file it goes on, until something else is chosen.
    std::fs::remove_file(&file).expect("it was there");
    assert_eq!(reload(&server).await.status, 200);
    assert_eq!(serving(&server, "fusion").await, is("swapped", "2.0.0"));
    assert_eq!(search(&server, json!({"query": QUERY})).await.envelope().degraded, []);
    assert_eq!(choose(&server, "fusion", json!({"plugin": "fusion-rrf"})).await.status, 200);
    assert_eq!(serving(&server, "fusion").await, rrf);
    wait_until("it to be forgotten", async || knows("swapped").await.is_none().then_some(())).await;

    // A file that is renamed keeps its plugin.
    put(&file, &bytes("version_a").expect("bytes"));
    wait_until("it to be back", async || knows("swapped").await).await;
    std::fs::rename(&file, folder.join("another.wasm")).expect("a renamed file");
    assert_eq!(reload(&server).await.status, 200);
    assert_eq!((knows("swapped").await, checks(&server).await.keys().any(|name| name.starts_with("plugin file"))), (Some(()), false));
}

/// What the configuration grants a plugin and asks of it holds whoever chose it last.
#[tokio::test(flavor = "multi_thread")]
async fn a_choice_does_not_change_the_terms() {
    let config = format!(
        "[plugins.rerank]\nplugin = \"hostile\"\ngrants = [\"documents\"]\n[[plugins.extra]]\nstage = \"rerank\"\npath = \"{}\"\n",
        component("rerank").display()
    );
    let sandbox = Sandbox::new().with_config(&config);
    sandbox.index(&Repo::sample());
    let server = Server::start(&sandbox);
    let causes =
        async || search(&server, json!({"query": QUERY})).await.envelope().degraded.into_iter().map(|part| part.cause).collect::<Vec<_>>();
    for (plugin, parameters) in
        [("hostile", json!({"mode": "asks_texts"})), ("rerank-code", json!({})), ("hostile", json!({"mode": "asks_facts"}))]
    {
        let answer = choose(&server, "rerank", json!({"plugin": plugin, "parameters": parameters})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!((serving(&server, "rerank").await.0.as_str(), causes().await), (plugin, vec![]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_door_is_for_the_operator() {
    let sandbox = Sandbox::indexed(&Repo::sample());
    let server = Server::start(&sandbox);
    let status = async |server: &Server, headers: &[(&str, &str)]| {
        let listed = admin::ask(server, Method::GET, "", None, headers).await.status;
        assert_eq!(admin::ask(server, Method::POST, "/reload", None, headers).await.status, listed, "{headers:?}");
        assert_eq!(
            admin::ask(server, Method::POST, "/fusion", Some(json!({"plugin": "fusion-rrf"})), headers).await.status,
            listed,
            "{headers:?}"
        );
        listed
    };
    for (headers, expect) in [
        (&[][..], 200),
        (&[("origin", "http://localhost:3000")], 200),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("host", "evil.example")], 403),
        (&[("host", "evil.example"), ("origin", "http://localhost")], 403),
    ] {
        assert_eq!(status(&server, headers).await, expect, "{headers:?}");
    }
    drop(server);

    // With a token it is the token that counts, wherever it comes from.
    let sandbox = sandbox.with_config("[server]\nadmin_token_variable = \"ADMIN_TOKEN\"\n").with_variable("ADMIN_TOKEN", "open sesame");
    let server = Server::start(&sandbox);
    for (value, expect) in [
        (None, 401),
        (Some("Bearer open sesam"), 401),
        (Some("Bearer open sesamE"), 401),
        (Some("Bearer "), 401),
        (Some("Basic open sesame"), 401),
        (Some("open sesame"), 401),
        (Some("Bearer open sesame"), 200),
    ] {
        let headers: Vec<(&str, &str)> = value.map(|value| ("authorization", value)).into_iter().collect();
        assert_eq!(status(&server, &headers).await, expect, "{value:?}");
    }
    let both = [("authorization", "Bearer open sesame"), ("origin", "https://evil.example")];
    assert_eq!(status(&server, &both).await, 403);
    assert!(!server.said().contains("sesame"));
    drop(server);
    // A token that is not set is no open door.
    let sandbox = sandbox.with_variable("ADMIN_TOKEN", "");
    sandbox.run(&["serve", "--bind", "127.0.0.1:0", "--metrics-bind", "127.0.0.1:0"]).check(2, &["`ADMIN_TOKEN`, which is not set"]);
}

/// Without a token only this machine's own callers are answered; an address of this
/// machine that others can reach too is none of those.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_admin_door_is_for_this_machine() {
    // No packet is sent: this only asks which address would be used.
    let outward =
        std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()));
    let Some(address) = outward.ok().map(|address| address.ip()).filter(|address| !address.is_loopback()) else {
        eprintln!("this machine has no address besides loopback: left out");
        return;
    };
    let sandbox = Sandbox::indexed(&Repo::sample()).with_config(&format!("[server]\nallowed_hosts = [\"{address}\"]\n"));
    let mut server = Server::start_at(&sandbox, "0.0.0.0:0");
    let base = server.base.clone();
    for (host, expect) in [("127.0.0.1".to_owned(), 200), (address.to_string(), 403)] {
        server.base = base.replace("0.0.0.0", &host);
        for forged in [&[][..], &[("x-forwarded-for", "127.0.0.1")], &[("forwarded", "for=127.0.0.1")]] {
            // Behind a proxy the peer says nothing about who asks.
            let expect = if forged.is_empty() { expect } else { 403 };
            let answer = admin::ask(&server, Method::GET, "", None, forged).await;
            assert_eq!(answer.status, expect, "{host} {forged:?}: {}", answer.body);
            assert!(expect == 200 || answer.body["error"].as_str().is_some_and(|words| words.contains("callers of this machine only")));
        }
    }
}

/// In the folder alone it has no grants and would fail its self-test.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_names_a_plugin_of_the_folder_grants_it_what_it_needs() {
    let mut sandbox = with_tools(Sandbox::indexed(&Repo::sample()));
    let component = built(&sandbox, "folder-rerank", "rerank", Language::Rust);
    let folder = sandbox.path("plugins");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::copy(&component, folder.join("folder-rerank.wasm")).expect("a copy");
    let named = "[plugins]\nfolder = \"plugins\"\n[plugins.rerank]\nplugin = \"folder-rerank\"\n";

    sandbox.set_config(named);
    sandbox.run(&["plugin", "list"]).check(1, &["`documents` is not granted"]);
    sandbox.set_config(&format!("{named}grants = [\"documents\"]\n"));
    sandbox.run(&["plugin", "list"]).check(0, &["folder-rerank.wasm (active)"]);
    let server = Server::start(&sandbox);
    let answer = Client::connect(&server).await.search(json!({"query": QUERY, "explain": true})).await;
    assert_eq!(answer.degraded, []);
    assert_eq!(answer.explanation.expect("asked for").plugins[&Stage::Rerank].name, "folder-rerank");
}
