//! From nothing to a plugin's span in a trace: what docs/authoring.md promises, in each
//! language, and the example that is written in all of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use spanloom::plugin::PluginLimits;

use crate::support::projects::{Language, built, empty_folder, text, with_tools};
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::{Sandbox, mcp::Client};

/// Longer than the commands of the page take on a slow machine, all together.
const PAGE_SECONDS_MAX: &str = "570";
const QUERY: &str = "capacity of the token bucket release";

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The commands of one block, and what the page says that they print.
#[derive(Debug, Default)]
struct Block {
    heading: String,
    commands: String,
    shown: Vec<String>,
}

/// The blocks of commands in their order. A block of text belongs to the commands before
/// it, if nothing but prose is between them.
fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut heading, mut fence) = (Vec::<Block>::new(), String::new(), None);
    for line in page.lines() {
        match (fence, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                fence = Some(kind);
                if kind == "sh" {
                    blocks.push(Block { heading: heading.clone(), ..Block::default() });
                }
            }
            (Some(_), Some(_)) => fence = None,
            (None, None) => {
                if let Some(title) = line.strip_prefix("## ") {
                    title.clone_into(&mut heading);
                }
            }
            (Some(kind), None) => {
                let Some(block) = blocks.last_mut() else { continue };
                match kind {
                    "sh" => writeln!(block.commands, "{line}").expect("memory"),
                    "text" => block.shown.push(line.to_owned()),
                    _ => {}
                }
            }
        }
    }
    blocks
}

/// A line without what differs from run to run: numbers, bars, the widths of columns.
fn lasting(line: &str) -> String {
    let mut out = String::new();
    for c in line.chars().filter(|c| !"█·".contains(*c)) {
        let c = if c.is_ascii_digit() { '0' } else { c };
        // Numbers may have an exponent or another count of digits.
        let repeats = matches!(c, '0' | ' ') && out.ends_with(c);
        if !repeats {
            out.push(c);
        }
    }
    out.replace("0.0e-0", "0.0").replace("0e-0", "0").replace("0.0", "0").trim().to_owned()
}

/// Whether a line has the parts of a shown one in their order; `…` stands for anything.
fn is_as_shown(line: &str, shown: &str) -> bool {
    let (line, shown) = (lasting(line), lasting(shown));
    let parts: Vec<&str> = shown.split('…').collect();
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return false };
    let mut rest = line.as_str();
    let found = parts.iter().all(|part| {
        let at = rest.find(part.trim());
        at.is_some_and(|at| {
            rest = &rest[at + part.trim().len()..];
            true
        })
    });
    found && line.starts_with(first.trim()) && line.ends_with(last.trim())
}

/// Every shown line is printed, in the order in which they are shown.
#[track_caller]
fn check_shown(block: &Block, printed: &str) {
    let mut lines = printed.lines();
    for shown in block.shown.iter().filter(|line| !matches!(line.trim(), "" | "…")) {
        assert!(lines.any(|line| is_as_shown(line, shown)), "{}: no line (any more) like\n{shown}\nin\n{printed}", block.heading);
    }
}

/// Ports that were free a moment ago.
fn free_addresses() -> [String; 2] {
    let listeners = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("its address").to_string())
}

#[test]
fn every_command_of_the_page_does_what_the_page_says() {
    let blocks = blocks(&page("authoring.md"));
    assert!(blocks.len() >= 12, "{}", blocks.len());
    let languages = [("The same in JavaScript", Language::Js, "js-fusion"), ("The same in Python", Language::Python, "py-fusion")];
    let folder = empty_folder("authoring");
    let sandbox = with_tools(Sandbox::new());
    // Compiled components are kept as in other tests.
    std::fs::create_dir(folder.join(".spanloom")).expect("a folder");
    std::os::unix::fs::symlink(sandbox.data().join("cache"), folder.join(".spanloom/cache")).expect("a link");

    let [bind, metrics] = free_addresses();
    let mut script = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\nset -e\n".to_owned();
    let mut run = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        if let Some((_, language, name)) = languages.iter().find(|language| language.0 == block.heading) {
            if !language.is_here() {
                continue;
            }
            // The page installs packages here; they are there already.
            let lent = folder.join(format!("packages-of-{name}"));
            std::fs::create_dir(&lent).expect("a folder");
            language.lend_packages(&lent);
            let (first, rest) = block.commands.split_once('\n').expect("more than one command");
            let mark = "touch $(find .venv/ node_modules/ -maxdepth 1 -name .spanloom-installed 2>/dev/null)";
            writeln!(script, "echo ==== {number}\n{first}\n(cd {name} && cp -a ../packages-of-{name}/. . && {mark})\n{rest}")
                .expect("memory");
        } else {
            writeln!(script, "echo ==== {number}\n{}", block.commands).expect("memory");
        }
        run.push(number);
    }
    std::fs::write(folder.join("commands.sh"), &script).expect("a file");

    let mut bash = sandbox.other("timeout");
    bash.args([PAGE_SECONDS_MAX, "bash", "-c", "exec 2>&1; . ./commands.sh"]).current_dir(&folder);
    bash.env("SPANLOOM_SERVER__BIND", bind).env("SPANLOOM_SERVER__METRICS_BIND", metrics);
    let output = bash.output().expect("bash starts");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {printed}", output.status);

    let parts: BTreeMap<usize, &str> = printed
        .split("==== ")
        .skip(1)
        .filter_map(|part| part.split_once('\n'))
        .filter_map(|(number, rest)| Some((number.trim().parse().ok()?, rest)))
        .collect();
    assert_eq!(parts.keys().copied().collect::<Vec<_>>(), run, "{printed}");
    for (number, printed) in &parts {
        check_shown(&blocks[*number], printed);
    }
    assert!(blocks.iter().filter(|block| !block.shown.is_empty()).count() >= 6, "the page shows outputs");
    // The promise of the page: the plugin's own span, below its stage, in the trace.
    let trace = parts.values().find(|part| part.contains("tools/call")).expect("a trace");
    let below: Vec<&str> = trace.lines().skip_while(|line| !line.contains("retrieval.fuse")).take(2).collect();
    assert!(below[0].contains("first-fusion") && below[1].starts_with("│  └─ fusion.squares"), "{trace}");
    // Numbers that the comparison above doesn't see.
    for part in
        ["2 cases: 0 unchanged, 2 changed", "2 cases: 2 unchanged, 0 changed, 0 failed", "\n\"refused\":[],", "order: 4 of 4 rows differ"]
    {
        assert!(printed.contains(part), "`{part}` is not in {printed}");
    }
    for (_, language, name) in languages.iter().filter(|language| folder.join(language.2).exists()) {
        assert!(printed.contains(&format!("{name} 0.1.0 (fusion, sha256 ")), "{}", language.name());
    }
}

#[test]
fn shown_lines_are_compared_without_what_differs() {
    let check = |line: &str, shown: &str, expect: bool| assert_eq!(is_as_shown(line, shown), expect, "{line} | {shown}");
    check("a   0.139 ms ··██·· b=111", "a 10.2 ms  █··· b=7", true);
    check("off by 3.2e-2, allowed 1e-5", "off by 0.5, allowed 1e-5", true);
    check("sha-256    0dbf", "sha-256 …", true);
    check("x one two", "… two", true);
    check("x one two", "one …", false);
    check("x one two", "x … one", false);
}

/// A server with a plugin for each stage, all of them written in one language; a search
/// goes through all three, and their spans are in the run's ledger.
async fn every_stage_in(language: Language) {
    if !language.is_here() {
        return;
    }
    let mut sandbox = with_tools(Sandbox::indexed(&Repo::sample()));
    let mut config = String::new();
    for stage in ["gate", "fusion", "rerank"] {
        let component = built(&sandbox, &format!("{}-{stage}", language.name()), stage, language);
        writeln!(config, "[plugins.{stage}]\npath = {:?}\ngrants = [\"documents\"]", text(&component)).expect("memory");
    }
    sandbox.set_config(&config);
    let server = Server::start(&sandbox);
    let answer = Client::connect(&server).await.search(json!({"query": QUERY, "explain": true})).await;
    assert_eq!((answer.degraded.len(), &answer.warnings), (0, &Vec::new()), "{}", language.name());
    assert_eq!(answer.findings[0].path, "src/token_bucket.rs", "{}", language.name());

    let lines = sandbox.ledger(&answer.observability.run_id);
    let spans: Vec<&Json> = lines.iter().filter(|line| line["line"] == "span").collect();
    let span = |name: &str| *spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("{name} in {spans:#?}"));
    for (stage, stage_span) in [("gate", "retrieval.gate"), ("fusion", "retrieval.fuse"), ("rerank", "retrieval.rerank")] {
        let of_stage = span(stage_span);
        let name = format!("{}-{stage}", language.name());
        assert_eq!(of_stage["attributes"]["plugin.name"], json!(name));
        let own: Vec<&&Json> = spans.iter().filter(|span| span["parent_span_id"] == of_stage["span_id"]).collect();
        let prefix = format!("{stage}.");
        let is_own = |span: &&&Json| span["name"].as_str().is_some_and(|name| name.starts_with(&prefix));
        assert!(own.iter().any(is_own), "{name}: {own:#?}");
    }
    let explanation = answer.explanation.expect("an explanation");
    assert!(!explanation.gate.features.is_empty(), "{}: its gate says what it saw", language.name());
    let why = answer.findings[0].explanation.as_ref().expect("an explanation");
    assert!(!why.rerank_parts.is_empty(), "{}: its reranker says what a score is made of", language.name());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_can_be_written_in_rust() {
    every_stage_in(Language::Rust).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_can_be_written_in_javascript() {
    every_stage_in(Language::Js).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_can_be_written_in_python() {
    every_stage_in(Language::Python).await;
}

/// The example in one language, tested in a copy.
fn example(sandbox: &Sandbox, language: Language) -> Json {
    sandbox.json(&["plugin", "test", "--json", text(&example_copy(language, language.name()))])
}

/// A copy of the example's project, so that nothing is built among the sources.
pub fn example_copy(language: Language, name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // Cases and contract are named by their way from the project.
    let tree = empty_folder(&format!("dbsf-{name}"));
    let part = Path::new("examples/fusion-dbsf");
    for name in [part.join(language.name()), part.join("cases"), "wit".into()] {
        copy(&root.join(&name), &tree.join(&name));
    }
    let project = tree.join(part).join(language.name());
    if language == Language::Rust {
        let (manifest, sdk) = (project.join("Cargo.toml"), std::fs::canonicalize(root.join("plugins/sdk")).expect("the SDK"));
        let told = std::fs::read_to_string(&manifest).expect("a manifest").replace("../../../plugins/sdk", text(&sdk));
        std::fs::write(manifest, told).expect("a manifest");
    }
    language.lend_packages(&project);
    project
}

/// Copies what belongs to a project, without what was built in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.expect("an entry");
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if ["build", "target", "node_modules", ".venv", "__pycache__"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).expect("a copy");
        }
    }
}

#[test]
fn the_example_passes_the_same_cases_in_every_language() {
    let sandbox = with_tools(Sandbox::new());
    for language in Language::ALL.into_iter().filter(|language| language.is_here()) {
        let report = example(&sandbox, language);
        let counts = (&report["passed"], &report["failed"], &report["skipped"]);
        assert_eq!(counts, (&json!(16), &json!(0), &json!(0)), "{}: {report:#}", language.name());
        assert_eq!((&report["plugin"], &report["stage"]), (&json!("fusion-dbsf"), &json!("fusion")), "{}", language.name());
    }
}

/// A number as the page writes it.
fn number(text: &str) -> u64 {
    let text = text.replace(',', "");
    let (digits, unit) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let digits: u64 = digits.parse().unwrap_or_else(|error| panic!("`{text}`: {error}"));
    digits << ["", "KiB", "MiB", "GiB"].iter().position(|known| *known == unit).map_or_else(|| panic!("`{text}`"), |place| place * 10)
}

#[test]
fn the_table_of_limits_is_that_of_the_host() {
    let page = page("plugins.md");
    let Ok(Json::Object(defaults)) = serde_json::to_value(PluginLimits::default()) else { panic!("limits are an object") };
    let rows: BTreeMap<&str, Vec<&str>> = page
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| `")?.trim_end_matches('|').split('|').map(str::trim).collect();
            let name = cells[0].trim_end_matches('`');
            (cells.len() == 6 && defaults.contains_key(name)).then(|| (name, cells[1..].to_vec()))
        })
        .collect();
    for (name, default) in &defaults {
        let row = rows.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no row"));
        assert_eq!(Some(number(row[1])), default.as_u64(), "{name}");
        let with = |value: u64| {
            let mut limits = defaults.clone();
            limits.insert(name.clone(), json!(value));
            serde_json::from_value::<PluginLimits>(Json::Object(limits)).expect("numbers").check()
        };
        let Some((low, high)) = row[2].split_once('–') else {
            assert_eq!((name.as_str(), with(u64::MAX)), ("fuel_max", Ok(())));
            continue;
        };
        let (low, high) = (number(low), number(high));
        assert_eq!((with(low), with(high)), (Ok(()), Ok(())), "{name}");
        let problem = with(high + 1).expect_err("over the range");
        assert_eq!(problem, format!("`{name}` is {}; allowed: {low} to {high}", high + 1));
    }
}

#[test]
fn a_tool_that_is_missing_is_named_with_what_to_install() {
    let with_path = |path: &str| with_tools(Sandbox::new()).with_variable("PATH", path);
    // Nothing but the program itself.
    let nowhere = empty_folder("no-tools");
    for (language, tool, install) in [
        (Language::Rust, "cargo", "install Rust 1.95 or later from https://rustup.rs"),
        (Language::Js, "node", "install Node.js 20 or later from https://nodejs.org"),
        (Language::Python, "python3", "install Python 3.10 or later"),
    ] {
        let sandbox = with_path(text(&nowhere));
        sandbox.run(&["plugin", "new", "my-plugin", "--stage", "gate", "--lang", language.name()]).check(0, &[]);
        let parts = [&format!("{tool} is not there, but a {} plugin is built with it", language.name()), install];
        let built = sandbox.run(&["plugin", "build", "my-plugin"]);
        built.check(1, &parts);
        sandbox.run(&["plugin", "test", "my-plugin"]).check(1, &parts);
    }
}
