//! What telemetry costs a search: real servers over one index, asked in turn.
//!
//! `off` has the SDK disabled and no ledgers. `sent` writes every run down and sends it
//! to a collector in this process. `hanging` does the same, and its collector takes
//! connections and never answers. One client asks all three each query, in an order that
//! changes with each, so that whatever else the machine does falls on all alike.
//!
//! `SPANLOOM_BENCH_CORPUS=path` measures on another folder than this repository,
//! `SPANLOOM_BENCH_QUERIES=n` asks another number of queries.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;

/// Queries asked of each server after warm-up.
const QUERIES: usize = 1_000;
const WARM_UP_QUERIES: usize = 100;
const QUERY_WORDS: std::ops::RangeInclusive<usize> = 2..=5;
/// Files that words are taken from.
const FILES_MAX: usize = 2_000;
/// How much longer the median search may take with telemetry than without.
const RATIO_MAX: f64 = 1.05;
/// Each order in which three can be asked.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2]];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let corpus = std::env::var_os("SPANLOOM_BENCH_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned(), PathBuf::from);
    let count =
        std::env::var("SPANLOOM_BENCH_QUERIES").ok().map_or(QUERIES, |text| text.parse().expect("SPANLOOM_BENCH_QUERIES is a number"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let indexed = program(&data, folder.path()).arg("index").arg(&corpus).stderr(Stdio::null()).status().expect("the program starts");
    assert!(indexed.success(), "{} can't be indexed", corpus.display());
    let mut queries = queries(&corpus, count + WARM_UP_QUERIES);
    let warm_up = queries.split_off(count);

    let collector = Collector::start().await;
    // Its backlog takes the connections; nobody ever reads.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = |address: SocketAddr| format!("http://{address}");
    let export = |address| vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint(address))];
    let servers = [
        Server::start(folder.path(), &data, "off", "[telemetry]\nledger = false\n", &[("OTEL_SDK_DISABLED", "true".into())]),
        Server::start(folder.path(), &data, "sent", "", &export(collector.address)),
        Server::start(folder.path(), &data, "hanging", "", &export(silent.local_addr().expect("its address"))),
    ];
    let client = reqwest::Client::new();
    for query in &warm_up {
        for server in &servers {
            server.ask(&client, query).await;
        }
    }
    let begun = servers.each_ref().map(Server::resident_bytes);
    let mut times: [Vec<Duration>; 3] = Default::default();
    for (number, query) in queries.iter().enumerate() {
        for arm in ORDERS[number % ORDERS.len()] {
            times[arm].push(servers[arm].ask(&client, query).await);
        }
    }
    println!("\n{} queries of each server over {}, load {}", queries.len(), corpus.display(), load());
    report(&client, &servers, &times, begun).await;
    println!("the collector took {} requests with {} KiB", collector.requests(), collector.bytes() >> 10);
}

async fn report(client: &reqwest::Client, servers: &[Server; 3], times: &[Vec<Duration>; 3], begun: [u64; 3]) {
    let off = times[0].clone();
    println!(
        "{:<8} {:>9} {:>9} {:>9} {:>10} {:>12} {:>14}",
        "", "p50 ms", "p99 ms", "p50/off", "per query", "resident MiB", "since warm-up"
    );
    for ((server, own), begun) in servers.iter().zip(times).zip(begun) {
        let ratio = at(own, 0.5) / at(&off, 0.5);
        // The same query with and without: what the queries differ in falls out.
        let pairs: Vec<Duration> =
            own.iter().zip(&off).map(|(own, off)| Duration::from_secs_f64(own.as_secs_f64() / off.as_secs_f64())).collect();
        let resident = server.resident_bytes();
        println!(
            "{:<8} {:>9.3} {:>9.3} {:>9.3} {:>10.3} {:>12} {:>+14}{}",
            server.name,
            at(own, 0.5) * 1e3,
            at(own, 0.99) * 1e3,
            ratio,
            at(&pairs, 0.5),
            resident >> 20,
            (resident as i64 - begun as i64) >> 20,
            if ratio > RATIO_MAX { "  over the bar" } else { "" },
        );
    }
    // The one without telemetry has no scrape.
    for server in servers.iter().filter(|server| server.metrics.starts_with("http")) {
        let text = client.get(&server.metrics).send().await.expect("a scrape").text().await.expect("text");
        for line in text.lines().filter(|line| line.starts_with("telemetry_")) {
            println!("{:<8} {line}", server.name);
        }
    }
}

/// The value in seconds below which this share of the times lies.
fn at(times: &[Duration], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[((sorted.len() - 1) as f64 * share).round() as usize].as_secs_f64()
}

/// Words that stand close to one another in the corpus; the same ones each time.
fn queries(corpus: &Path, count: usize) -> Vec<String> {
    let mut files: Vec<PathBuf> =
        ignore::Walk::new(corpus).flatten().map(|entry| entry.into_path()).filter(|path| path.is_file()).collect();
    files.sort_unstable();
    let texts = files.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    let words = |text: String| -> Vec<String> {
        text.split(|c: char| !c.is_alphabetic()).filter(|word| (4..24).contains(&word.len())).map(str::to_owned).collect()
    };
    let texts: Vec<Vec<String>> = texts.map(words).filter(|words| words.len() > 20).take(FILES_MAX).collect();
    assert!(!texts.is_empty(), "there is no text in {}", corpus.display());
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let query = |_| {
        let text = &texts[random.random_range(0..texts.len())];
        let length = random.random_range(QUERY_WORDS);
        let start = random.random_range(0..text.len() - length);
        text[start..start + length].join(" ")
    };
    (0..count).map(query).collect()
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{} on {} cores",
        load.split(' ').take(2).collect::<Vec<_>>().join(", "),
        std::thread::available_parallelism().map_or(0, usize::from)
    )
}

/// The program with nothing from around it.
fn program(data: &Path, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanloom"));
    command.env_clear().env("HOME", folder).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    if let Some(libraries) = std::env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command.current_dir(folder).arg("--data-dir").arg(data).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// `spanloom serve` as a process; ends with the value.
struct Server {
    name: &'static str,
    child: Child,
    mcp: String,
    metrics: String,
}

impl Server {
    fn start(folder: &Path, data: &Path, name: &'static str, config: &str, variables: &[(&str, String)]) -> Server {
        let own = folder.join(name);
        std::fs::create_dir_all(&own).expect("a folder");
        std::fs::write(own.join("spanloom.toml"), config).expect("a configuration");
        let mut command = program(data, &own);
        command.args(["serve", "--bind", "127.0.0.1:0", "--metrics-bind", "127.0.0.1:0"]).stderr(Stdio::piped());
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its standard error")).lines().map_while(Result::ok);
        let mut address = |label: &str| lines.find_map(|line| line.strip_prefix(label).map(str::to_owned)).expect("the server's addresses");
        let (mcp, metrics) = (address("MCP endpoint: "), address("Prometheus:   "));
        // Somebody has to take what it says later.
        std::thread::spawn(move || lines.for_each(drop));
        Server { name, child, mcp, metrics }
    }

    /// From the request to the last byte of the answer.
    async fn ask(&self, client: &reqwest::Client, query: &str) -> Duration {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({"name": "semantic_search", "arguments": {"query": query}, "_meta": meta});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
        let request = client
            .post(&self.mcp)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "semantic_search")
            .body(body);
        let began = Instant::now();
        let bytes = request.send().await.expect("a response").bytes().await.expect("a body");
        let time = began.elapsed();
        let answer: Json = serde_json::from_slice(&bytes).expect("JSON");
        let degraded = &answer["result"]["structuredContent"]["degraded"];
        assert!(degraded.as_array().is_some_and(Vec::is_empty), "`{query}` of {}: {answer}", self.name);
        time
    }

    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kilobytes.expect("a size") << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes every OTLP request over HTTP and counts.
struct Collector {
    address: SocketAddr,
    counts: Arc<[AtomicU64; 2]>,
}

impl Collector {
    async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let counts: Arc<[AtomicU64; 2]> = Arc::default();
        let into = counts.clone();
        let app = Router::new().fallback(move |body: Bytes| {
            into[0].fetch_add(1, Ordering::Relaxed);
            into[1].fetch_add(body.len() as u64, Ordering::Relaxed);
            std::future::ready(())
        });
        tokio::spawn(async move { axum::serve(listener, app).await.expect("serving") });
        Collector { address, counts }
    }

    fn requests(&self) -> u64 {
        self.counts[0].load(Ordering::Relaxed)
    }

    fn bytes(&self) -> u64 {
        self.counts[1].load(Ordering::Relaxed)
    }
}
