//! Wrong experiments: what is changed about a right one, and every problem that is told.

use std::path::Path;

use toml::{Table, Value};

use super::*;
use crate::experiments::FILE_BYTES_MAX;

const RIGHT: &str = "
id = 'right'
version = 1
state = 'draft'
mode = 'ab'
unit = { kind = 'session' }
arms = [{ key = 'a' }, { key = 'b' }]
metrics = { primary = 'success' }
";

/// `change` has lines `key = value`, or `key =` for a key that is taken away.
fn changed(change: &str) -> String {
    let mut root = Value::Table(RIGHT.parse().unwrap());
    for line in change.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once('=').unwrap();
        let steps: Vec<&str> = key.trim().split(['.', '[', ']']).filter(|step| !step.is_empty()).collect();
        let (last, parents) = steps.split_last().unwrap();
        let parent = parents.iter().fold(&mut root, |at, step| step_into(at, step));
        match format!("v = {value}").parse::<Table>() {
            Ok(mut table) => *step_into(parent, last) = table.remove("v").unwrap(),
            Err(_) => assert!(parent.as_table_mut().unwrap().remove(*last).is_some(), "{line}"),
        }
    }
    toml::to_string(&root).unwrap()
}

fn step_into<'a>(at: &'a mut Value, step: &str) -> &'a mut Value {
    match at {
        Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
        Value::Table(members) => members.entry(step).or_insert_with(|| Value::Table(Table::new())),
        other => panic!("{other} has no {step}"),
    }
}

/// Each problem is a line that begins with what is expected, in this order; no other is told.
fn check(change: &str, expect: &[&str]) {
    let text = changed(change);
    let told = read_text(Path::new("a.toml"), &text).err().map_or(String::new(), |error| error.to_string());
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told.len(), expect.len(), "{change}: {told:#?}");
    for (line, expect) in told.iter().zip(expect) {
        assert!(line.strip_prefix("a.toml: ").is_some_and(|problem| problem.starts_with(expect)), "{change}: {line}");
    }
}

#[test]
fn the_experiment_itself() {
    check("", &[]);
    check("id =", &["`id` is missing"]);
    check("mode =", &["`mode` is missing"]);
    check("arms =", &["`arms` is missing"]);
    check("metrics =", &["`metrics` is missing"]);
    check("metrics = {}", &["`metrics.primary` is missing"]);
    check("id = ''", &["`id` is empty; allowed: `a` to `z`"]);
    check("id = '-a'", &["`id` is `-a`; allowed"]);
    check("id = 'Rrf'", &["`id` is `Rrf`; allowed"]);
    check("id = 'a/../b'", &["`id` is `a/../b`; allowed"]);
    check(&format!("id = '{}'", "x".repeat(65)), &["`id` is `xxxx"]);
    check(&format!("id = '{}'", "x".repeat(64)), &[]);
    check("version = 0", &["`version` is 0; allowed: 1 to 4294967295"]);
    check("version = -1", &["`version` can't be read: invalid value: integer `-1`, expected a whole number"]);
    check("version = '1'", &["`version` can't be read: invalid type: string \"1\", expected a whole number"]);
    check("state = 'on'", &["`state` can't be read: unknown variant `on`, expected one of `draft`, `running`, `paused`, `stopped`"]);
    check("mode = 'live'", &["`mode` can't be read: unknown variant `live`, expected one of `offline`, `shadow`, `ab`, `interleave`"]);
    check("state = 'running'", &["`owner` is empty; allowed: some text, as", "`hypothesis` is empty; allowed: some text"]);
    check("state = 'running'\nowner = 'x'\nhypothesis = ' '", &["`hypothesis` is empty"]);
    check("coverage = 1.01", &["`coverage` is 1.01; allowed: 0 to 1"]);
    check("coverage = -0.5", &["`coverage` is -0.5; allowed: 0 to 1"]);
    check("coverage = nan", &["`coverage` is NaN; allowed: finite numbers"]);
    check("coverage = inf", &["`coverage` is inf; allowed: finite numbers"]);
    check("coverage = 'all'", &["`coverage` can't be read: invalid type: string \"all\", expected a number"]);
    check("coverage = 2026-01-01", &["`coverage` is 2026-01-01; allowed: texts, numbers"]);
    check("control = 'c'", &["`control` is `c`; allowed: the key of an arm: `a`, `b`"]);
    check("control = 'b'", &[]);
    check("contrl = 'b'", &["`contrl` is not known; allowed: `id`, `version`"]);
}

#[test]
fn units_layers_and_hashes() {
    check("unit = {}", &["`unit.kind` is missing"]);
    check("unit.kind = 'user'", &["`unit.kind` can't be read: unknown variant `user`, expected one of `session`"]);
    check("unit.kind = 'header'", &["`unit.header` is missing; allowed: the name of a header"]);
    check("unit.header = 'x-user'", &["`unit.header` is `x-user`; allowed: only with kind `header`"]);
    check("unit = { kind = 'header', header = 'x-user' }", &[]);
    check("unit = { kind = 'header', header = 'X-User' }", &["`unit.header` is `X-User`; allowed: the name of a header, in lower case"]);
    check("unit = { kind = 'header', header = 'x user' }", &["`unit.header` is `x user`"]);
    check("unit = { kind = 'header', header = '' }", &["`unit.header` is empty"]);
    check(
        "unit = { kind = 'header', header = 'authorization' }",
        &["`unit.header` is `authorization`; allowed: a header that is no secret"],
    );
    check("layer = { name = 'l', salt = 's', buckets = [0, 5000] }", &[]);
    check("layer = { name = 'l', salt = 's' }", &["`layer.buckets` is missing"]);
    check("layer = { name = 'l', salt = 's', buckets = [0] }", &["`layer.buckets` can't be read: invalid length 1"]);
    check(
        "layer = { name = '', salt = ' ', buckets = [0, 1] }",
        &["`layer.name` is empty", "`layer.salt` is ` `; allowed: 1 to 128 bytes"],
    );
    check("layer = { name = 'l', salt = 's', buckets = [5, 5] }", &["`layer.buckets` is [5, 5]; allowed: [start, end] with start < end"]);
    check("layer = { name = 'l', salt = 's', buckets = [9, 5] }", &["`layer.buckets` is [9, 5]"]);
    check(
        "layer = { name = 'l', salt = 's', buckets = [0, 10001] }",
        &["`layer.buckets` is [0, 10001]; allowed: [start, end] with start < end and end at most 10000"],
    );
    check(
        "layer = { name = 'l', salt = 'right', buckets = [0, 5] }",
        &["`layer.salt` is `right`; allowed: another one than that of the experiment's hash"],
    );
    check("hash.algorithm = 'md5'", &["`hash.algorithm` can't be read: unknown variant `md5`, expected `xxh3` or `growthbook_v2`"]);
    check("hash.buckets = 99", &["`hash.buckets` is 99; allowed: 100 to 1000000"]);
    check("hash.buckets = 1000001", &["`hash.buckets` is 1000001"]);
    check(
        "hash = { algorithm = 'growthbook_v2', buckets = 1000 }",
        &["`hash.buckets` is 1000; allowed: 10000, as `growthbook_v2` has them"],
    );
    check("hash.salt = ''", &["`hash.salt` is empty; allowed: 1 to 128 bytes"]);
    check("hash.seed = 1", &["`hash.seed` is not known; allowed: `algorithm`, `salt`, `buckets`"]);
}

#[test]
fn eligibility() {
    check("eligibility.tools = []", &["`eligibility.tools` is an empty list; allowed: at least one entry; leave it out"]);
    check(
        "eligibility.tools = ['open_file']",
        &["`eligibility.tools[0]` can't be read: unknown variant `open_file`, expected `semantic_search` or"],
    );
    check("eligibility.tools = ['semantic_search', 'semantic_search']", &["`eligibility.tools[1]` repeats an earlier entry"]);
    check("eligibility.languages = ['rust', 'klingon']", &["`eligibility.languages[1]` is `klingon`; allowed: rust, python"]);
    check("eligibility.query_classes = ['vague', '']", &["`eligibility.query_classes[1]` is empty"]);
    let gate = "eligibility.query_classes = ['vague']\narms[1].plugins.gate.parameters = { rm3_enabled = true }";
    check(gate, &["`eligibility.query_classes` is set while arms change the gate; allowed: one of the two"]);
    check("eligibility.header = { name = 'x-a', values = [] }", &["`eligibility.header.values` is an empty list"]);
    check(
        "eligibility.header = { name = 'cookie', values = ['a'] }",
        &["`eligibility.header.name` is `cookie`; allowed: a header that is no secret"],
    );
    check("eligibility.holdout = { salt = 'h', share = 0.6 }", &["`eligibility.holdout.share` is 0.6; allowed: 0 to 0.5"]);
    check(
        "eligibility.holdout = { salt = 'right', share = 0.1 }",
        &["`eligibility.holdout.salt` is `right`; allowed: another one than that of the experiment's hash"],
    );
    check(
        "eligibility.holdout = { salt = 'l', share = 0.1 }\nlayer = { name = 'l', salt = 'l', buckets = [0, 1] }",
        &["`eligibility.holdout.salt` is `l`; allowed: another one than that of the layer"],
    );
    check("eligibility.holdout = { salt = 'h', share = 0.1 }\nunit.kind = 'run'", &["`eligibility.holdout` is set with unit `run`"]);
}

#[test]
fn arms_by_themselves() {
    check("arms = []", &["`arms` is a list of 0; allowed: 2 to 8 arms in mode ab"]);
    check("arms = 'both'", &["`arms` can't be read: invalid type: string \"both\""]);
    check("arms[1].key =", &["`arms[1].key` is missing"]);
    check("arms[1].key = 'B'", &["`arms[1].key` is `B`; allowed: `a` to `z`"]);
    check("arms[1].key = 'a'", &["`arms[1].key` is `a`; allowed: another key than that of arms[0]"]);
    check("arms[1].weight = 0", &["`arms[1].weight` is 0; allowed: over 0, at most 1000000"]);
    check("arms[0].weight = -1.5", &["`arms[0].weight` is -1.5"]);
    check("arms[0].weight = nan", &["`arms[0].weight` is NaN; allowed: finite numbers"]);
    check(
        "arms[0].weight = 100000",
        &["`arms[1].weight` is 1; allowed: a weight that is worth a bucket: of 10000 buckets, coverage 1 leaves this arm 0.100"],
    );
    check("arms[1].channels = []", &["`arms[1].channels` is an empty list"]);
    check(
        "arms[1].channels = ['bm25', 'sparse']",
        &["`arms[1].channels[1]` can't be read: unknown variant `sparse`, expected one of `bm25`, `dense`, `files`"],
    );
    check("arms[1].channels = ['bm25', 'bm25']", &["`arms[1].channels[1]` repeats an earlier entry"]);
    check("arms[1].channels = ['dense']\narms[1].rm3 = true", &["`arms[1].rm3` is true; allowed: with a channel of words"]);
    check("arms[1].rm3 = 'on'", &["`arms[1].rm3` can't be read: invalid type: string \"on\", expected a boolean"]);
    check("arms[1].plugins.fuse = {}", &["`arms[1].plugins.fuse` is not known; allowed: `gate`, `fusion`, `rerank`"]);
    check("arms[1].plugins.fusion = {}", &["`arms[1].plugins.fusion` is empty; allowed: a plugin, or parameters"]);
    check("arms[1].plugins.fusion.plugin = ''", &["`arms[1].plugins.fusion.plugin` is empty"]);
    check(
        "arms[1].plugins.fusion = { plugin = 'x', sha256 = 'abc' }",
        &["`arms[1].plugins.fusion.sha256` is `abc`; allowed: the 64 hexadecimal digits"],
    );
    check(&format!("arms[1].plugins.fusion.sha256 = '{}'", "a".repeat(64)), &["`arms[1].plugins.fusion.sha256` is set without a plugin"]);
    check(
        "state = 'running'\nowner = 'x'\nhypothesis = 'y'\narms[1].plugins.rerank.plugin = 'rerank-code'",
        &["`arms[1].plugins.rerank.sha256` is missing; allowed: the sha-256 of the plugin, as the experiment is running"],
    );
    check(
        "arms[1].plugins.fusion.parameters = { a = [1, { b = inf }] }",
        &["`arms[1].plugins.fusion.parameters.a[1].b` is inf; allowed: finite numbers"],
    );
    check(
        "arms[1].plugins.fusion.parameters = { a = 2026-01-01 }",
        &["`arms[1].plugins.fusion.parameters.a` is 2026-01-01; allowed: texts"],
    );
    check("arms[1].plugins.rerank.parameters = {}\narms[1].rerank = false", &["`arms[1].plugins.rerank` is set while `rerank` is false"]);
}

#[test]
fn budgets() {
    check("arms[1].budgets.depths.bm25 = 0", &["`arms[1].budgets.depths.bm25` is 0; allowed: 1 to 1000"]);
    check("arms[1].budgets.depths.fax = 1", &["`arms[1].budgets.depths.fax` can't be read: unknown variant `fax`"]);
    check("arms[1].budgets.weights.dense = 101", &["`arms[1].budgets.weights.dense` is 101; allowed: 0 to 100"]);
    check(
        "arms[1].channels = ['bm25']\narms[1].budgets.weights.dense = 1",
        &["`arms[1].budgets.weights.dense` is set for a channel that isn't asked"],
    );
    check(
        "arms[1].channels = ['bm25']\narms[1].budgets.weights.bm25 = 0",
        &["`arms[1].budgets.weights` are 0 for every channel of the arm"],
    );
    check("arms[1].budgets.rerank_depth = 101", &["`arms[1].budgets.rerank_depth` is 101; allowed: 0 to 100"]);
    check("arms[1].rerank = true\narms[1].budgets.rerank_depth = 0", &["`arms[1].budgets.rerank_depth` is 0; allowed: 1 to 100 while"]);
    check("arms[1].rerank = false\narms[1].budgets.rerank_depth = 9", &["`arms[1].budgets.rerank_depth` is 9; allowed: 0 while"]);
    check("arms[1].budgets.rrf_k = 0", &["`arms[1].budgets.rrf_k` is 0; allowed: over 0, at most 10000"]);
    check("arms[1].budgets.deadline_ms = 9", &["`arms[1].budgets.deadline_ms` is 9; allowed: 10 to 300000"]);
}

#[test]
fn what_a_mode_can_do() {
    check("arms = [{ key = 'a' }]", &["`arms` is a list of 1; allowed: 2 to 8 arms in mode ab"]);
    check("mode = 'offline'\nmetrics.primary = 'map@100'\narms = [{ key = 'a', index = 'other' }]", &[]);
    let shadow = "mode = 'shadow'\nmetrics.primary = 'ndcg'";
    check(&format!("{shadow}\narms = [{{ key = 'a' }}]"), &["`arms` is a list of 1; allowed: 2 to 8 arms in mode shadow"]);
    check(&format!("{shadow}\ncontrol = 'b'"), &["`control` is `b`; allowed: the first arm in mode shadow"]);
    check(&format!("{shadow}\narms[1].index = 'other'"), &[]);
    check(&format!("{shadow}\narms[0].index = 'other'"), &["`arms[0].index` is set for an arm that answers"]);
    check(&format!("{shadow}\narms[1].index = ''"), &["`arms[1].index` is empty; allowed: the path of a data directory"]);
    check("arms[1].index = 'other'", &["`arms[1].index` is set for an arm that answers"]);
    let interleave = "mode = 'interleave'\nmetrics.primary = 'used_findings'";
    check(&format!("{interleave}\narms[0].rm3 = true"), &[]);
    check(
        &format!("{interleave}\narms = [{{ key = 'a' }}, {{ key = 'b' }}, {{ key = 'c' }}]"),
        &["`arms` is a list of 3; allowed: 2 arms in mode interleave"],
    );
    check(&format!("{interleave}\narms[1].weight = 2"), &["`arms[1].weight` is 2; allowed: 1, that of arms[0], in mode interleave"]);
    check("shadow.share = 2", &["`shadow.share` is 2; allowed: 0 to 1"]);
    check("shadow.concurrency_max = 17", &["`shadow.concurrency_max` is 17; allowed: 1 to 16"]);
    check("shadow.deadline_ms = 1", &["`shadow.deadline_ms` is 1; allowed: 10 to 300000"]);
    check("offline = {}", &["`offline.queries` is missing"]);
    check("offline.queries = ''", &["`offline.queries` is empty; allowed: the path of a file"]);
    check("offline = { queries = 'q', level = 'word' }", &["`offline.level` can't be read: unknown variant `word`"]);
}

#[test]
fn metrics_and_analysis() {
    check("metrics.primary = 'clicks'", &["`metrics.primary` can't be read: unknown metric `clicks`; allowed: success, reciprocal_rank"]);
    check(
        "metrics.primary = 'ndcg@10'",
        &["`metrics.primary` is `ndcg@10`; allowed: an outcome or a figure of runs, as only mode offline"],
    );
    check("mode = 'offline'", &["`metrics.primary` is `success`; allowed: a measure of judgments in mode offline"]);
    check("mode = 'shadow'", &["`metrics.primary` is `success`; allowed: reciprocal_rank, ndcg or a figure of runs in mode shadow"]);
    check("mode = 'interleave'", &["`metrics.primary` is `success`; allowed: used_findings or helpful_share in mode interleave"]);
    check(
        "metrics.secondary = ['ndcg', 'success', 'ndcg']",
        &["`metrics.secondary[1]` is `success`; allowed: metrics that are not named", "`metrics.secondary[2]` is `ndcg`"],
    );
    check(
        "metrics.guardrails = [{ metric = 'success', limit = 1 }]",
        &["`metrics.guardrails[0].metric` can't be read: unknown variant `success`, expected one of `latency_p95_ms`"],
    );
    check("metrics.guardrails = [{ metric = 'trap_rate' }]", &["`metrics.guardrails[0]` has no bound; allowed: `limit` or `increase_max`"]);
    check("metrics.guardrails = [{ metric = 'trap_rate', limit = 1, increase_max = 1 }]", &["`metrics.guardrails[0]` has both"]);
    check("metrics.guardrails = [{ metric = 'trap_rate', limit = 2 }]", &["`metrics.guardrails[0].limit` is 2; allowed: 0 to 1"]);
    check(
        "metrics.guardrails = [{ metric = 'latency_p95_ms', limit = 0 }]",
        &["`metrics.guardrails[0].limit` is 0; allowed: over 0, at most 300000"],
    );
    check(
        "metrics.guardrails = [{ metric = 'latency_p95_ms', increase_max = 10.5 }]",
        &["`metrics.guardrails[0].increase_max` is 10.5; allowed: 0 to 10"],
    );
    check(
        "metrics.guardrails = [{ metric = 'trap_rate', limit = 1, runs_min = 0 }]",
        &["`metrics.guardrails[0].runs_min` is 0; allowed: 1 to 1000000"],
    );
    check(
        "metrics.guardrails = [{ metric = 'trap_rate', limit = 1 }, { metric = 'trap_rate', limit = 0.5 }]",
        &["`metrics.guardrails[1]` guards `trap_rate` once more"],
    );
    check(
        "mode = 'interleave'\nmetrics = { primary = 'used_findings', guardrails = [{ metric = 'trap_rate', increase_max = 1 }] }",
        &["`metrics.guardrails[0].increase_max` is 1; allowed: `limit` in mode interleave"],
    );
    check("analysis.alpha = 0", &["`analysis.alpha` is 0; allowed: over 0 and under 0.5"]);
    check("analysis.alpha = 0.5", &["`analysis.alpha` is 0.5"]);
    check("analysis.method = 't_test'", &["`analysis.method` can't be read: unknown variant `t_test`"]);
    check("analysis.method = 'fixed'", &["`analysis.method` is `fixed`; allowed: with `stop.units_min`"]);
    check("analysis.method = 'fixed'\nstop.units_min = 100", &[]);
    check("analysis.cuped_days = 91", &["`analysis.cuped_days` is 91; allowed: 0 to 90"]);
    check("analysis.cuped_days = 7\nunit.kind = 'run'", &["`analysis.cuped_days` is 7; allowed: 0 with unit `run`"]);
    check(
        "analysis.cuped_days = 7\nmode = 'shadow'\nmetrics.primary = 'ndcg'",
        &["`analysis.cuped_days` is 7; allowed: 0, as only mode ab"],
    );
    check("analysis.correction = 'sidak'", &["`analysis.correction` can't be read: unknown variant `sidak`"]);
    check("stop.units_min = 0", &["`stop.units_min` is 0; allowed: 1 to 1000000000"]);
    check("stop.days_max = 3651", &["`stop.days_max` is 3651; allowed: 1 to 3650"]);
    check("stop.roll_back = false", &[]);
    check("stop.roll_back = 'no'", &["`stop.roll_back` can't be read: invalid type: string \"no\", expected a boolean"]);
}

#[test]
fn all_problems_are_told_in_the_order_of_the_schema() {
    check(
        "id = '!'\nversion = 0\ncoverage = 7\nunit.kind = 'header'\nhash.buckets = 1\narms[0].weight = 0\narms[1].key = 'a'\nstop.days_max = 0",
        &[
            "`id` is `!`",
            "`version` is 0",
            "`coverage` is 7",
            "`unit.header` is missing",
            "`hash.buckets` is 1",
            "`arms[0].weight` is 0",
            "`arms[1].key` is `a`",
            "`stop.days_max` is 0",
        ],
    );
}

#[test]
fn texts_that_are_no_toml_are_named_by_line_and_column() {
    let check = |text: &str, expect: &str| {
        let message = read_text(Path::new("a.toml"), text).unwrap_err().to_string();
        assert!(message.starts_with(expect) && message.lines().count() == 1, "{text}: {message}");
    };
    check("id = ", "a.toml:1:6: ");
    check("id = 'ä' b", "a.toml:1:10: ");
    check("id = 'a'\n\nid = 'b'", "a.toml:3:1: duplicate key");
    check("id = 'a'\r\n[unit\r\nkind = 1", "a.toml:2:6: ");
    check(&format!("a = {}", "[".repeat(10_000)), "a.toml:1:85: cannot recurse further");
    check(&format!("{}a = 1", "a.".repeat(10_000)), "a.toml:1:1: recursion limit");
    check(&"#".repeat(FILE_BYTES_MAX + 1), "a.toml: is longer than 262144 bytes");
    check("", "a.toml: `id` is missing");
}
