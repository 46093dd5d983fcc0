//! What to do about each way in which a run stops or loses a part. By cause, and where
//! that alone doesn't say enough, by the stage as well.

use super::stages as stage;

/// For a cause that this version doesn't know.
pub(super) const UNKNOWN: &str = "Read the error and the stage's attributes below, and check the server's log at the time of the run; `spanloom doctor` checks every part.";

/// The remedy for a cause in a stage, given by its span.
pub(super) fn remedy(at: &str, cause: &str) -> String {
    let plugin = plugin_table(at);
    let by_plugin = |text: &str| text.replace("{plugins}", plugin);
    match of_stage(at, cause).or_else(|| of_cause(cause)) {
        Some(text) => by_plugin(text),
        None => UNKNOWN.to_owned(),
    }
}

/// The configuration's table of a plugin stage.
fn plugin_table(at: &str) -> &'static str {
    match at {
        stage::GATE => "plugins.gate",
        stage::FUSE => "plugins.fusion",
        stage::RERANK => "plugins.rerank",
        _ => "plugins",
    }
}

fn of_stage(at: &str, cause: &str) -> Option<&'static str> {
    Some(match (at, cause) {
        (stage::PROFILE, "unavailable" | "engine") => {
            "The text index could not be read, without which nothing can be found: run `spanloom doctor`, then `spanloom index` to build a new generation."
        }
        (stage::EMBED | stage::VLLM_EMBED, "deadline") => {
            "The query's vector took longer than `search.embed_deadline_ms`: look at the embedding server's load, or raise that limit."
        }
        (stage::EMBED | stage::VLLM_EMBED, "unavailable") => {
            "Start the embedding server, or correct its URL in `[embedding]`; `spanloom doctor` asks it. Words are searched meanwhile."
        }
        (stage::EMBED | stage::VLLM_EMBED, "refused") => {
            "The embedding server refused the request, and would again: compare model name, key and text length in `[embedding]` with what it serves."
        }
        (stage::GATE | stage::FUSE | stage::RERANK, "deadline") => {
            "The plugin took longer than `call_ms_max` in the limits of `[{plugins}]`, or the stages before it left no time of `search.deadline_ms`: see the waterfall, and raise the limit that ran out."
        }
        (stage::BM25 | stage::FAISS | stage::FILES, "deadline") => {
            "The channel took longer than `search.channel_deadline_ms`: raise that limit, ask for less depth, or look at the machine's load."
        }
        (stage::BM25 | stage::FILES, "engine") => {
            "The text index failed: run `spanloom doctor`, which compares its files with the manifest, then `spanloom index`."
        }
        (stage::RM3, "engine") => {
            "The query was not widened because the text index or the catalog failed: run `spanloom doctor`, which compares their files with the manifest, then `spanloom index`."
        }
        (stage::FAISS, "engine") => {
            "The vector index failed or its file is gone: run `spanloom doctor`, which compares its files with the manifest, then `spanloom index`."
        }
        (stage::FAISS, "unavailable") => {
            "This generation has no vectors: run `spanloom index` with an embedding that works, or don't ask for the dense channel."
        }
        (stage::HYDRATE, "engine") => {
            "The catalog failed: run `spanloom doctor`, which compares its file with the manifest, then `spanloom index`."
        }
        (stage::OPEN_FILE, "not_found") => {
            "Give a path as findings have it, of a file that is indexed; after moving or adding files run `spanloom index`."
        }
        (stage::OPEN_FILE, "unavailable") => {
            "The file could not be read: check that it is still there and its permissions, then run `spanloom index`."
        }
        (stage::REPORT, "not_found") => {
            "Give a run or trace id that an answer gave; ledgers are kept only so long and so many bytes. `spanloom diagnostics runs` lists what there is."
        }
        (stage::REPORT, "unavailable") => {
            "The ledgers could not be read: check the permissions of `telemetry/runs` in the data directory, and its disk."
        }
        (stage::PROFILE, "crash") => {
            "Look for the end of the process in the system's log (killed, out of memory); if it repeats on this query, run `spanloom doctor`: the text index was being read."
        }
        (stage::EMBED | stage::VLLM_EMBED, "crash") => {
            "Look for the end of the process in the system's log (killed, out of memory): it was waiting for, or computing, the query's vector."
        }
        (stage::GATE | stage::FUSE | stage::RERANK, "crash") => {
            "Look for the end of the process in the system's log (killed, out of memory): a plugin was being called. Lower `memory_bytes_max` or `instances_max` in `[plugins.limits]` if memory ran out."
        }
        (stage::GATHER | stage::BM25 | stage::RM3 | stage::FAISS | stage::FILES, "crash") => {
            "Look for the end of the process in the system's log (killed, out of memory); if it repeats on this query, run `spanloom doctor` and `spanloom index`: the channels' indexes were being read."
        }
        (stage::HYDRATE, "crash") => {
            "Look for the end of the process in the system's log (killed, out of memory); if it repeats on this query, run `spanloom doctor` and `spanloom index`: the catalog was being read."
        }
        (stage::GIT_BLAME | stage::GIT_HISTORY, "crash") => {
            "Look for the end of the process in the system's log (killed, out of memory); if it repeats on this file, check the repository with `git fsck`."
        }
        (stage::EMBED | stage::VLLM_EMBED | stage::BM25 | stage::RM3 | stage::FAISS | stage::FILES, "cancelled") => {
            "Nothing is wrong with the server. If clients give up here often, lower `search.embed_deadline_ms` or `search.channel_deadline_ms` below their patience: a partial answer then comes in time."
        }
        _ => return None,
    })
}

fn of_cause(cause: &str) -> Option<&'static str> {
    Some(match cause {
        // What ends a run.
        "invalid_argument" => "Correct the argument that the message names; the tool's schema says what is allowed.",
        "not_found" => "Name what is there: paths as findings have them, plugins as `GET /admin/plugins` lists them.",
        "unavailable" => {
            "What was needed did not answer or isn't there: the message names it. `spanloom doctor` checks every part; without an index run `spanloom index`."
        }
        "unknown_tool" => "Call a tool that `tools/list` names.",
        "refused" => {
            "Correct the message: it did not follow the protocol, or came with headers or a size that the server doesn't take. The status is in the error."
        }
        "deadline" => {
            "Ask for less, or raise the limit that ran out: `server.request_timeout_ms` for whole calls, `search.deadline_ms` for searches. The waterfall shows which stage took the time."
        }
        "cancelled" => {
            "Nothing to mend when the client gave up by itself. If it was too slow for it, see the waterfall; if the server was stopped, raise `server.shutdown_grace_ms`."
        }
        "panic" => {
            "A defect of the server: the log has the place. Make `spanloom diagnostics runpack` of this run and report it; other calls are not affected."
        }
        "crash" => {
            "Look for the end of the process in the system's log (killed, out of memory, machine stopped); start it again, and try the call again with `spanloom replay`."
        }
        // Parts of a search.
        "engine" => "The library behind the stage failed: run `spanloom doctor`, which checks the index's files, then `spanloom index`.",
        "not_finite" => {
            "The index gives scores that are no numbers: its vectors are damaged or were made by a broken model. Build it again with `spanloom index`."
        }
        "bad_answer" => {
            "The model's answer doesn't fit the index: serve the model that the index was built with, or run `spanloom index` with the one served now."
        }
        "rate_limited" => "The model's server asked for fewer requests: lower `concurrency` of the model, or give the server more room.",
        "timeout" | "connect" | "transport" => {
            "The model's server could not be reached in time: check its URL, the network and its load; `spanloom doctor` asks it."
        }
        "other_embedding" => {
            "The index was built with another embedding than the configured one: configure that one again, or run `spanloom index`."
        }
        "no_channel" => {
            "Choose a channel that the index has: `spanloom status` lists them. For vectors run `spanloom index` with an embedding."
        }
        // A plugin's own doing.
        "trap.unreachable" => {
            "The plugin panicked: its message and log lines are in this report. Run its golden cases with `spanloom plugin test`, and serve a corrected or an earlier version in `[{plugins}]`."
        }
        "trap.stack_overflow" => {
            "The plugin recursed too deep: bound its recursion, and serve a corrected or an earlier version in `[{plugins}]`."
        }
        "trap.other" => {
            "The plugin was stopped by a trap or an inner error that the message names: record the call with `spanloom plugin record`, repeat it with `spanloom plugin replay`, and correct the plugin in `[{plugins}]`."
        }
        "limit.memory" => {
            "The plugin wanted more memory than allowed: raise `memory_bytes_max` in the limits of `[{plugins}]`, or have it hold less."
        }
        "limit.table" => "The plugin wanted a larger table than allowed: raise `table_elements_max` in the limits of `[{plugins}]`.",
        "limit.fuel" => {
            "The plugin computed more than allowed: raise `fuel_max` in the limits of `[{plugins}]` or set it to 0, or ask for a smaller rerank depth."
        }
        "limit.handles" => {
            "The plugin held more spans and other handles at once than allowed: have it drop them earlier, or raise `handles_max` in the limits of `[{plugins}]`."
        }
        "limit.instances" => {
            "More calls were made at once than the plugin may have instances: raise `instances_max` in the limits of `[{plugins}]`, or lower `server.concurrency_max`."
        }
        "limit.host_call_bytes" => {
            "The plugin moved more bytes in one call of the host than allowed: have it ask for fewer rows at once, or raise `host_call_bytes_max` in the limits of `[{plugins}]`."
        }
        "limit.spans" => {
            "The plugin opened more spans than allowed, and the rest was dropped: raise `spans_max` in the limits of `[{plugins}]`."
        }
        "limit.attributes" => {
            "The plugin set more attributes than allowed, and the rest was dropped: raise `attributes_max` in the limits of `[{plugins}]`."
        }
        "limit.events" => {
            "The plugin wrote more events than allowed, and the rest was dropped: raise `events_max` in the limits of `[{plugins}]`."
        }
        "limit.telemetry_bytes" => {
            "The plugin's telemetry was longer than allowed, and the rest was dropped: raise `telemetry_bytes_max` in the limits of `[{plugins}]`."
        }
        "limit.log_lines" => {
            "The plugin wrote more log lines than allowed, and the rest was dropped: raise `log_lines_max` in the limits of `[{plugins}]`."
        }
        "contract" => {
            "The plugin broke the contract, by keeping a borrowed handle or using an import where it has no meaning: build it with the SDK of the host's version."
        }
        "instantiate" => {
            "No instance of the plugin could be made: try it with `spanloom plugin inspect`, and look at `setup_ms_max` and `memory_bytes_max` in the limits of `[{plugins}]`."
        }
        "denied" => "The plugin used what it was not granted: if it should have it, add it to `grants` in `[{plugins}]`.",
        "quarantined" => {
            "The plugin failed several times in a row and is not asked for a while: an earlier report says with what. Mend or replace it in `[{plugins}]`; it is tried again by itself."
        }
        "bad_output" => {
            "The plugin's answer could not be used (length, ids, numbers): run its golden cases with `spanloom plugin test` and correct it; the message says what was wrong."
        }
        "bad_config" => "The plugin refused its parameters: correct `[{plugins}.parameters]`, or those of the request.",
        "unsupported" => {
            "The plugin doesn't do what it was asked, or needs a model that isn't configured: the message says which; choose another plugin or configure `[scoring]`."
        }
        "plugin_error" => {
            "The plugin gave up with the message above: record the call with `spanloom plugin record`, and repeat it with `spanloom plugin replay`."
        }
        // Git.
        "git_root" => "The indexed root can't be resolved: check that the folder is still there and can be read.",
        "git_open" => "The repository can't be opened: check its permissions and owner (`git status` in the folder says why).",
        "git_no_work_tree" => "The root is in no git repository, so there is no history: index the work tree of one.",
        "git_no_commits" => "The repository has no commit yet: make one.",
        "git_untracked" => "The file isn't in the last commit: commit it, or ask for one that is.",
        "git_too_large" => {
            "The file is too large to be compared commit by commit: ask for `git_history`, or use `git blame` on the command line."
        }
        "git_object_missing" => {
            "The repository lacks an object: it is a shallow or partial clone, or damaged. Run `git fetch --unshallow` or `git fsck`."
        }
        "git_object_damaged" => "The repository has a damaged object: run `git fsck`, and fetch it anew from another clone.",
        "git_read" => "The repository could not be read: check permissions and disk, and run `git fsck`.",
        _ => return None,
    })
}
