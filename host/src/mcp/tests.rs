//! The tools as a client of the protocol sees them, in both of its lifecycles.

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientConfig, ClientRequest, ErrorCode, ProtocolVersion,
    ReadResourceRequestParams, RequestMetaObject, ResourceContents,
};
use rmcp::service::{PeerRequestOptions, RoleClient, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientLifecycleMode, ClientServiceExt};
use serde_json::{Value as Json, json};

use super::double::query;
use crate::envelope::{AnswerEnvelope, BlameAnswer, FileSlice, HistoryAnswer};
use crate::http::HttpSettings;
use crate::http::tests::TestServer;

type Client = RunningService<RoleClient, ClientConfig>;

/// Runs the checks with a session and without.
async fn in_both_lifecycles(check: impl AsyncFn(&TestServer, &Client, &str)) {
    let stateless = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
    for (lifecycle, version) in [(ClientLifecycleMode::Initialize, "2025-11-25"), (stateless, "2026-07-28")] {
        let server = TestServer::start(HttpSettings::default()).await;
        let transport = StreamableHttpClientTransport::from_uri(format!("{}/mcp", server.url));
        let config = ClientConfig::default().with_protocol_version(ProtocolVersion::V_2025_11_25);
        let client = config.serve_with_lifecycle(transport, lifecycle).await.unwrap();
        check(&server, &client, version).await;
        client.cancel().await.unwrap();
    }
}

fn params(tool: &str, arguments: Json) -> CallToolRequestParams {
    let Json::Object(arguments) = arguments else { panic!("arguments are an object") };
    CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments)
}

async fn call(client: &Client, tool: &str, arguments: Json) -> CallToolResult {
    client.call_tool(params(tool, arguments)).await.unwrap()
}

fn text(result: &CallToolResult) -> &str {
    assert_eq!(result.content.len(), 1);
    &result.content[0].as_text().unwrap().text
}

#[tokio::test]
async fn tools_are_listed_with_schemas_and_hints() {
    in_both_lifecycles(async |_, client, version| {
        let info = client.peer_info().unwrap();
        assert_eq!(info.protocol_version.as_str(), version);
        assert!(info.instructions.as_ref().unwrap().contains("It searches the repository double."));
        let tools = client.list_all_tools().await.unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        let all = [
            "semantic_search",
            "semantic_search_pro",
            "open_file",
            "git_blame",
            "git_history",
            "run_report",
            "report_feedback",
            "experiment_report",
        ];
        assert_eq!(names, all);
        for tool in &tools {
            let hints = tool.annotations.as_ref().unwrap();
            let found = [hints.read_only_hint, hints.idempotent_hint, hints.destructive_hint, hints.open_world_hint];
            let reads = tool.name != "report_feedback";
            assert_eq!(found, [Some(reads), Some(true), Some(false), Some(false)], "{}", tool.name);
            assert_eq!(tool.input_schema["additionalProperties"], false);
            assert!(tool.title.is_some() && tool.output_schema.is_some());
        }
        assert_eq!(tools[0].input_schema["required"], json!(["query"]));
        assert_eq!(tools[1].input_schema["properties"]["fusion"]["description"], "Another fusion plugin, or other parameters for it.");
    })
    .await;
}

#[tokio::test]
async fn answers_come_as_text_and_as_data() {
    in_both_lifecycles(async |server, client, version| {
        let result = call(client, "semantic_search", query("x")).await;
        assert_eq!(result.is_error, Some(false));
        let structured = result.structured_content.clone().unwrap();
        assert_eq!(structured["findings"][0]["score"].to_string(), "0.92", "scores are short");
        let envelope: AnswerEnvelope = serde_json::from_value(structured).unwrap();
        assert_eq!(envelope.findings.len(), 2);
        assert_eq!(text(&result), super::text::answer(&envelope));
        assert_eq!(envelope.observability.run_id, server.double.last_run());
        assert_eq!(server.double.last_call().1.protocol_version.as_deref(), Some(version));

        let result = call(client, "open_file", json!({"path": "src/b.rs"})).await;
        let slice: FileSlice = serde_json::from_value(result.structured_content.clone().unwrap()).unwrap();
        assert_eq!((slice.path.as_str(), slice.text.as_str()), ("src/b.rs", "one\ntwo\n"));
        assert!(text(&result).starts_with("src/b.rs L1–L2 of 2 (rust)\n```rust\none\ntwo\n```\n"));

        let result = call(client, "git_blame", json!({"path": "src/b.rs", "start_line": 1})).await;
        let blame: BlameAnswer = serde_json::from_value(result.structured_content.clone().unwrap()).unwrap();
        assert_eq!((text(&result), blame.hunks.len()), (super::text::blame(&blame).as_str(), 2));
        let result = call(client, "git_history", json!({"path": "src/b.rs", "limit": 3})).await;
        let history: HistoryAnswer = serde_json::from_value(result.structured_content.clone().unwrap()).unwrap();
        assert_eq!((text(&result), history.commits.len()), (super::text::history(&history).as_str(), 3));
        let end = server.double.run_end(&history.observability.run_id).await;
        assert_eq!((&end["outcome"]["commits"], &end["outcome"]["path"]), (&json!(3), &json!("src/b.rs")));
    })
    .await;
}

#[tokio::test]
async fn reports_are_given_by_tool_and_as_resource() {
    in_both_lifecycles(async |server, client, version| {
        call(client, "semantic_search", query("x")).await;
        let run = server.double.last_run();
        let result = call(client, "run_report", json!({"run_id": run})).await;
        assert_eq!(result.structured_content.as_ref().unwrap()["identity"]["run_id"], json!(run));
        assert!(text(&result).contains(&run), "{}", text(&result));

        let uri = format!("run://{run}/report");
        let read = client.read_resource(ReadResourceRequestParams::new(&uri)).await.unwrap();
        let kinds: Vec<_> = read
            .contents
            .iter()
            .map(|content| match content {
                ResourceContents::TextResourceContents { uri, mime_type, .. } => (uri.clone(), mime_type.clone().unwrap()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(kinds, [(uri.clone(), "text/markdown".into()), (format!("{uri}.json"), "application/json".into())]);
        assert!(server.double.exchanges.lock().unwrap().contains(&"resources/read"));
        // What older versions call "resource not found" is an invalid parameter in later ones.
        let expect = if version == "2026-07-28" { ErrorCode::INVALID_PARAMS } else { ErrorCode::RESOURCE_NOT_FOUND };
        match client.read_resource(ReadResourceRequestParams::new("run://nobody/report")).await {
            Err(ServiceError::McpError(error)) => assert_eq!(error.code, expect, "{error:?}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(client.list_all_resources().await.unwrap(), Vec::new());
        assert_eq!(client.list_all_resource_templates().await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn what_goes_wrong_is_told_in_words() {
    in_both_lifecycles(async |server, client, _| {
        for (tool, arguments, class, expect) in [
            ("semantic_search", json!({}), "invalid_argument", "missing field `query`"),
            ("semantic_search", json!({"query": "x", "limit": 0}), "invalid_argument", "`limit` is 0; allowed: 1 to 100"),
            ("semantic_search", json!({"query": "x", "channels": ["bm25"]}), "invalid_argument", "unknown field `channels`"),
            ("semantic_search_pro", json!({"query": "x", "channels": ["fax"]}), "invalid_argument", "`channels[0]` is \"fax\""),
            ("semantic_search", query("busy"), "unavailable", "try again in a minute"),
            ("open_file", json!({"path": "missing"}), "not_found", "`missing` is not in the index"),
            ("git_blame", json!({"path": "missing"}), "git_untracked", "no file that HEAD tracks"),
            ("git_blame", json!({"path": "a", "start_line": -1}), "invalid_argument", "`start_line` is -1"),
            ("git_history", json!({"path": "a", "since": "soon"}), "invalid_argument", "`since` is `soon`; allowed: a day"),
            ("git_history", json!({"path": "a", "limit": 101}), "invalid_argument", "`limit` is 101; allowed: 1 to 100"),
            ("semantic_search", query("panic"), "panic", "failed inside"),
        ] {
            let result = call(client, tool, arguments.clone()).await;
            assert_eq!(result.is_error, Some(true), "{arguments}");
            assert_eq!(result.structured_content, None, "it would not follow the output schema");
            assert!(text(&result).contains(expect), "{arguments}: {}", text(&result));
            assert_eq!(result.meta.as_ref().unwrap().0["spanloom/error"]["class"], class);
            let end = server.double.run_end(&server.double.last_run()).await;
            assert_eq!((&end["status"], &end["outcome"]["error"]["class"]), (&json!("error"), &json!(class)));
        }
        match client.call_tool(params("open_door", json!({}))).await {
            Err(ServiceError::McpError(error)) => {
                assert_eq!(error.code, ErrorCode::INVALID_PARAMS);
                assert!(error.message.contains("`open_door`") && error.message.contains("semantic_search_pro"), "{}", error.message);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(server.double.last_call().0, "open_door");
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_call_is_recorded_as_such() {
    in_both_lifecycles(async |server, client, _| {
        let mut meta = RequestMetaObject::new();
        meta.set_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let mut options = PeerRequestOptions::no_options();
        options.meta = Some(meta);
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params("semantic_search", query("wait"))));
        let waiting = client.send_cancellable_request(request, options).await.unwrap();
        server.double.waiting.notified().await;
        waiting.cancel(Some("no longer needed".into())).await.unwrap();
        let end = server.double.run_end(&server.double.last_run()).await;
        assert_eq!((&end["status"], &end["trace_id"]), (&json!("cancelled"), &json!("0af7651916cd43dd8448eb211c80319c")));
        assert_eq!(call(client, "semantic_search", query("x")).await.is_error, Some(false), "the client goes on");
    })
    .await;
}
