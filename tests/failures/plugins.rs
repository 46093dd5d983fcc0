//! Plugins that trap, loop, ask for too much or answer nonsense, at each of their
//! stages; the stage's fallback serves.

use super::{Reports, Row, row};
use crate::hostile::{arguments, extra, indexed};
use crate::support::server::Server;

const GATE: &str = "retrieval.gate";
const FUSE: &str = "retrieval.fuse";
const RERANK: &str = "retrieval.rerank";

const fn plugin(name: &'static str, injected: &'static str, stage: &'static str, cause: &'static str) -> Row {
    row(name, injected, [stage, cause, "degraded"], "hostile")
}

pub(super) const ROWS: &[Row] = &[
    plugin("gate-panics", "a gate panics", GATE, "trap.unreachable"),
    plugin("fusion-panics", "a fusion panics", FUSE, "trap.unreachable"),
    plugin("rerank-panics", "a reranker panics", RERANK, "trap.unreachable"),
    plugin("fusion-panics-within", "a fusion panics within spans of its own", FUSE, "trap.unreachable"),
    plugin("gate-recurses", "a gate recurses without end", GATE, "trap.stack_overflow"),
    plugin("rerank-exits", "a reranker ends its process", RERANK, "trap.other"),
    plugin("gate-loops", "a gate loops for ever", GATE, "deadline"),
    plugin("fusion-loops", "a fusion loops for ever", FUSE, "deadline"),
    plugin("rerank-loops", "a reranker loops for ever", RERANK, "deadline"),
    plugin("gate-takes-memory", "a gate takes more memory than it may", GATE, "limit.memory"),
    plugin("fusion-takes-memory", "a fusion takes more memory than it may", FUSE, "limit.memory"),
    plugin("rerank-takes-memory", "a reranker takes more memory than it may", RERANK, "limit.memory"),
    plugin("gate-names-no-channel", "a gate gives a budget to a channel there isn't", GATE, "bad_output"),
    plugin("fusion-scores-nan", "a fusion gives a score that is no number", FUSE, "bad_output"),
    plugin("rerank-scores-too-many", "a reranker gives a score too many", RERANK, "bad_output"),
    plugin("fusion-huge-output", "a fusion gives more bytes than may cross", FUSE, "limit.host_call_bytes"),
    plugin("fusion-hoards-spans", "a fusion holds too many spans open", FUSE, "limit.handles"),
    plugin("rerank-sleeps", "a reranker asks for a timer, which plugins have not", RERANK, "contract"),
    plugin("rerank-unknown-rows", "a reranker asks for the texts of rows that aren't its own", RERANK, "contract"),
    plugin("rerank-not-granted", "a reranker asks for a model's scores without a grant", RERANK, "denied"),
    plugin("gate-refuses", "a gate says that its parameters are wrong after all", GATE, "bad_config"),
    plugin("fusion-gives-up", "a fusion answers with an error of its own", FUSE, "plugin_error"),
    plugin("rerank-unsupported", "a reranker says that it can't do this", RERANK, "unsupported"),
    plugin("rerank-quarantined", "a reranker failed before and is not asked for a while", RERANK, "quarantined"),
];

/// Rows by stage and mode of the hostile component.
const MODES: &[(&str, &str, &str)] = &[
    ("gate-panics", "gate", "panic"),
    ("fusion-panics", "fusion", "panic"),
    ("rerank-panics", "rerank", "panic"),
    ("fusion-panics-within", "fusion", "panic_in_child_span"),
    ("gate-recurses", "gate", "deep_recursion"),
    ("rerank-exits", "rerank", "exit"),
    ("gate-loops", "gate", "spin"),
    ("fusion-loops", "fusion", "spin"),
    ("rerank-loops", "rerank", "spin"),
    ("gate-takes-memory", "gate", "memory_bomb"),
    ("fusion-takes-memory", "fusion", "memory_bomb"),
    ("rerank-takes-memory", "rerank", "memory_bomb"),
    ("gate-names-no-channel", "gate", "unknown_channel"),
    ("fusion-scores-nan", "fusion", "nan_scores"),
    ("rerank-scores-too-many", "rerank", "wrong_length"),
    ("fusion-huge-output", "fusion", "huge_output"),
    ("fusion-hoards-spans", "fusion", "span_hoard"),
    ("rerank-sleeps", "rerank", "sleep"),
    ("rerank-unknown-rows", "rerank", "unknown_id"),
    ("rerank-not-granted", "rerank", "asks_late"),
    ("gate-refuses", "gate", "bad_config"),
    ("fusion-gives-up", "fusion", "internal"),
    ("rerank-unsupported", "rerank", "unsupported"),
    // The second time that it panics with these parameters.
    ("rerank-quarantined", "rerank", "panic"),
];

/// A call's time in milliseconds: what ends by itself does so well before, on a busy
/// machine too.
const CALL_MS: u32 = 2_000;
/// The memory of an instance: it is filled well within the time.
const MEMORY_BYTES: usize = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_fail_are_told() {
    // One failure takes a plugin out, with the parameters it failed with.
    let mut config = "[plugins.quarantine]\nfailures_max = 1\nfirst_ms = 3600000\nlongest_ms = 3600000\n".to_owned();
    for (stage, grants) in [("gate", ""), ("fusion", ""), ("rerank", "grants = [\"documents\"]\n")] {
        config += &extra(stage, &format!("{grants}limits = {{ call_ms_max = {CALL_MS}, memory_bytes_max = {MEMORY_BYTES} }}"));
    }
    let sandbox = indexed(&config);
    let server = Server::start(&sandbox);
    let mut reports = Reports::default();
    for (row, stage, mode) in MODES {
        reports.ask(&server, row, "semantic_search_pro", arguments(stage, mode)).await;
    }
    reports.check(ROWS);
}
