//! The scorers against a stand-in server that follows the documented schema, or doesn't.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, Bytes};
use axum::http::header;
use serde_json::{Value as Json, json};

use super::*;
use crate::models::vllm::breaker::{BREAKER_FAILURES_MAX, BREAKER_OPEN};
use crate::models::vllm::stand_in::{Arrived, Reply, StandIn, Traced, all_ended, vllm_error};

const MODEL: &str = "stand-in/scorer";
const DIMENSION: usize = 3;
const AMPLE: Duration = Duration::from_secs(30);

async fn start(behaviour: impl Fn(&Arrived) -> Reply + Send + Sync + 'static) -> StandIn {
    StandIn::serve(&["/v1/rerank", "/pooling"], behaviour).await
}

fn settings(server: &StandIn) -> ScorerSettings {
    ScorerSettings { base_url: server.base_url(), model: MODEL.into(), timeout_ms: 10_000, ..ScorerSettings::default() }
}

/// Both scorers of the same settings.
fn scorers(settings: ScorerSettings) -> Scorers {
    Scorers::new(ScoringSettings { cross_encoder: Some(settings.clone()), late_interaction: Some(settings) }).unwrap()
}

/// What a scorer of `kind` says of `texts`.
async fn ask(scorers: &Scorers, kind: Kind, texts: &[String], limit: Duration) -> Result<Vec<f32>, ScoringError> {
    let traced = Traced::new();
    match kind {
        Kind::CrossEncoder => scorers.cross_encoder("the query", texts, traced.span(), limit).await,
        Kind::LateInteraction => scorers.late_interaction("the query", texts, traced.span(), limit).await,
    }
}

async fn cross(scorers: &Scorers, texts: &[String]) -> Result<Vec<f32>, ScoringError> {
    ask(scorers, Kind::CrossEncoder, texts, AMPLE).await
}

async fn late(scorers: &Scorers, texts: &[String]) -> Result<Vec<f32>, ScoringError> {
    ask(scorers, Kind::LateInteraction, texts, AMPLE).await
}

fn message(outcome: Result<Vec<f32>, ScoringError>) -> String {
    match outcome {
        Err(ScoringError::Unavailable(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn texts(count: usize) -> Vec<String> {
    // Neither ascending nor descending.
    (0..count).map(|number| format!("text {}", number * 7 % 10)).collect()
}

/// The score of a text: its number, read from its end.
fn relevance(text: &str) -> f64 {
    text.rsplit(' ').next().and_then(|word| word.parse().ok()).map_or(0.0, |number: f64| number / 8.0 - 0.5)
}

/// The vector of each word, of no particular length.
fn words(text: &str) -> Vec<Vec<f32>> {
    let vector = |word: &str| {
        let (sum, length) = (word.bytes().map(f32::from).sum::<f32>(), word.len() as f32);
        vec![sum % 7.0 - 3.0, sum % 5.0 - 2.0, length]
    };
    text.split_whitespace().map(vector).collect()
}

/// MaxSim of texts by their words.
fn similarity(query: &str, text: &str) -> f32 {
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    words(query).iter().map(|q| words(text).iter().map(|d| cosine(q, d)).fold(f32::NEG_INFINITY, f32::max)).sum()
}

/// The documented answer of either endpoint.
fn documented(arrived: &Arrived) -> Json {
    let usage = |texts: usize| json!({"prompt_tokens": 3 * texts, "total_tokens": 3 * texts});
    if arrived.path == "/pooling" {
        let texts = arrived.texts();
        let data: Vec<Json> =
            (texts.iter().enumerate()).map(|(index, text)| json!({"index": index, "object": "pooling", "data": words(text)})).collect();
        return json!({"id": "pool-1", "object": "list", "created": 1, "model": MODEL, "data": data, "usage": usage(texts.len())});
    }
    let documents = arrived.body["documents"].as_array().unwrap();
    let mut results: Vec<Json> = (documents.iter().enumerate())
        .map(|(index, text)| {
            let score = relevance(text.as_str().unwrap());
            json!({"index": index, "document": {"text": text, "multi_modal": null}, "relevance_score": score})
        })
        .collect();
    results.sort_by(|a, b| b["relevance_score"].as_f64().unwrap().total_cmp(&a["relevance_score"].as_f64().unwrap()));
    json!({"id": "rerank-1", "model": MODEL, "usage": usage(documents.len()), "results": results})
}

fn good(arrived: &Arrived) -> Reply {
    Reply::json(200, &documented(arrived))
}

/// The documented answer after a change. The lone query of late interaction stays as it is.
fn changed(arrived: &Arrived, change: impl Fn(&mut Json)) -> Reply {
    let mut answer = documented(arrived);
    if arrived.body["input"] != json!(["the query"]) {
        change(&mut answer);
    }
    Reply::json(200, &answer)
}

fn close(left: &[f32], right: &[f32]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(l, r)| (l - r).abs() < 1e-5)
}

#[tokio::test]
async fn scores_come_in_the_order_of_the_texts_whatever_the_batches() {
    let server = start(|arrived| {
        // The first batch answers last.
        let is_first = arrived.body["documents"][0] == "text 0" || arrived.body["input"][0] == "text 0";
        good(arrived).after(if is_first { 60 } else { 0 })
    })
    .await;
    let check = async |count: usize, batch_size: usize, sizes: &[usize]| {
        let scorers = scorers(ScorerSettings { batch_size, concurrency: 3, ..settings(&server) });
        let texts = texts(count);
        let before = server.arrived().len();
        let scores = cross(&scorers, &texts).await.unwrap();
        let expected: Vec<f32> = texts.iter().map(|text| relevance(text) as f32).collect();
        assert!(close(&scores, &expected), "{count} by {batch_size}: {scores:?}");
        let mut found: Vec<usize> =
            server.arrived()[before..].iter().map(|arrived| arrived.body["documents"].as_array().unwrap().len()).collect();
        found.sort();
        assert_eq!(found, sizes, "{count} by {batch_size}");

        let before = server.arrived().len();
        let scores = late(&scorers, &texts).await.unwrap();
        let expected: Vec<f32> = texts.iter().map(|text| similarity("the query", text)).collect();
        assert!(close(&scores, &expected), "{count} by {batch_size}: {scores:?}, {expected:?}");
        let arrived = server.arrived();
        assert_eq!(arrived[before].texts(), ["the query"], "asked once, and first");
        let mut found: Vec<usize> = arrived[before + 1..].iter().map(|arrived| arrived.texts().len()).collect();
        found.sort();
        assert_eq!(found, sizes, "{count} by {batch_size}");
    };
    check(1, 32, &[1]).await;
    check(10, 32, &[10]).await;
    check(10, 4, &[2, 4, 4]).await;
    check(10, 5, &[5, 5]).await;
    check(9, 1, &[1; 9]).await;
    assert_eq!(server.seen.running_max.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn results_of_any_order_are_put_in_place() {
    let server = start(|arrived| {
        changed(arrived, |answer| {
            for list in ["results", "data"] {
                if let Some(list) = answer[list].as_array_mut() {
                    list.reverse();
                }
            }
            answer["usage"].take();
            answer["x"] = json!({});
        })
    })
    .await;
    let (scorers, texts) = (scorers(settings(&server)), texts(10));
    let expected: Vec<f32> = texts.iter().map(|text| relevance(text) as f32).collect();
    assert!(close(&cross(&scorers, &texts).await.unwrap(), &expected));
    let expected: Vec<f32> = texts.iter().map(|text| similarity("the query", text)).collect();
    assert!(close(&late(&scorers, &texts).await.unwrap(), &expected));
}

#[tokio::test]
async fn what_goes_wrong_names_the_model_and_what_it_was() {
    // `requests`: how many it takes; 2 when it is tried again.
    let check = async |kind: Kind, part: &str, requests: usize, behaviour: fn(&Arrived) -> Reply| {
        let server = start(behaviour).await;
        let message = message(ask(&scorers(settings(&server)), kind, &texts(3), AMPLE).await);
        assert!(message.contains(MODEL) && message.contains(part), "{part}: {message}");
        assert!(message.len() < 1000 && !message.contains('\n'), "{part}: {message}");
        assert_eq!(server.arrived().len(), requests, "{part}");
    };
    use Kind::{CrossEncoder as Cross, LateInteraction as Late};
    check(Cross, "refused the request (400): too long", 1, |_| vllm_error(400, "too long")).await;
    check(Cross, "HTTP 500: out of memory (attempts: 2)", 2, |_| vllm_error(500, "out of memory")).await;
    check(Cross, "HTTP 503: aaaa", 2, |_| Reply::new(503, "text/plain", "a".repeat(1_000_000))).await;
    check(Late, "(404): no", 1, |_| vllm_error(404, "no")).await;
    check(Late, "HTTP 500", 2, |_| vllm_error(500, "x")).await;

    check(Cross, "not the JSON of /v1/rerank but text/html", 1, |_| Reply::new(200, "text/html", "<html>")).await;
    check(Cross, "not the JSON", 1, |a| changed(a, |answer| drop(answer["results"].take()))).await;
    check(Cross, "2 scores for 3 texts", 1, |a| changed(a, |answer| drop(answer["results"].as_array_mut().unwrap().pop()))).await;
    check(Cross, "0 scores for 3 texts", 1, |a| changed(a, |answer| answer["results"] = json!([]))).await;
    check(Cross, "two scores with index 2", 1, |a| changed(a, |answer| (0..2).for_each(|at| answer["results"][at]["index"] = json!(2))))
        .await;
    check(Cross, "index 3 for 3 texts", 1, |a| changed(a, |answer| answer["results"][0]["index"] = json!(3))).await;
    check(Cross, "is not finite", 1, |a| changed(a, |answer| answer["results"][0]["relevance_score"] = Json::Null)).await;
    check(Cross, "is not finite", 1, |a| changed(a, |answer| answer["results"][0]["relevance_score"] = json!(1e300))).await;
    check(Cross, "more than the", 1, |_| Reply::new(200, "application/json", " ".repeat(1_000_000))).await;

    check(Late, "not the JSON of /pooling", 2, |a| changed(a, |answer| answer["data"][0]["data"] = json!([1.0, 2.0, 3.0]))).await;
    check(Late, "2 lists of vectors for 3 texts", 2, |a| changed(a, |answer| drop(answer["data"].as_array_mut().unwrap().pop()))).await;
    check(Late, "two lists of vectors with index 0", 2, |a| changed(a, |answer| answer["data"][1]["index"] = json!(0))).await;
    check(Late, "index 9 for 3 texts", 2, |a| changed(a, |answer| answer["data"][1]["index"] = json!(9))).await;
    check(Late, "text 1 has a number that is not finite", 2, |a| changed(a, |answer| answer["data"][1]["data"][0][0] = Json::Null)).await;
    check(Late, "text 2 is of dimension 2, not 3", 2, |a| changed(a, |answer| answer["data"][2]["data"][1] = json!([1.0, 2.0]))).await;
    check(Late, "text 2 has no token vectors", 2, |a| changed(a, |answer| answer["data"][2]["data"] = json!([]))).await;
    // Texts agree with one another, but not with the query.
    check(Late, "text 0 is of dimension 4, not 3", 2, |a| {
        changed(a, |answer| (0..3).for_each(|at| answer["data"][at]["data"] = json!([[1.0, 2.0, 3.0, 4.0]])))
    })
    .await;
}

#[tokio::test]
async fn a_call_ends_in_its_time_whatever_happens() {
    let check = async |part: &str, limit_ms: u64, change: fn(&mut ScorerSettings), behaviour: fn(&Arrived) -> Reply| {
        for kind in [Kind::CrossEncoder, Kind::LateInteraction] {
            let server = start(behaviour).await;
            let mut settings = ScorerSettings { batch_size: 1, ..settings(&server) };
            change(&mut settings);
            let started = Instant::now();
            let message = message(ask(&scorers(settings), kind, &texts(10), Duration::from_millis(limit_ms)).await);
            assert!(started.elapsed() < Duration::from_millis(limit_ms + 2_000), "{part} {kind:?}: {:?}", started.elapsed());
            assert!(message.contains(part), "{part} {kind:?}: {message}");
        }
    };
    check("no answer within 150 ms", 150, |_| (), |arrived| good(arrived).after(30_000)).await;
    check("no answer within 150 ms", 150, |settings| settings.attempts_max = u32::MAX, |arrived| good(arrived).after(30_000)).await;
    // One answer after the other would come in time, all of them don't.
    check("within 200 ms", 200, |settings| settings.concurrency = 1, |arrived| good(arrived).after(80)).await;
    check("HTTP 500", 200, |settings| settings.attempts_max = u32::MAX, |_| vllm_error(500, "x")).await;
    check("HTTP 429", 200, |_| (), |_| vllm_error(429, "x").with("retry-after", "50")).await;
    check(
        "no answer within 150 ms",
        150,
        |_| (),
        |_| {
            let endless = futures::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Ok::<_, std::io::Error>(Bytes::from(" ")), ()))
            });
            Reply::new(200, "application/json", Body::from_stream(endless))
        },
    )
    .await;
    // The shorter of the two counts.
    check("no answer within 100 ms", 1_000, |settings| settings.timeout_ms = 100, |arrived| good(arrived).after(30_000)).await;
    check("within 0 ms", 0, |_| (), good).await;
}

#[tokio::test]
async fn calls_take_turns_and_wait_no_longer_than_their_time() {
    let server = start(good).await;
    let scorers = scorers(ScorerSettings { concurrency: 1, ..settings(&server) });
    let scorer = scorers.cross_encoder.as_ref().unwrap();
    let turn = scorer.turns.acquire().await.unwrap();
    for _ in 0..BREAKER_FAILURES_MAX {
        let message = message(ask(&scorers, Kind::CrossEncoder, &texts(3), Duration::from_millis(30)).await);
        assert!(message.contains("its turn did not come within 30 ms"), "{message}");
    }
    assert!(server.arrived().is_empty());
    drop(turn);
    assert_eq!(scorer.breaker.admit(Instant::now()), Ok(()), "it was not the server's fault");
    assert_eq!(scorer.turns.available_permits(), 1);
    assert!(cross(&scorers, &texts(3)).await.is_ok());
}

#[tokio::test]
async fn a_server_that_keeps_failing_is_left_alone_and_tried_again() {
    for kind in [Kind::CrossEncoder, Kind::LateInteraction] {
        let healthy = Arc::new(AtomicBool::new(false));
        let switch = healthy.clone();
        let server = start(move |arrived| match switch.load(Ordering::SeqCst) {
            true => good(arrived),
            false => vllm_error(500, "down"),
        })
        .await;
        let scorers = scorers(ScorerSettings { attempts_max: 1, batch_size: 2, ..settings(&server) });
        for _ in 0..BREAKER_FAILURES_MAX {
            assert!(message(ask(&scorers, kind, &texts(10), AMPLE).await).contains("HTTP 500"));
        }
        let arrived = server.arrived().len();
        healthy.store(true, Ordering::SeqCst);
        let traced = Traced::new();
        let outcome = match kind {
            Kind::CrossEncoder => scorers.cross_encoder("the query", &texts(3), traced.span(), AMPLE).await,
            Kind::LateInteraction => scorers.late_interaction("the query", &texts(3), traced.span(), AMPLE).await,
        };
        let message = message(outcome);
        assert!(message.contains(MODEL) && message.contains("not asked for another"), "{message}");
        assert_eq!(server.arrived().len(), arrived);
        let lines = traced.lines();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["attributes"]["error.type"], "unavailable");
        assert_eq!(lines[0]["attributes"]["vllm.attempts"], 0);
        // The other model is another server.
        let other = match kind {
            Kind::CrossEncoder => Kind::LateInteraction,
            Kind::LateInteraction => Kind::CrossEncoder,
        };
        assert!(ask(&scorers, other, &texts(3), AMPLE).await.is_ok());

        // Once the time is over, all batches of the call that tries may pass.
        let scorer = match kind {
            Kind::CrossEncoder => scorers.cross_encoder.as_ref().unwrap(),
            Kind::LateInteraction => scorers.late_interaction.as_ref().unwrap(),
        };
        scorer.breaker.failed(Instant::now() - BREAKER_OPEN);
        assert_eq!(ask(&scorers, kind, &texts(10), AMPLE).await.unwrap().len(), 10);
        assert!(ask(&scorers, kind, &texts(10), AMPLE).await.is_ok());
    }
}

#[tokio::test]
async fn refusals_do_not_open_the_breaker() {
    let server = start(|_| vllm_error(400, "too long")).await;
    let scorers = scorers(settings(&server));
    for _ in 0..2 * BREAKER_FAILURES_MAX {
        assert!(message(cross(&scorers, &texts(3)).await).contains("(400)"));
        assert!(message(late(&scorers, &texts(3)).await).contains("(400)"));
    }
}

#[tokio::test]
async fn one_failed_batch_fails_all_and_stops_the_others() {
    let server = start(|arrived| match arrived.body["documents"][0] == "text 7" {
        true => vllm_error(400, "no").after(20),
        false => good(arrived).after(5_000),
    })
    .await;
    let scorers = scorers(ScorerSettings { batch_size: 1, concurrency: 3, ..settings(&server) });
    let traced = Traced::new();
    let outcome = scorers.cross_encoder("the query", &texts(10), traced.span(), AMPLE).await;
    assert!(message(outcome).contains("(400)"));
    all_ended(&server).await;
    assert_eq!(server.arrived().len(), 3);
    let mut classes: Vec<String> =
        traced.lines().iter().map(|line| line["attributes"]["error.type"].as_str().unwrap().to_owned()).collect();
    classes.sort();
    assert_eq!(classes, ["cancelled", "cancelled", "refused"]);
}

#[tokio::test]
async fn nothing_is_asked_about_nothing() {
    let server = start(good).await;
    let prefixed = ScorerSettings { query_prefix: "[Q] ".into(), document_prefix: "[D] ".into(), ..settings(&server) };
    let scorers = scorers(prefixed);
    let traced = Traced::new();
    assert_eq!(scorers.cross_encoder("q", &[], traced.span(), AMPLE).await, Ok(vec![]));
    assert_eq!(scorers.late_interaction("q", &[], traced.span(), AMPLE).await, Ok(vec![]));
    let blank = [" \n".to_owned(), String::new()];
    assert_eq!(scorers.late_interaction("q", &blank, traced.span(), AMPLE).await, Ok(vec![0.0, 0.0]));
    assert_eq!(scorers.late_interaction(" ", &texts(3), traced.span(), AMPLE).await, Ok(vec![0.0; 3]));
    assert!(server.arrived().is_empty());
    assert!(traced.lines().is_empty());

    // A blank one among others: not sent, and the others keep their places.
    let mixed = ["text 3".to_owned(), "\t".to_owned(), "text 5".to_owned()];
    let scores = late(&scorers, &mixed).await.unwrap();
    let expected = [similarity("[Q] the query", "[D] text 3"), 0.0, similarity("[Q] the query", "[D] text 5")];
    assert!(close(&scores, &expected), "{scores:?} {expected:?}");
    assert_eq!(server.arrived()[1].texts(), ["[D] text 3", "[D] text 5"]);
    // A cross-encoder has the query to read; what an empty document is worth is for it to say.
    assert_eq!(cross(&scorers, &mixed).await.unwrap()[1], 0.0);
    assert_eq!(server.arrived()[2].body["documents"], json!(["[D] text 3", "", "[D] text 5"]));
}

#[tokio::test]
async fn a_model_that_is_not_configured_is_named_by_its_key() {
    let none = Scorers::new(ScoringSettings::default()).unwrap();
    let check = async |kind: Kind, key: &str| match ask(&none, kind, &texts(1), AMPLE).await {
        Err(ScoringError::Unsupported(message)) => assert!(message.contains(key), "{message}"),
        other => panic!("{other:?}"),
    };
    check(Kind::CrossEncoder, "`scoring.cross_encoder.model`").await;
    check(Kind::LateInteraction, "`scoring.late_interaction.model`").await;

    let server = start(good).await;
    let one = Scorers::new(ScoringSettings { cross_encoder: Some(settings(&server)), late_interaction: None }).unwrap();
    assert!(cross(&one, &texts(1)).await.is_ok());
    assert!(matches!(late(&one, &texts(1)).await, Err(ScoringError::Unsupported(_))));
}

#[tokio::test]
async fn a_request_holds_what_was_asked_for_and_no_more() {
    let server = start(good).await;
    let settings = ScorerSettings {
        base_url: format!("{}/v1/", server.base_url()),
        api_key: Some(" sk-secret\n".into()),
        document_bytes_max: 8,
        ..settings(&server)
    };
    let scorers = scorers(settings);
    // 8 bytes end within the third ü.
    let texts = ["text 1".to_owned(), "a üüü 2".to_owned()];
    cross(&scorers, &texts).await.unwrap();
    late(&scorers, &texts).await.unwrap();
    let arrived = server.arrived();
    let documents = json!(["text 1", "a üüü"]);
    assert_eq!((arrived[0].path.as_str(), &arrived[0].body["documents"]), ("/v1/rerank", &documents));
    let expected = json!({"model": MODEL, "query": "the query", "documents": documents, "truncate_prompt_tokens": -1});
    assert_eq!(arrived[0].body, expected);
    let pooling = |input: Json| json!({"model": MODEL, "input": input, "task": "token_embed", "encoding_format": "float", "truncate_prompt_tokens": -1});
    assert_eq!((arrived[1].path.as_str(), &arrived[1].body), ("/pooling", &pooling(json!(["the query"]))));
    assert_eq!((arrived[2].path.as_str(), &arrived[2].body), ("/pooling", &pooling(documents)));
    for arrived in arrived {
        assert_eq!(arrived.headers[header::AUTHORIZATION], "Bearer sk-secret");
    }
}

#[tokio::test]
async fn each_request_is_a_client_span_whose_context_travels() {
    let server = start(|arrived| match arrived.number {
        0 => vllm_error(429, "busy"),
        _ => good(arrived),
    })
    .await;
    let scorers = scorers(ScorerSettings { batch_size: 4, concurrency: 1, ..settings(&server) });
    let traced = Traced::new();
    let root = traced.span().context().span_id().to_string();
    let trace = traced.run.trace_id();
    scorers.cross_encoder("the query", &texts(4), traced.span(), AMPLE).await.unwrap();
    scorers.late_interaction("the query", &texts(6), traced.span(), AMPLE).await.unwrap();
    let lines = traced.lines();
    assert_eq!(lines[0]["name"], "vllm.retry");
    assert_eq!(lines[0]["attributes"]["cause"], "http_429");

    let check = |line: &Json, arrived: usize, name: &str, expected: Json| {
        assert_eq!((&line["name"], &line["kind"], &line["status"]), (&json!(name), &json!("client"), &json!("ok")));
        assert_eq!(line["parent_span_id"], root);
        let mut all = json!({
            "vllm.mode": "http", "vllm.model_name": MODEL, "vllm.attempts": 1, "gen_ai.request.model": MODEL,
            "server.address": "127.0.0.1", "server.port": server.address.port(), "http.response.status_code": 200,
        });
        all.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
        assert_eq!(line["attributes"], all);
        let context = format!("00-{trace}-{}-01", line["span_id"].as_str().unwrap());
        assert_eq!(server.arrived()[arrived].headers["traceparent"], context.as_str());
    };
    let operation = |name: &str, batch: usize, rows: usize| json!({"gen_ai.operation.name": name, "vllm.batch_size": batch, "vllm.rows": rows, "gen_ai.usage.input_tokens": 3 * batch});
    let mut rerank = operation("rerank", 4, 4);
    rerank["vllm.attempts"] = json!(2);
    let token_embed = |batch: usize| {
        let mut expected = operation("embeddings", batch, 2 * batch);
        expected["vllm.embed_dim"] = json!(DIMENSION);
        expected
    };
    assert_eq!(lines.len(), 5);
    check(&lines[1], 1, "vllm.rerank", rerank);
    check(&lines[2], 2, "vllm.token_embed", token_embed(1));
    check(&lines[3], 3, "vllm.token_embed", token_embed(4));
    check(&lines[4], 4, "vllm.token_embed", token_embed(2));
}

#[tokio::test]
async fn the_span_of_a_failure_says_what_failed() {
    let check = async |class: &str, status: u16, behaviour: fn(&Arrived) -> Reply| {
        let server = start(behaviour).await;
        let scorers = scorers(ScorerSettings { attempts_max: 1, ..settings(&server) });
        let traced = Traced::new();
        let message = message(scorers.late_interaction("the query", &texts(3), traced.span(), AMPLE).await);
        let lines = traced.lines();
        let last = lines.last().unwrap();
        assert_eq!((&last["status"], &last["error"]), (&json!("error"), &json!(message)));
        assert_eq!(last["attributes"]["error.type"], class);
        assert_eq!(last["attributes"]["http.response.status_code"], status);
    };
    check("refused", 400, |_| vllm_error(400, "too long")).await;
    check("unavailable", 500, |_| vllm_error(500, "x")).await;
    check("bad_answer", 200, |arrived| changed(arrived, |answer| answer["data"] = json!([]))).await;
}

#[tokio::test]
async fn dropping_a_call_ends_its_requests() {
    let server = start(|arrived| good(arrived).after(60_000)).await;
    let scorers = scorers(ScorerSettings { batch_size: 1, timeout_ms: 60_000, ..settings(&server) });
    let traced = Traced::new();
    let texts = texts(3);
    let call = scorers.cross_encoder("the query", &texts, traced.span(), Duration::MAX);
    assert!(tokio::time::timeout(Duration::from_millis(150), call).await.is_err());
    all_ended(&server).await;
    assert_eq!(scorers.cross_encoder.as_ref().unwrap().turns.available_permits(), 2);
    let lines = traced.lines();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line["attributes"]["error.type"] == "cancelled"));
}

#[test]
fn settings_that_cannot_work_are_named() {
    let check = |name: &str, change: fn(&mut ScorerSettings)| {
        let mut settings = ScorerSettings { model: MODEL.into(), ..ScorerSettings::default() };
        assert!(Scorer::new(Kind::CrossEncoder, settings.clone()).is_ok());
        change(&mut settings);
        let error = Scorers::new(ScoringSettings { cross_encoder: None, late_interaction: Some(settings) }).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("scoring.late_interaction: ") && message.contains(&format!("`{name}`")), "{name}: {message}");
        assert!(!message.contains("secret"), "{message}");
    };
    check("model", |settings| settings.model = " ".into());
    check("base_url", |settings| settings.base_url = "127.0.0.1:8002".into());
    check("base_url", |settings| settings.base_url = "http://me:secret@host".into());
    check("api_key", |settings| settings.api_key = Some("sk-\u{7}secret".into()));
    check("timeout_ms", |settings| settings.timeout_ms = 0);
    check("batch_size", |settings| settings.batch_size = 0);
    check("batch_size", |settings| settings.batch_size = usize::MAX);
    check("concurrency", |settings| settings.concurrency = 0);
    check("attempts_max", |settings| settings.attempts_max = 0);
    check("document_bytes_max", |settings| settings.document_bytes_max = 0);
    check("document_bytes_max", |settings| settings.document_bytes_max = usize::MAX);
}

#[tokio::test]
async fn the_key_is_shown_nowhere() {
    let server = start(|_| vllm_error(401, "Incorrect API key: sk-secret.")).await;
    let settings = ScorerSettings { api_key: Some("sk-secret".into()), ..settings(&server) };
    assert!(!format!("{settings:?}").contains("sk-secret"));
    let scorers = scorers(settings);
    assert!(!format!("{scorers:?}").contains("sk-secret"));
    assert!(message(cross(&scorers, &texts(1)).await).ends_with("Incorrect API key: [key]."));
    let url = ScorerSettings { base_url: "http://me:secret@host".into(), ..ScorerSettings::default() };
    assert!(!format!("{url:?}").contains("secret"));
}

#[test]
fn scorers_serve_many_threads() {
    fn check<T: Send + Sync>(_: &T) {}
    fn sent<T: Send>(_: T) {}
    let scorers = Scorers::new(ScoringSettings::default()).unwrap();
    check(&scorers);
    let traced = Traced::new();
    sent(scorers.cross_encoder("q", &[], traced.span(), AMPLE));
    sent(scorers.late_interaction("q", &[], traced.span(), AMPLE));
}
