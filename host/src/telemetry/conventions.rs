//! Every name that leaves the process: spans, attributes, events, headers.
//!
//! Official OpenTelemetry semantic conventions where there is one, names below
//! `retrieval.`, `faiss.`, `vllm.`, `duckdb.`, `git.`, `mcp.`, `plugin.` for the rest.

/// Span names.
pub mod span {
    pub const PROFILE: &str = "retrieval.profile";
    /// One of two arms that share an answer.
    pub const TEAM: &str = "retrieval.team";
    /// A run that nobody sees, of another arm.
    pub const SHADOW: &str = "retrieval.shadow";
    pub const GATE: &str = "retrieval.gate";
    pub const EMBED: &str = "embed";
    pub const GATHER: &str = "retrieval.gather_channels";
    pub const BM25: &str = "bm25.search";
    pub const RM3: &str = "bm25.rm3";
    pub const FAISS: &str = "faiss.search";
    pub const FILES: &str = "files.search";
    pub const FUSE: &str = "retrieval.fuse";
    pub const RECENCY: &str = "retrieval.recency_boost";
    pub const HYDRATE: &str = "duckdb.hydrate";
    pub const RERANK: &str = "retrieval.rerank";
    pub const ENVELOPE: &str = "retrieval.envelope";
    pub const OPEN_FILE: &str = "file.open";
    pub const GIT_BLAME: &str = "git.blame";
    pub const GIT_HISTORY: &str = "git.history";
    pub const REPORT_COMPOSE: &str = "report.compose";
    pub const VLLM_EMBED: &str = "vllm.embed_batch";
    pub const VLLM_RERANK: &str = "vllm.rerank";
    pub const VLLM_TOKEN_EMBED: &str = "vllm.token_embed";
    pub const EXPLAIN: &str = "retrieval.explain";
    pub const PLUGIN_LOAD: &str = "plugin.load";
    pub const PLUGIN_READ: &str = "plugin.read";
    pub const PLUGIN_COMPILE: &str = "plugin.compile";
    pub const PLUGIN_LINK: &str = "plugin.link";
    pub const PLUGIN_DESCRIBE: &str = "plugin.describe";
    pub const PLUGIN_CONFIGURE: &str = "plugin.configure";
    pub const PLUGIN_SELF_TEST: &str = "plugin.self_test";
    pub const PLUGIN_SWITCH: &str = "plugin.switch";
    pub const PLUGIN_DRAIN: &str = "plugin.drain";
    pub const DOCUMENTS_TEXTS: &str = "documents.texts";
    pub const DOCUMENTS_LOOK_UP: &str = "documents.look_up";
    pub const DOCUMENTS_EVIDENCE: &str = "documents.evidence";
}

/// The value of `request.stage` for a stage of a search; others are called by their span.
pub fn request_stage(name: &'static str) -> &'static str {
    match name {
        span::PROFILE => "profile",
        span::TEAM => "team",
        span::GATE => "gate",
        span::GATHER => "gather",
        span::FUSE => "fuse",
        span::RECENCY => "boost",
        span::HYDRATE => "hydrate",
        span::RERANK => "rerank",
        span::EXPLAIN => "explain",
        span::ENVELOPE => "envelope",
        other => other,
    }
}

/// Attribute keys.
pub mod attr {
    pub const MCP_METHOD: &str = "mcp.method.name";
    pub const MCP_TOOL: &str = "mcp.tool";
    pub const MCP_SESSION_ID: &str = "mcp.session_id";
    pub const MCP_RUN_ID: &str = "mcp.run_id";
    /// What the client called the run, when another run has that id.
    pub const MCP_CLIENT_RUN_ID: &str = "mcp.client_run_id";
    pub const MCP_PROTOCOL_VERSION: &str = "mcp.protocol.version";
    pub const MCP_RESPONSE_STATUS: &str = "mcp.response.status";
    pub const GEN_AI_TOOL_NAME: &str = "gen_ai.tool.name";
    pub const GEN_AI_OPERATION_NAME: &str = "gen_ai.operation.name";
    pub const GEN_AI_REQUEST_MODEL: &str = "gen_ai.request.model";
    pub const GEN_AI_USAGE_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    pub const ERROR_TYPE: &str = "error.type";
    pub const REQUEST_STAGE: &str = "request.stage";
    pub const SERVER_ADDRESS: &str = "server.address";
    pub const SERVER_PORT: &str = "server.port";
    pub const HTTP_STATUS: &str = "http.response.status_code";

    pub const QUERY_TEXT: &str = "retrieval.query_text";
    pub const QUERY_SHA256: &str = "retrieval.query_sha256";
    pub const QUERY_LEN: &str = "retrieval.query_len";
    pub const QUERY_TERMS: &str = "retrieval.query_terms";
    pub const QUERY_PHRASES: &str = "retrieval.query_phrases";
    pub const QUERY_PREFIXES: &str = "retrieval.query_prefixes";
    pub const RM3_DOCUMENTS: &str = "retrieval.rm3_documents";
    pub const RM3_TERMS: &str = "retrieval.rm3_terms";
    pub const TOP_K: &str = "retrieval.top_k";
    pub const RERANK: &str = "retrieval.rerank";
    pub const RERANK_DEPTH: &str = "retrieval.rerank_depth";
    pub const RRF_K: &str = "retrieval.rrf_k";
    pub const RM3_ENABLED: &str = "retrieval.rm3_enabled";
    pub const CHANNEL: &str = "retrieval.channel";
    pub const CHANNEL_DEPTH: &str = "retrieval.channel_depth";
    pub const CHANNEL_DEPTHS: &str = "retrieval.channel_depths";
    pub const CHANNEL_WEIGHTS: &str = "retrieval.channel_weights";
    pub const CHANNELS_USED: &str = "retrieval.channels_used";
    pub const CLASS: &str = "retrieval.query_class";
    pub const AMBIGUITY: &str = "retrieval.query_ambiguity";
    pub const REASONS: &str = "retrieval.gating.reasons";
    pub const HITS: &str = "retrieval.hits";
    pub const DEADLINE_MS: &str = "retrieval.deadline_ms";
    pub const FUSED_DOCS: &str = "retrieval.fused_docs";
    /// Rows left out because their record has a better passage.
    pub const PASSAGES_COLLAPSED: &str = "retrieval.passages_collapsed";
    pub const RECENCY_BOOSTED: &str = "retrieval.recency_boosted";
    pub const RECENCY_WEIGHT: &str = "retrieval.recency_weight";
    /// Ids of the experiments that a run is part of.
    pub const EXPERIMENT: &str = "retrieval.experiment";
    /// Keys of its arms, in the order of the experiments.
    pub const VARIANT: &str = "retrieval.variant";
    pub const EXPERIMENT_VERSION: &str = "retrieval.experiment_version";
    pub const EXPERIMENT_BUCKET: &str = "retrieval.experiment_bucket";
    /// Where two arms share an answer, 16 hexadecimal digits that decide who picks first.
    pub const EXPERIMENT_SEED: &str = "retrieval.experiment_seed";
    pub const QUERY_KNOWN: &str = "retrieval.query_known";
    pub const FILTER_ADMITS: &str = "retrieval.filter_admits";
    pub const FINDINGS: &str = "retrieval.findings";
    pub const DEGRADED: &str = "retrieval.degraded";
    pub const GENERATION: &str = "retrieval.index_generation";
    pub const WARNINGS: &str = "spanloom.warnings";

    pub const STEP_STATUS: &str = "step.status";
    pub const STEP_DURATION_US: &str = "step.duration_us";
    pub const STEP_DETAIL: &str = "step.detail";
    pub const MESSAGE: &str = "message";
    pub const REASON: &str = "reason";
    pub const PART: &str = "part";
    pub const CAUSE: &str = "cause";
    pub const INSTEAD: &str = "instead";

    pub const FAISS_INDEX_KIND: &str = "faiss.index_kind";
    pub const FAISS_METRIC: &str = "faiss.metric";
    pub const FAISS_DIM: &str = "faiss.dim";
    pub const FAISS_K: &str = "faiss.k";
    pub const FAISS_NPROBE: &str = "faiss.nprobe";
    pub const FAISS_GPU: &str = "faiss.gpu";
    /// Of the primary index, removed ones among them.
    pub const FAISS_ROWS: &str = "faiss.rows";
    pub const FAISS_ROWS_REMOVED: &str = "faiss.rows_removed";
    pub const FAISS_ROWS_SECONDARY: &str = "faiss.rows_secondary";

    pub const VLLM_MODE: &str = "vllm.mode";
    pub const VLLM_MODEL_NAME: &str = "vllm.model_name";
    pub const VLLM_EMBED_DIM: &str = "vllm.embed_dim";
    pub const VLLM_BATCH: &str = "vllm.batch_size";
    /// What came back: scores, or vectors of tokens.
    pub const VLLM_ROWS: &str = "vllm.rows";
    pub const VLLM_ATTEMPTS: &str = "vllm.attempts";

    pub const DB_SYSTEM: &str = "db.system.name";
    pub const DB_OPERATION: &str = "db.operation.name";
    pub const DB_QUERY_TEXT: &str = "db.query.text";
    pub const DB_ROWS: &str = "db.response.returned_rows";
    pub const DUCKDB_ROWS: &str = "duckdb.rows";
    pub const DUCKDB_ROWS_CACHED: &str = "duckdb.rows_cached";
    pub const DUCKDB_SQL_BYTES: &str = "duckdb.sql_bytes";

    pub const DOCUMENTS_ROWS: &str = "documents.rows";
    pub const DOCUMENTS_TERMS: &str = "documents.terms";

    pub const FILE_PATH: &str = "file.path";
    pub const FILE_LINES: &str = "file.line_range";

    /// `blame` or `history`.
    pub const GIT_OP: &str = "git.op";
    pub const GIT_PATH: &str = "git.path";
    pub const GIT_LINES: &str = "git.line_range";
    pub const GIT_LIMIT: &str = "git.limit";
    /// The commit HEAD, where the walk began.
    pub const GIT_COMMIT: &str = "git.commit";
    /// Commits that were found.
    pub const GIT_COMMITS: &str = "git.commits";
    pub const GIT_HUNKS: &str = "git.hunks";
    /// Commits that were looked at.
    pub const GIT_COMMITS_WALKED: &str = "git.commits_walked";
    /// The run or trace that is reported on.
    pub const REPORT_ID: &str = "report.id";

    pub const PLUGIN_NAME: &str = "plugin.name";
    pub const PLUGIN_VERSION: &str = "plugin.version";
    pub const PLUGIN_SHA256: &str = "plugin.sha256";
    pub const PLUGIN_STAGE: &str = "plugin.stage";
    pub const PLUGIN_ARM: &str = "plugin.experiment_arm";
    pub const PLUGIN_REUSE: &str = "plugin.instance_reuse";
    pub const PLUGIN_ROWS_IN: &str = "plugin.candidates_in";
    pub const PLUGIN_ROWS_OUT: &str = "plugin.candidates_out";
    pub const PLUGIN_GUEST_US: &str = "plugin.guest_time_us";
    pub const PLUGIN_MEMORY: &str = "plugin.memory_bytes_peak";
    pub const PLUGIN_TRAP: &str = "plugin.trap";
    pub const PLUGIN_FUEL: &str = "plugin.fuel_used";
    pub const PLUGIN_SOURCE: &str = "plugin.source";
    pub const PLUGIN_CHANGED: &str = "plugin.changed";
    pub const PLUGIN_REVISION: &str = "plugin.revision";
    pub const PLUGIN_CASES: &str = "plugin.self_test_calls";
    pub const WITHOUT_CHANNEL: &str = "retrieval.without_channel";
    pub const PLUGIN_DROPPED: &str = "plugin.telemetry_dropped";
    pub const PLUGIN_FALLBACK: &str = "plugin.fallback";
    /// Keys below this are the host's to set.
    pub const PLUGIN_HOST_PREFIX: &str = "plugin.";
    /// Put before keys a guest sets without a dot, or below the host's prefix.
    pub const PLUGIN_GUEST_PREFIX: &str = "plugin.attr.";
}

/// Event names.
pub mod event {
    pub const GATING_DECISION: &str = "retrieval.gating.decision";
    pub const CHANNEL_BUDGET: &str = "retrieval.gating.budget";
    pub const DEGRADED: &str = "retrieval.degraded";
    pub const EXPOSURE: &str = "retrieval.experiment.exposure";
    pub const WARNING: &str = "retrieval.warning";
    pub const PLUGIN_FAILED: &str = "plugin.failed";
    pub const PLUGIN_LIMIT: &str = "plugin.limit_reached";
    pub const PLUGIN_QUARANTINED: &str = "plugin.quarantined";
    pub const PLUGIN_LOG: &str = "plugin.log";
    pub const RETRY: &str = "vllm.retry";
}

/// HTTP headers of an MCP exchange, lower case.
pub mod header {
    pub const TRACE_ID: &str = "x-trace-id";
    pub const RUN_ID: &str = "x-run-id";
    pub const SESSION_ID: &str = "x-session-id";
    pub const TRACEPARENT: &str = "traceparent";
    pub const TRACESTATE: &str = "tracestate";
    pub const BAGGAGE: &str = "baggage";
}

/// Keys of W3C baggage.
pub mod baggage {
    pub const RUN_ID: &str = "run.id";
    pub const SESSION_ID: &str = "session.id";
}
