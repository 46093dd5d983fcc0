//! What the core tells telemetry in numbers. Which instruments it moves is decided in
//! `metrics.rs`.

use crate::types::{ChannelName, Stage};

/// Something that happened once.
pub enum Fact<'a> {
    /// Texts became vectors. `mode` is `builtin` or `http`.
    Embedded {
        mode: &'static str,
        texts: usize,
        seconds: f64,
    },
    /// FAISS was searched; `kind` is that of the index.
    FaissSearched {
        kind: &'a str,
        seconds: f64,
    },
    /// Rows were scored by late interaction.
    LateInteractionScored {
        seconds: f64,
    },
    /// A statement ran; `operation` is its verb.
    DuckdbExecuted {
        operation: &'static str,
        seconds: f64,
    },
    /// The gate decided, or what stood in for it.
    Gated {
        class: &'a str,
        rm3: bool,
        rrf_k: f64,
        ambiguity: f64,
    },
    /// Rows whose score the recency boost raised.
    RecencyBoosted(u64),
    /// A channel gave so many rows.
    ChannelAnswered {
        channel: ChannelName,
        hits: usize,
    },
    /// A channel gave nothing in its time.
    ChannelLate {
        channel: ChannelName,
    },
    /// A part of a search did not do its full part. `part` is a stage or a channel,
    /// `cause` a class.
    Degraded {
        part: &'a str,
        cause: &'a str,
    },
    PluginCalled(PluginCall<'a>),
    /// A plugin was taken out after failures in a row.
    PluginQuarantined {
        stage: Stage,
        name: &'a str,
    },
    /// Another arm of an experiment was asked and nobody saw it: `ok`, `error`, or
    /// `left_out` when too many were under way.
    ShadowAsked {
        experiment: &'a str,
        outcome: &'static str,
    },
    /// A guardrail took an arm of an experiment back.
    RolledBack {
        experiment: &'a str,
        variant: &'a str,
        guardrail: &'a str,
    },
    /// A plugin was loaded while serving: `switched`, `unchanged`, `refused`.
    PluginLoaded {
        outcome: &'static str,
    },
}

/// What one plugin call comes to.
pub struct PluginCall<'a> {
    pub stage: Stage,
    /// Of the loaded plugins, so one of few.
    pub name: &'a str,
    /// Why it failed; `None` when it went well.
    pub cause: Option<&'static str>,
    /// Processor time of the guest.
    pub seconds: f64,
    /// Peak of the guest's memory.
    pub memory_bytes: u64,
    /// Items dropped over a limit, by the limit.
    pub dropped: Vec<(&'static str, u64)>,
}

/// What is known of the index that serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexFacts {
    /// Seconds since 1970 when it was built.
    pub created_s: i64,
    pub files_indexed: u64,
    pub files_skipped: u64,
    pub chunks: u64,
    pub chunks_embedded: u64,
}
