//! What can be configured: every key with its default. The ranges are checked in
//! `config.rs`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::code::git::GitLimits;
use crate::faults::Faults;
use crate::index::build::UpdateLimits;
use crate::index::chunk::ChunkLimits;
use crate::index::scan::ScanLimits;
use crate::models::lsa::LsaOptions;
use crate::pipeline::SearchSettings;
use crate::plugin::{Capability, PluginLimits, QuarantineSettings};
use crate::telemetry::{QueryText, Retention};
use crate::types::Stage;

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
    pub scoring: ScoringConfig,
    pub telemetry: TelemetryConfig,
    pub experiments: ExperimentsConfig,
    /// Stages that go wrong on purpose, by their spans: `"duckdb.hydrate" = "error"`.
    /// For drills; empty otherwise.
    #[serde(skip_serializing_if = "Faults::is_empty")]
    pub faults: Faults,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExperimentsConfig {
    /// The folder of the files of experiments. It need not be there.
    pub folder: PathBuf,
    /// The journal's days older than so many are removed, 0 to 36,500; 0 keeps them. Those
    /// that an experiment which isn't stopped may need stay.
    pub journal_days_max: u32,
}

impl Default for ExperimentsConfig {
    fn default() -> Self {
        ExperimentsConfig { folder: "experiments".into(), journal_days_max: 365 }
    }
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
    /// Name of the environment variable that holds the bearer token of the admin
    /// endpoints. Without it they answer callers of this machine only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_token_variable: Option<String>,
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
            admin_token_variable: None,
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
    /// Indexes of fewer chunks are always written whole, 0 to 10,000,000.
    pub update_chunks_min: u64,
    /// Chunks added and removed since an index was written whole, in percent of those it had,
    /// up to which it is updated; 0 to 50.
    pub update_percent_max: u64,
}

impl Default for IndexConfig {
    fn default() -> Self {
        let (scan, chunks, git) = (ScanLimits::default(), ChunkLimits::default(), GitLimits::default());
        let updates = UpdateLimits::default();
        IndexConfig {
            file_bytes_max: scan.file_bytes_max,
            files_max: scan.files_max,
            commits_max: git.commits_max,
            chunk_lines_max: chunks.lines_max,
            chunk_bytes_max: chunks.bytes_max,
            window_lines: chunks.window_lines,
            window_overlap: chunks.window_overlap,
            parse_ms_max: chunks.parse_time_max.as_millis() as u64,
            update_chunks_min: updates.chunks_min,
            update_percent_max: updates.percent_max,
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

/// A stage's plugin: a loaded one by name, or a component in a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StageConfig {
    /// Name of a shipped or extra plugin, or one of the folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// A component instead of a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The one component that may serve, by its digest in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What it may use beyond its arguments; without it shipped plugins have what they
    /// need and others nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<Capability>>,
    /// Limits that differ from `plugins.limits`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub limits: Map<String, Json>,
    /// Golden cases that a version has to pass before it serves: a folder or a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cases: Option<PathBuf>,
    /// As the plugin's schema has them; see `spanloom plugin list --json`.
    pub parameters: Map<String, Json>,
}

/// A component that requests may name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraPlugin {
    pub stage: Stage,
    pub path: PathBuf,
    /// See [`StageConfig`], as the following ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Capability>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub limits: Map<String, Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginsConfig {
    pub gate: StageConfig,
    pub fusion: StageConfig,
    pub rerank: StageConfig,
    /// A folder whose components (`*.wasm`) are all loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    pub limits: PluginLimits,
    pub quarantine: QuarantineSettings,
    /// Components that requests may name.
    pub extra: Vec<ExtraPlugin>,
}

/// A model that scores rows for rerankers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScorerConfig {
    /// `http://host:port` of vLLM, with or without `/v1`.
    pub url: String,
    /// The served name of the model.
    pub model: String,
    /// Name of the environment variable that holds the key; the key itself is never in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_variable: Option<String>,
    /// One request in milliseconds, 1 to 60,000; a call's own limit is lower.
    pub timeout_ms: u64,
    /// Documents in one request, 1 to 1,024.
    pub batch_size: usize,
    /// Requests at once, 1 to 64.
    pub concurrency: usize,
    /// 1 to 10.
    pub attempts_max: u32,
    /// Bytes of a document that are sent, 64 to 1,048,576.
    pub document_bytes_max: usize,
    /// Written before the query and before each document, for models trained that way.
    pub query_prefix: String,
    pub document_prefix: String,
}

impl Default for ScorerConfig {
    fn default() -> Self {
        ScorerConfig {
            url: "http://127.0.0.1:8002".into(),
            model: String::new(),
            api_key_variable: None,
            timeout_ms: 2_000,
            batch_size: 32,
            concurrency: 2,
            attempts_max: 2,
            document_bytes_max: 8_192,
            query_prefix: String::new(),
            document_prefix: String::new(),
        }
    }
}

/// Models that plugins may be granted; without a section there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoringConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_encoder: Option<ScorerConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_interaction: Option<ScorerConfig>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Where spans, metrics and log records go; `OTEL_EXPORTER_OTLP_ENDPOINT` goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// `grpc`, `http/protobuf` or `http/json`.
    pub otlp_protocol: String,
    /// From which level on log records are exported, when they are: `off`, `error`,
    /// `warn`, `info`, `debug` or `trace`.
    pub otlp_log: String,
    /// Whether each run writes its ledger.
    pub ledger: bool,
    /// Ledgers older than so many days are removed, 0 to 36,500; 0 keeps them.
    pub ledger_days_max: u32,
    /// The oldest ledgers are removed when all of them are larger, in bytes; 0 keeps them.
    pub ledger_bytes_max: u64,
    /// What of the text of queries may stand in spans and ledgers: `true`, `false`, or
    /// `"hash"` for their SHA-256.
    pub record_query_text: QueryText,
    /// What is logged to standard error, such as `info` or `spanloom=debug`.
    pub log: String,
    /// How that looks: `text` or `json`.
    pub log_format: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        TelemetryConfig {
            otlp_endpoint: None,
            otlp_protocol: "http/protobuf".into(),
            otlp_log: "info".into(),
            ledger: true,
            ledger_days_max: Retention::default().days_max,
            ledger_bytes_max: Retention::default().bytes_max,
            record_query_text: QueryText::Plain,
            log: "warn".into(),
            log_format: "text".into(),
        }
    }
}
