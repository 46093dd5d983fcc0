//! The configuration: defaults, then `spanloom.toml`, then `SPANLOOM_*` variables,
//! then flags. The only file that reads the environment.

mod otel;
mod parts;
mod plugins;
mod schema;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::pipeline::SearchSettings;
use crate::plugin::Capability;
use crate::telemetry::OtelSettings;

pub use schema::{
    Config, DataDirPath, EmbeddingConfig, EmbeddingKind, ExperimentsConfig, ExtraPlugin, IndexConfig, PluginsConfig, ScorerConfig,
    ScoringConfig, ServerConfig, StageConfig, TelemetryConfig, VllmConfig,
};

/// Looked for in the current folder when no other file is named.
pub const DEFAULT_FILE: &str = "spanloom.toml";
/// Variables of this prefix set keys: `SPANLOOM_SERVER__BIND` sets `server.bind`.
pub const VARIABLE_PREFIX: &str = "SPANLOOM_";
/// Stands between the parts of a key in a variable.
const VARIABLE_SEPARATOR: &str = "__";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Variable(String),
    Flag(&'static str),
}

/// A configuration, checked, with the origin of every value.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// What the standard `OTEL_*` variables say about export.
    otel: OtelSettings,
    /// Values of the variables that hold secrets, by the key that names the variable.
    secrets: BTreeMap<String, String>,
    /// Variables that plugins are granted.
    granted: BTreeMap<String, String>,
    table: Table,
    origins: BTreeMap<String, Origin>,
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {error}")]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{path}: {error}")]
    Syntax { path: PathBuf, error: toml::de::Error },
    #[error("`{key}` ({origin}): {problem}")]
    Value { key: String, origin: String, problem: String },
}

/// A value given on the command line.
pub struct Flag {
    pub name: &'static str,
    pub key: &'static str,
    pub value: Value,
}

/// Reads the configuration. `file` is an error when it is named and missing.
///
/// # Errors
/// [`ConfigError`] names the key, where it came from, and what is allowed.
pub fn load(file: Option<&Path>, variables: impl Iterator<Item = (String, String)>, flags: Vec<Flag>) -> Result<Loaded, ConfigError> {
    let mut table = Table::new();
    let mut origins = BTreeMap::new();
    let variables: BTreeMap<String, String> = variables.collect();
    let named = file.map(Path::to_path_buf);
    let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    if named.is_some() || path.exists() {
        let text = std::fs::read_to_string(&path).map_err(|error| ConfigError::Read { path: path.clone(), error })?;
        let layer: Table = text.parse().map_err(|error| ConfigError::Syntax { path: path.clone(), error })?;
        merge(&mut table, layer, "", &Origin::File(path), &mut origins);
    }
    let default_bind = ServerConfig::default().metrics_bind;
    let configured_bind = table.get("server").and_then(|server| server.get("metrics_bind")).and_then(Value::as_str);
    if let Some((address, name)) = otel::scrape_address(&variables, configured_bind.unwrap_or(&default_bind)) {
        set(&mut table, "server.metrics_bind", Value::String(address), &Origin::Variable(name.into()), &mut origins);
    }
    for (name, text) in &variables {
        let Some(key) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
        let key = key.to_lowercase().replace(VARIABLE_SEPARATOR, ".");
        set(&mut table, &key, variable_value(text), &Origin::Variable(name.clone()), &mut origins);
    }
    for flag in flags {
        set(&mut table, flag.key, flag.value, &Origin::Flag(flag.name), &mut origins);
    }
    let config: Config = serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let key = error.path().to_string();
        let problem = error.into_inner().to_string();
        ConfigError::Value { origin: origin_of(&origins, &key), problem: problem.trim().to_owned(), key }
    })?;
    check(&config).map_err(|(key, problem)| ConfigError::Value { origin: origin_of(&origins, &key), key, problem })?;
    let table = Table::try_from(&config).unwrap_or_default();
    let secrets = secrets(&config, &variables, &origins)?;
    let granted = config.plugins.granted().filter_map(|capability| match capability {
        Capability::Environment(name) => variables.get(name).map(|value| (name.clone(), value.clone())),
        _ => None,
    });
    let otel = otel::read(&variables, &config.telemetry, crate::index::manifest::FORMAT);
    Ok(Loaded { secrets, granted: granted.collect(), otel, config, table, origins })
}

/// What stands in the variables that the configuration names for secrets.
fn secrets(
    config: &Config,
    variables: &BTreeMap<String, String>,
    origins: &BTreeMap<String, Origin>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let embedding = config.embedding.vllm.api_key_variable.as_ref().filter(|_| config.embedding.kind == EmbeddingKind::Vllm);
    let mut named = vec![("embedding.vllm.api_key_variable".to_owned(), embedding)];
    named.push(("server.admin_token_variable".to_owned(), config.server.admin_token_variable.as_ref()));
    named.extend(config.scoring.scorers().map(|(key, scorer)| (format!("{key}.api_key_variable"), scorer.api_key_variable.as_ref())));
    let mut secrets = BTreeMap::new();
    for (key, variable) in named {
        let Some(name) = variable else { continue };
        let value = variables.get(name).filter(|value| !value.is_empty()).ok_or_else(|| ConfigError::Value {
            key: key.clone(),
            origin: origin_of(origins, &key),
            problem: format!("names the variable `{name}`, which is not set"),
        })?;
        secrets.insert(key, value.clone());
    }
    Ok(secrets)
}

/// The environment of this process, as [`load`] takes it. Names or values that are
/// not Unicode are left out.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn merge(into: &mut Table, layer: Table, prefix: &str, origin: &Origin, origins: &mut BTreeMap<String, Origin>) {
    for (name, value) in layer {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match (into.get_mut(&name), value) {
            (Some(Value::Table(known)), Value::Table(more)) => merge(known, more, &key, origin, origins),
            (_, Value::Table(more)) => {
                let mut fresh = Table::new();
                merge(&mut fresh, more, &key, origin, origins);
                into.insert(name, Value::Table(fresh));
            }
            (_, value) => {
                origins.insert(key, origin.clone());
                into.insert(name, value);
            }
        }
    }
}

fn set(table: &mut Table, key: &str, value: Value, origin: &Origin, origins: &mut BTreeMap<String, Origin>) {
    let mut layer = Table::new();
    match key.rsplit_once('.') {
        None => {
            layer.insert(key.to_owned(), value);
        }
        Some((parents, last)) => {
            let mut inner = Table::new();
            inner.insert(last.to_owned(), value);
            for parent in parents.rsplit('.') {
                let mut outer = Table::new();
                outer.insert(parent.to_owned(), Value::Table(inner));
                inner = outer;
            }
            layer = inner;
        }
    }
    merge(table, layer, "", origin, origins);
}

/// A variable's text as a TOML value where it is one (`3`, `true`, `["a"]`), else as text.
fn variable_value(text: &str) -> Value {
    format!("v = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("v")).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn origin_of(origins: &BTreeMap<String, Origin>, key: &str) -> String {
    let found =
        origins.get(key).or_else(|| origins.iter().find(|(known, _)| known.starts_with(&format!("{key}."))).map(|(_, origin)| origin));
    found.map_or_else(|| Origin::Default.to_string(), Origin::to_string)
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => path.display().fmt(f),
            Origin::Variable(name) => write!(f, "variable {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Every number against its range, every choice against its list.
fn check(config: &Config) -> Result<(), (String, String)> {
    let numbers: [(&'static str, u64, u64, u64); 23] = [
        ("server.body_bytes_max", config.server.body_bytes_max as u64, 1 << 10, 64 << 20),
        ("server.concurrency_max", config.server.concurrency_max as u64, 1, 10_000),
        ("server.request_timeout_ms", config.server.request_timeout_ms, 100, 600_000),
        ("server.shutdown_grace_ms", config.server.shutdown_grace_ms, 0, 600_000),
        ("index.file_bytes_max", config.index.file_bytes_max, 1 << 10, 16 << 20),
        ("index.files_max", config.index.files_max as u64, 1, 10_000_000),
        ("index.commits_max", config.index.commits_max as u64, 0, 10_000_000),
        ("index.chunk_lines_max", u64::from(config.index.chunk_lines_max), 4, 1_000),
        ("index.chunk_bytes_max", config.index.chunk_bytes_max as u64, 256, 65_536),
        ("index.window_lines", u64::from(config.index.window_lines), 4, 1_000),
        ("index.window_overlap", u64::from(config.index.window_overlap), 0, u64::from(config.index.window_lines / 2).saturating_sub(1)),
        ("index.parse_ms_max", config.index.parse_ms_max, 10, 60_000),
        ("index.update_chunks_min", config.index.update_chunks_min, 0, 10_000_000),
        ("index.update_percent_max", config.index.update_percent_max, 0, 50),
        ("embedding.dimension", config.embedding.dimension as u64, 8, 1_024),
        ("embedding.vllm.batch_size", config.embedding.vllm.batch_size as u64, 1, 4_096),
        ("embedding.vllm.concurrency", config.embedding.vllm.concurrency as u64, 1, 64),
        ("embedding.vllm.attempts_max", u64::from(config.embedding.vllm.attempts_max), 1, 20),
        ("search.deadline_ms", config.search.deadline_ms, 10, 300_000),
        ("search.embed_deadline_ms", config.search.embed_deadline_ms, 1, 300_000),
        ("search.channel_deadline_ms", config.search.channel_deadline_ms, 1, 300_000),
        ("search.row_cache_mb", config.search.row_cache_mb, 0, 65_536),
        ("experiments.journal_days_max", u64::from(config.experiments.journal_days_max), 0, 36_500),
    ];
    if let Some((key, value, low, high)) = numbers.into_iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
        return Err((key.into(), format!("is {value}; allowed: {low} to {high}")));
    }
    check_search(&config.search)?;
    let recency = config.search.recency;
    if !(0.0..=1.0).contains(&recency.weight) {
        return Err(("search.recency.weight".into(), format!("is {}; allowed: 0 to 1", recency.weight)));
    }
    if !(recency.half_life_days > 0.0 && recency.half_life_days.is_finite()) {
        return Err(("search.recency.half_life_days".into(), format!("is {}; allowed: over 0", recency.half_life_days)));
    }
    check_telemetry(&config.telemetry)?;
    if config.embedding.kind == EmbeddingKind::Vllm && config.embedding.vllm.model.is_empty() {
        return Err(("embedding.vllm.model".into(), "is empty; allowed: the name under which vLLM serves the model".into()));
    }
    if config.telemetry.ledger_days_max > 36_500 {
        return Err(("telemetry.ledger_days_max".into(), format!("is {}; allowed: 0 to 36500", config.telemetry.ledger_days_max)));
    }
    config.faults.check()?;
    config.plugins.check()?;
    config.scoring.check()?;
    for (key, address) in [("server.bind", &config.server.bind), ("server.metrics_bind", &config.server.metrics_bind)] {
        if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
            return Err((key.into(), format!("is `{address}`; allowed: ADDRESS:PORT, such as 127.0.0.1:8000")));
        }
    }
    Ok(())
}

fn check_search(search: &SearchSettings) -> Result<(), (String, String)> {
    let (bm25, expansion, rm3) = (search.bm25, search.expansion, search.rm3);
    let numbers = [
        ("search.bm25.symbol_weight", bm25.symbol_weight, 0.0, 100.0),
        ("search.bm25.path_weight", bm25.path_weight, 0.0, 100.0),
        ("search.bm25.body_weight", bm25.body_weight, 0.0, 100.0),
        ("search.bm25.comments_weight", bm25.comments_weight, 0.0, 100.0),
        ("search.bm25.k1", bm25.k1, 0.0, 10.0),
        ("search.bm25.b", bm25.b, 0.0, 1.0),
        ("search.expansion.language_weight", expansion.language_weight, 0.0, 1.0),
        ("search.expansion.joined_weight", expansion.joined_weight, 0.0, 1.0),
        ("search.expansion.related_weight", expansion.related_weight, 0.0, 1.0),
        ("search.rm3.documents", rm3.documents as f64, 1.0, 100.0),
        ("search.rm3.terms", rm3.terms as f64, 1.0, 100.0),
        ("search.rm3.original_weight", rm3.original_weight, 0.0, 1.0),
    ];
    match numbers.into_iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
        Some((key, value, low, high)) => Err((key.into(), format!("is {value}; allowed: {low} to {high}"))),
        None => Ok(()),
    }
}

fn check_telemetry(config: &TelemetryConfig) -> Result<(), (String, String)> {
    let choices: [(&str, &str, &[&str]); 2] = [
        ("telemetry.otlp_protocol", &config.otlp_protocol, &["grpc", "http/protobuf", "http/json"]),
        ("telemetry.log_format", &config.log_format, &["text", "json"]),
    ];
    if let Some((key, value, allowed)) = choices.into_iter().find(|(_, value, allowed)| !allowed.contains(value)) {
        return Err((key.into(), format!("is `{value}`; allowed: {}", allowed.join(", "))));
    }
    if config.otlp_log.parse::<tracing::level_filters::LevelFilter>().is_err() {
        return Err(("telemetry.otlp_log".into(), format!("is `{}`; allowed: off, error, warn, info, debug, trace", config.otlp_log)));
    }
    match config.otlp_endpoint.as_deref().map(|endpoint| (endpoint, otel::endpoint_problem(endpoint))) {
        Some((endpoint, Some(problem))) => Err(("telemetry.otlp_endpoint".into(), format!("is `{endpoint}`: {problem}"))),
        _ => Ok(()),
    }
}

impl Loaded {
    /// A second configuration out of another file, to be held against this one: the same
    /// variables, no flags, and the same data directory unless the file names one.
    ///
    /// # Errors
    /// As [`load`].
    pub fn other(&self, file: &Path, variables: impl Iterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
        let data_dir = format!("{VARIABLE_PREFIX}DATA_DIR");
        let mut other = load(Some(file), variables.filter(|(name, _)| *name != data_dir), Vec::new())?;
        if !other.origins.contains_key("data_dir") {
            other.config.data_dir = self.config.data_dir.clone();
        }
        Ok(other)
    }

    /// The configuration as TOML lines, each with its origin.
    pub fn show(&self) -> String {
        let mut out = String::new();
        show_table(&mut out, &self.table, "", &self.origins);
        out
    }
}

fn show_table(out: &mut String, table: &Table, prefix: &str, origins: &BTreeMap<String, Origin>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) if !inner.is_empty() => show_table(out, inner, &key, origins),
            // Writing to a String can't fail.
            value => drop(writeln!(out, "{key} = {value}  # {}", origin_of(origins, &key))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_load(file: &str, variables: &[(&str, &str)], flags: Vec<Flag>) -> Result<Loaded, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, file).unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load(Some(&path), variables, flags).map_err(|error| error.to_string())
    }

    #[test]
    fn later_layers_win_and_origins_are_shown() {
        let flag = Flag { name: "--bind", key: "server.bind", value: Value::String("127.0.0.1:3".into()) };
        let loaded = check_load(
            "data_dir = \"d\"\n[server]\nbind = \"127.0.0.1:1\"\nconcurrency_max = 3\n[plugins.fusion.parameters]\nk = 10",
            &[("SPANLOOM_SERVER__BIND", "127.0.0.1:2"), ("SPANLOOM_SEARCH__RERANK", "false"), ("OTHER", "x")],
            vec![flag],
        )
        .unwrap();
        assert_eq!(loaded.config.server.bind, "127.0.0.1:3");
        assert!(!loaded.config.search.rerank);
        let shown = loaded.show();
        assert!(shown.contains("server.bind = \"127.0.0.1:3\"  # flag --bind"), "{shown}");
        assert!(shown.contains("search.rerank = false  # variable SPANLOOM_SEARCH__RERANK"), "{shown}");
        assert!(shown.contains("plugins.fusion.parameters.k = 10  # "), "{shown}");
        assert!(shown.contains("server.request_timeout_ms = 30000  # default"), "{shown}");
    }

    #[test]
    fn a_second_configuration_has_the_same_data_unless_it_says_otherwise() {
        let flag = Flag { name: "--data-dir", key: "data_dir", value: Value::String("mine".into()) };
        let first = check_load("[search]\nrerank = false", &[], vec![flag]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.toml");
        for (file, expect) in [("", "mine"), ("data_dir = \"theirs\"", "theirs")] {
            std::fs::write(&path, file).unwrap();
            let variables = [("SPANLOOM_DATA_DIR", "variable"), ("SPANLOOM_SEARCH__DEADLINE_MS", "77")];
            let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            let other = first.other(&path, variables).unwrap();
            assert_eq!(other.config.data_dir.0, Path::new(expect));
            assert!(other.config.search.rerank && other.config.search.deadline_ms == 77);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |file: &str, variables: &[(&str, &str)], expect: &[&str]| {
            let message = check_load(file, variables, Vec::new()).map(drop).unwrap_err();
            for part in expect {
                assert!(message.contains(part), "{message}");
            }
        };
        check("[serch]\na = 1", &[], &["serch", "expected one of", "search"]);
        check("[search]\ndeadline = 1", &[], &["search.deadline", "unknown field", "c.toml"]);
        check("[search]\ndeadline_ms = 5", &[], &["`search.deadline_ms`", "is 5; allowed: 10 to 300000", "c.toml"]);
        check("[search]\ndeadline_ms = \"soon\"", &[], &["search.deadline_ms", "invalid type"]);
        check("", &[("SPANLOOM_SEARCH__DEADLINE_MS", "9999999")], &["variable SPANLOOM_SEARCH__DEADLINE_MS", "9999999"]);
        check("[search.bm25]\nb = 1.5", &[], &["`search.bm25.b`", "is 1.5; allowed: 0 to 1"]);
        check("[search.bm25]\ncomments_weight = -1.0", &[], &["search.bm25.comments_weight", "is -1; allowed: 0 to 100"]);
        check("[search.expansion]\njoined_weight = 1.5", &[], &["search.expansion.joined_weight", "is 1.5; allowed: 0 to 1"]);
        check("[search.rm3]\nterms = 0", &[], &["search.rm3.terms", "is 0; allowed: 1 to 100"]);
        check("", &[("SPANLOOM_NONSENSE", "1")], &["nonsense"]);
        check("[embedding]\nkind = \"magic\"", &[], &["embedding.kind", "magic", "builtin"]);
        check("[embedding]\nkind = \"vllm\"", &[], &["embedding.vllm.model", "is empty"]);
        check("[server]\nbind = \"here\"", &[], &["server.bind", "ADDRESS:PORT"]);
        check("[plugins.limits]\nmemory_bytes_max = 1", &[], &["plugins.limits", "`memory_bytes_max` is 1"]);
        check("a = ", &[], &["c.toml"]);
        check("[embedding]\nkind = \"vllm\"\nvllm = { model = \"m\", api_key_variable = \"NONE_SUCH\" }", &[], &["NONE_SUCH", "not set"]);
    }

    #[test]
    fn the_scrape_moves_by_the_standard_variables() {
        let check = |file: &str, variables: &[(&str, &str)], flag: Option<&str>, expect: &str| {
            let flag = flag.map(|value| Flag { name: "--metrics-bind", key: "server.metrics_bind", value: Value::String(value.into()) });
            let loaded = check_load(file, variables, flag.into_iter().collect()).unwrap();
            assert_eq!(loaded.config.server.metrics_bind, expect, "{file} {variables:?}");
        };
        let (host, port) = (("OTEL_EXPORTER_PROMETHEUS_HOST", "0.0.0.0"), ("OTEL_EXPORTER_PROMETHEUS_PORT", "9999"));
        check("", &[], None, "127.0.0.1:9464");
        check("", &[host], None, "0.0.0.0:9464");
        check("", &[port], None, "127.0.0.1:9999");
        check("", &[host, port], None, "0.0.0.0:9999");
        check("", &[("OTEL_EXPORTER_PROMETHEUS_HOST", "::1")], None, "[::1]:9464");
        check("", &[("OTEL_EXPORTER_PROMETHEUS_PORT", "many")], None, "127.0.0.1:9464");
        check("[server]\nmetrics_bind = \"127.0.0.2:1\"", &[port], None, "127.0.0.2:9999");
        check("", &[port, ("SPANLOOM_SERVER__METRICS_BIND", "127.0.0.3:3")], None, "127.0.0.3:3");
        check("", &[host, port], Some("127.0.0.4:4"), "127.0.0.4:4");
    }

    #[test]
    fn telemetry_that_makes_no_sense_is_refused() {
        let check = |file: &str, expect: &str| {
            let message = check_load(file, &[], Vec::new()).map(drop).unwrap_err();
            assert!(message.contains(expect), "{message}");
        };
        check("[telemetry]\notlp_protocol = \"thrift\"", "`telemetry.otlp_protocol` (");
        check("[telemetry]\nlog_format = \"xml\"", "is `xml`; allowed: text, json");
        check("[telemetry]\notlp_log = \"loud\"", "is `loud`; allowed: off, error");
        check("[telemetry]\notlp_endpoint = \"collector\"", "is `collector`: it has no scheme; allowed: such as http://");
    }
}
