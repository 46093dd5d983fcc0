//! The configuration: defaults, then `spanloom.toml`, then `SPANLOOM_*` variables,
//! then flags. The only file that reads the environment.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use toml::{Table, Value};

use crate::code::git::GitLimits;
use crate::http::HttpSettings;
use crate::index::build::BuildSettings;
use crate::index::chunk::ChunkLimits;
use crate::index::data_dir::DataDir;
use crate::index::scan::ScanLimits;
use crate::models::EmbedderSettings;
use crate::models::lsa::LsaOptions;
use crate::models::vllm::VllmSettings;
use crate::pipeline::SearchSettings;
use crate::plugin::{PluginLimits, PluginSettings, PluginSource, SHIPPED, StageSettings};
use crate::telemetry::{Export, TelemetrySettings};
use crate::types::Stage;

/// Looked for in the current folder when no other file is named.
pub const DEFAULT_FILE: &str = "spanloom.toml";
/// Variables of this prefix set keys: `SPANLOOM_SERVER__BIND` sets `server.bind`.
pub const VARIABLE_PREFIX: &str = "SPANLOOM_";
/// Stands between the parts of a key in a variable.
const VARIABLE_SEPARATOR: &str = "__";

/// The effective configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where indexes and ledgers are.
    pub data_dir: DataDirPath,
    pub server: ServerConfig,
    pub index: IndexConfig,
    pub embedding: EmbeddingConfig,
    pub search: SearchSettings,
    pub plugins: PluginsConfig,
    pub telemetry: TelemetryConfig,
}

/// The data directory, `./.spanloom` when nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DataDirPath(pub PathBuf);

impl Default for DataDirPath {
    fn default() -> Self {
        DataDirPath(PathBuf::from(".spanloom"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port of `/mcp`, `/healthz` and `/readyz`.
    pub bind: String,
    /// Address and port of the Prometheus scrape.
    pub metrics_bind: String,
    /// Bytes of a request's body, 1 KiB to 64 MiB.
    pub body_bytes_max: usize,
    /// Requests at once, 1 to 10,000; more are answered with 503.
    pub concurrency_max: usize,
    /// A request in milliseconds, 100 to 600,000.
    pub request_timeout_ms: u64,
    /// Origins of browsers that may call, besides loopback ones.
    pub allowed_origins: Vec<String>,
    /// Names under which the server may be addressed, besides loopback ones.
    pub allowed_hosts: Vec<String>,
    /// How long requests in flight may take when the server stops, in milliseconds.
    pub shutdown_grace_ms: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            bind: "127.0.0.1:8000".into(),
            metrics_bind: "127.0.0.1:9464".into(),
            body_bytes_max: 1 << 20,
            concurrency_max: 64,
            request_timeout_ms: 30_000,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            shutdown_grace_ms: 10_000,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndexConfig {
    /// Larger files are skipped and counted, 1 KiB to 16 MiB.
    pub file_bytes_max: u64,
    /// More files than this are refused, 1 to 10,000,000.
    pub files_max: usize,
    /// Commits looked through for the last one of each file, 0 to 10,000,000.
    pub commits_max: usize,
    /// Lines of a chunk, 4 to 1,000.
    pub chunk_lines_max: u32,
    /// Bytes of a chunk's text, 256 to 65,536.
    pub chunk_bytes_max: usize,
    /// Lines of a window where there is no syntax tree, 4 to 1,000.
    pub window_lines: u32,
    /// Lines that windows share, less than half of `window_lines`.
    pub window_overlap: u32,
    /// Parsing one file in milliseconds, 10 to 60,000.
    pub parse_ms_max: u64,
}

impl Default for IndexConfig {
    fn default() -> Self {
        let (scan, chunks, git) = (ScanLimits::default(), ChunkLimits::default(), GitLimits::default());
        IndexConfig {
            file_bytes_max: scan.file_bytes_max,
            files_max: scan.files_max,
            commits_max: git.commits_max,
            chunk_lines_max: chunks.lines_max,
            chunk_bytes_max: chunks.bytes_max,
            window_lines: chunks.window_lines,
            window_overlap: chunks.window_overlap,
            parse_ms_max: chunks.parse_time_max.as_millis() as u64,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingKind {
    /// Trained on the corpus while indexing.
    #[default]
    Builtin,
    /// A vLLM server.
    Vllm,
    /// No vectors.
    Off,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingConfig {
    /// `builtin`, `vllm` or `off`.
    pub kind: EmbeddingKind,
    /// Numbers in a vector of the built-in embedding, 8 to 1,024.
    pub dimension: usize,
    /// Seed of the built-in embedding.
    pub seed: u64,
    pub vllm: VllmConfig,
}

impl Default for EmbeddingConfig {
    fn default() -> Self {
        EmbeddingConfig {
            kind: EmbeddingKind::Builtin,
            dimension: LsaOptions::default().dimension_max,
            seed: LsaOptions::default().seed,
            vllm: VllmConfig::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VllmConfig {
    /// `http://host:port`, with or without `/v1`.
    pub url: String,
    /// The served name of the model.
    pub model: String,
    /// Asks the model for shorter vectors; only models trained for it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<usize>,
    /// Name of the environment variable that holds the key; the key itself is never in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_variable: Option<String>,
    pub batch_size: usize,
    pub concurrency: usize,
    pub timeout_ms: u64,
    pub index_timeout_ms: u64,
    pub attempts_max: u32,
    pub query_prefix: String,
    pub passage_prefix: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate_prompt_tokens: Option<u32>,
}

impl Default for VllmConfig {
    fn default() -> Self {
        VllmConfig {
            url: "http://127.0.0.1:8001".into(),
            model: String::new(),
            dimension: None,
            api_key_variable: None,
            batch_size: 64,
            concurrency: 2,
            timeout_ms: 2_000,
            index_timeout_ms: 60_000,
            attempts_max: 4,
            query_prefix: String::new(),
            passage_prefix: String::new(),
            truncate_prompt_tokens: None,
        }
    }
}

/// A stage's plugin: a shipped one by name, or a component in a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StageConfig {
    /// Name of a shipped or extra plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// A component instead of a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// As the plugin's schema has them; see `spanloom plugin list --json`.
    pub parameters: Map<String, Json>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraPlugin {
    pub stage: Stage,
    pub path: PathBuf,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginsConfig {
    pub gate: StageConfig,
    pub fusion: StageConfig,
    pub rerank: StageConfig,
    pub limits: PluginLimits,
    /// Components that requests may name.
    pub extra: Vec<ExtraPlugin>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Where spans go; `OTEL_EXPORTER_OTLP_ENDPOINT` is heard too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// `grpc` or `http/protobuf`.
    pub otlp_protocol: String,
    /// Whether each run writes its ledger.
    pub ledger: bool,
    /// Whether the text of queries may stand in spans and ledgers.
    pub record_query_text: bool,
    /// What is logged to standard error, such as `info` or `spanloom=debug`.
    pub log: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        TelemetryConfig {
            otlp_endpoint: None,
            otlp_protocol: "http/protobuf".into(),
            ledger: true,
            record_query_text: true,
            log: "warn".into(),
        }
    }
}

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
    otel: OtelVariables,
    table: Table,
    origins: BTreeMap<String, Origin>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OtelVariables {
    disabled: bool,
    exporter: Option<String>,
    endpoint: Option<String>,
    protocol: Option<String>,
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
    check(&config).map_err(|(key, problem)| ConfigError::Value { origin: origin_of(&origins, key), key: key.into(), problem })?;
    let table = Table::try_from(&config).unwrap_or_default();
    Ok(Loaded { otel: otel_variables(&variables), config, table, origins })
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
fn check(config: &Config) -> Result<(), (&'static str, String)> {
    let numbers: [(&'static str, u64, u64, u64); 19] = [
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
        ("embedding.dimension", config.embedding.dimension as u64, 8, 1_024),
        ("embedding.vllm.batch_size", config.embedding.vllm.batch_size as u64, 1, 4_096),
        ("embedding.vllm.concurrency", config.embedding.vllm.concurrency as u64, 1, 64),
        ("embedding.vllm.attempts_max", u64::from(config.embedding.vllm.attempts_max), 1, 20),
        ("search.deadline_ms", config.search.deadline_ms, 10, 300_000),
        ("search.embed_deadline_ms", config.search.embed_deadline_ms, 1, 300_000),
        ("search.channel_deadline_ms", config.search.channel_deadline_ms, 1, 300_000),
    ];
    if let Some((key, value, low, high)) = numbers.into_iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
        return Err((key, format!("is {value}; allowed: {low} to {high}")));
    }
    let recency = config.search.recency;
    if !(0.0..=1.0).contains(&recency.weight) {
        return Err(("search.recency.weight", format!("is {}; allowed: 0 to 1", recency.weight)));
    }
    if !(recency.half_life_days > 0.0 && recency.half_life_days.is_finite()) {
        return Err(("search.recency.half_life_days", format!("is {}; allowed: over 0", recency.half_life_days)));
    }
    if !["grpc", "http/protobuf"].contains(&config.telemetry.otlp_protocol.as_str()) {
        return Err(("telemetry.otlp_protocol", format!("is `{}`; allowed: grpc, http/protobuf", config.telemetry.otlp_protocol)));
    }
    if config.embedding.kind == EmbeddingKind::Vllm && config.embedding.vllm.model.is_empty() {
        return Err(("embedding.vllm.model", "is empty; allowed: the name under which vLLM serves the model".into()));
    }
    config.plugins.limits.check().map_err(|problem| ("plugins.limits", problem))?;
    for (key, stage) in
        [("plugins.gate", &config.plugins.gate), ("plugins.fusion", &config.plugins.fusion), ("plugins.rerank", &config.plugins.rerank)]
    {
        if stage.plugin.is_some() && stage.path.is_some() {
            return Err((key, "has both `plugin` and `path`; allowed: one of them".into()));
        }
    }
    for (key, address) in [("server.bind", &config.server.bind), ("server.metrics_bind", &config.server.metrics_bind)] {
        if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
            return Err((key, format!("is `{address}`; allowed: ADDRESS:PORT, such as 127.0.0.1:8000")));
        }
    }
    Ok(())
}

fn otel_variables(variables: &BTreeMap<String, String>) -> OtelVariables {
    // An empty variable counts as unset, as the specification has it.
    let get = |name: &str| variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty()).map(str::to_owned);
    OtelVariables {
        disabled: get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")),
        exporter: get("OTEL_TRACES_EXPORTER"),
        endpoint: get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| get("OTEL_EXPORTER_OTLP_ENDPOINT")),
        protocol: get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| get("OTEL_EXPORTER_OTLP_PROTOCOL")),
    }
}

impl Loaded {
    /// The configuration as TOML lines, each with its origin.
    pub fn show(&self) -> String {
        let mut out = String::new();
        show_table(&mut out, &self.table, "", &self.origins);
        out
    }

    pub fn telemetry(&self) -> TelemetrySettings {
        let config = &self.config.telemetry;
        let wanted = config.otlp_endpoint.is_some() || self.otel.endpoint.is_some() || self.otel.exporter.as_deref() == Some("otlp");
        let refused = self.otel.disabled || self.otel.exporter.as_deref() == Some("none");
        // What the variables name wins over the file, as everywhere.
        let endpoint = if self.otel.endpoint.is_some() { None } else { config.otlp_endpoint.clone() };
        let protocol = self.otel.protocol.as_deref().unwrap_or(&config.otlp_protocol);
        let exporter = if protocol == "grpc" { Export::OtlpGrpc { endpoint } } else { Export::OtlpHttp { endpoint } };
        let export = (wanted && !refused).then_some(exporter);
        TelemetrySettings {
            export,
            ledger_folder: if config.ledger { Some(DataDir::new(&self.config.data_dir.0).ledgers()) } else { None },
            record_query_text: config.record_query_text,
        }
    }

    /// The endpoint that the standard variables name.
    pub fn otlp_endpoint_variable(&self) -> Option<String> {
        self.otel.endpoint.clone()
    }

    pub fn build(&self, rebuild: bool) -> BuildSettings {
        let index = &self.config.index;
        BuildSettings {
            scan: ScanLimits { file_bytes_max: index.file_bytes_max, files_max: index.files_max },
            chunks: ChunkLimits {
                lines_max: index.chunk_lines_max,
                window_lines: index.window_lines,
                window_overlap: index.window_overlap,
                bytes_max: index.chunk_bytes_max,
                parse_time_max: Duration::from_millis(index.parse_ms_max),
                ..ChunkLimits::default()
            },
            git: GitLimits { commits_max: index.commits_max },
            embedder: self.embedder(),
            rebuild,
        }
    }

    pub fn embedder(&self) -> EmbedderSettings {
        let config = &self.config.embedding;
        match config.kind {
            EmbeddingKind::Off => EmbedderSettings::Off,
            EmbeddingKind::Builtin => {
                EmbedderSettings::Builtin(LsaOptions { dimension_max: config.dimension, seed: config.seed, ..LsaOptions::default() })
            }
            EmbeddingKind::Vllm => {
                let vllm = &config.vllm;
                EmbedderSettings::Vllm(VllmSettings {
                    base_url: vllm.url.clone(),
                    model: vllm.model.clone(),
                    dimension: vllm.dimension,
                    api_key: vllm.api_key_variable.as_ref().and_then(|name| std::env::var(name).ok()),
                    batch_size: vllm.batch_size,
                    concurrency: vllm.concurrency,
                    timeout_ms: vllm.timeout_ms,
                    index_timeout_ms: vllm.index_timeout_ms,
                    attempts_max: vllm.attempts_max,
                    query_prefix: vllm.query_prefix.clone(),
                    passage_prefix: vllm.passage_prefix.clone(),
                    truncate_prompt_tokens: vllm.truncate_prompt_tokens,
                    ..VllmSettings::default()
                })
            }
        }
    }

    pub fn plugins(&self) -> PluginSettings {
        let config = &self.config.plugins;
        let stages = [(Stage::Gate, &config.gate), (Stage::Fusion, &config.fusion), (Stage::Rerank, &config.rerank)]
            .into_iter()
            .filter_map(|(stage, choice)| {
                let shipped = || SHIPPED.iter().find(|shipped| shipped.stage == stage).map(|shipped| shipped.name.to_owned());
                let source = match (&choice.path, &choice.plugin) {
                    (Some(path), _) => PluginSource::File(path.clone()),
                    (None, name) => PluginSource::Shipped(name.clone().or_else(shipped)?),
                };
                Some((stage, StageSettings { source, parameters: choice.parameters.clone() }))
            })
            .collect();
        PluginSettings {
            stages,
            extra: config.extra.iter().map(|extra| (extra.stage, extra.path.clone())).collect(),
            limits: config.limits,
        }
    }

    pub fn http(&self) -> HttpSettings {
        let server = &self.config.server;
        HttpSettings {
            body_bytes_max: server.body_bytes_max,
            concurrency_max: server.concurrency_max,
            request_timeout_ms: server.request_timeout_ms,
            allowed_origins: server.allowed_origins.clone(),
            allowed_hosts: server.allowed_hosts.clone(),
            shutdown_grace_ms: server.shutdown_grace_ms,
        }
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
        check("", &[("SPANLOOM_NONSENSE", "1")], &["nonsense"]);
        check("[embedding]\nkind = \"magic\"", &[], &["embedding.kind", "magic", "builtin"]);
        check("[embedding]\nkind = \"vllm\"", &[], &["embedding.vllm.model", "is empty"]);
        check("[server]\nbind = \"here\"", &[], &["server.bind", "ADDRESS:PORT"]);
        check("[plugins.limits]\nmemory_bytes_max = 1", &[], &["plugins.limits", "`memory_bytes_max` is 1"]);
        check("a = ", &[], &["c.toml"]);
    }

    #[test]
    fn export_follows_the_standard_variables() {
        let check = |file: &str, variables: &[(&str, &str)], expect: Option<Export>| {
            assert_eq!(check_load(file, variables, Vec::new()).unwrap().telemetry().export, expect);
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318");
        check("", &[], None);
        check("", &[endpoint], Some(Export::OtlpHttp { endpoint: None }));
        check("", &[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], Some(Export::OtlpGrpc { endpoint: None }));
        check("", &[endpoint, ("OTEL_SDK_DISABLED", "true")], None);
        check("", &[endpoint, ("OTEL_TRACES_EXPORTER", "none")], None);
        check("[telemetry]\notlp_endpoint = \"http://c:1\"", &[], Some(Export::OtlpHttp { endpoint: Some("http://c:1".into()) }));
    }
}
