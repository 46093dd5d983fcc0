//! From the configuration to the settings of each part.

use std::time::Duration;

use super::Loaded;
use super::schema::EmbeddingKind;
use crate::code::git::GitLimits;
use crate::http::HttpSettings;
use crate::index::build::{BuildSettings, UpdateLimits};
use crate::index::chunk::ChunkLimits;
use crate::index::data_dir::DataDir;
use crate::index::scan::ScanLimits;
use crate::models::EmbedderSettings;
use crate::models::lsa::LsaOptions;
use crate::models::scoring::ScoringSettings;
use crate::models::vllm::VllmSettings;
use crate::plugin::PluginSettings;
use crate::telemetry::{LedgerSettings, OtelSettings, Retention, TelemetrySettings, sha256_hex};

impl Loaded {
    pub fn telemetry(&self) -> TelemetrySettings {
        let config = &self.config.telemetry;
        TelemetrySettings {
            export: Some(self.otel.clone()),
            ledger_folder: if config.ledger { Some(DataDir::new(&self.config.data_dir.0).ledgers()) } else { None },
            ledger: LedgerSettings {
                retention: Retention { days_max: config.ledger_days_max, bytes_max: config.ledger_bytes_max },
                full_disk: self.config.faults.fill_disk(),
            },
            query_text: config.record_query_text,
            config_sha256: Some(self.digest()),
        }
    }

    /// SHA-256 of the effective configuration without what doesn't touch an answer:
    /// where data and telemetry go, and how the server listens.
    fn digest(&self) -> String {
        let mut table = self.table.clone();
        for part in ["data_dir", "server", "telemetry"] {
            table.remove(part);
        }
        sha256_hex(&table.to_string())
    }

    /// What is exported, and where to.
    pub fn otel(&self) -> &OtelSettings {
        &self.otel
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
            updates: UpdateLimits { chunks_min: index.update_chunks_min, percent_max: index.update_percent_max },
            rebuild,
        }
    }

    pub fn embedder(&self) -> EmbedderSettings {
        match self.config.embedding.kind {
            EmbeddingKind::Off => EmbedderSettings::Off,
            EmbeddingKind::Builtin => self.builtin_embedder(),
            EmbeddingKind::Vllm => EmbedderSettings::Vllm(self.vllm_embedder()),
        }
    }

    /// The built-in embedding, whether or not it is the configured one.
    pub fn builtin_embedder(&self) -> EmbedderSettings {
        let config = &self.config.embedding;
        EmbedderSettings::Builtin(LsaOptions { dimension_max: config.dimension, seed: config.seed, ..LsaOptions::default() })
    }

    /// The vLLM server, whether or not it is the configured embedding.
    pub fn vllm_embedder(&self) -> VllmSettings {
        let vllm = &self.config.embedding.vllm;
        VllmSettings {
            base_url: vllm.url.clone(),
            model: vllm.model.clone(),
            dimension: vllm.dimension,
            api_key: self.secrets.get("embedding.vllm.api_key_variable").cloned(),
            batch_size: vllm.batch_size,
            concurrency: vllm.concurrency,
            timeout_ms: vllm.timeout_ms,
            index_timeout_ms: vllm.index_timeout_ms,
            attempts_max: vllm.attempts_max,
            query_prefix: vllm.query_prefix.clone(),
            passage_prefix: vllm.passage_prefix.clone(),
            truncate_prompt_tokens: vllm.truncate_prompt_tokens,
            ..VllmSettings::default()
        }
    }

    pub fn plugins(&self) -> PluginSettings {
        self.config.plugins.settings(&self.granted)
    }

    /// Models that plugins may be granted.
    pub fn scoring(&self) -> ScoringSettings {
        let keys = self.secrets.iter().filter_map(|(key, value)| Some((key.strip_suffix(".api_key_variable")?.to_owned(), value.clone())));
        self.config.scoring.settings(&keys.collect())
    }

    /// Whether any plugin's computation is counted.
    pub fn counts_fuel(&self) -> bool {
        let settings = self.plugins();
        let stages = settings.stages.values().filter_map(|stage| stage.terms.as_ref());
        let mut all = stages.chain(settings.extra.iter().map(|extra| &extra.terms)).chain([&settings.terms]);
        all.any(|terms| terms.limits.fuel_max > 0)
    }

    /// What the admin endpoints want to see from whoever is not on this machine.
    pub fn admin_token(&self) -> Option<String> {
        self.secrets.get("server.admin_token_variable").cloned()
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
