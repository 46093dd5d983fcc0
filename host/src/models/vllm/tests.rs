//! The embedder against a stand-in server that follows the documented schema, or doesn't.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::http::header;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};

use super::breaker::{BREAKER_FAILURES_MAX, BREAKER_OPEN};
use super::stand_in::{Arrived, Reply, StandIn, Traced, all_ended, vllm_error};
use super::*;

const MODEL: &str = "stand-in/model";
const DIMENSION: usize = 4;

impl StandIn {
    async fn start(behaviour: impl Fn(&Arrived) -> Reply + Send + Sync + 'static) -> StandIn {
        StandIn::serve(&["/v1/embeddings"], behaviour).await
    }

    fn settings(&self) -> VllmSettings {
        VllmSettings { base_url: self.base_url(), ..quick() }
    }

    fn embedder(&self) -> VllmEmbedder {
        VllmEmbedder::new(self.settings(), Some(DIMENSION)).unwrap()
    }
}

/// Tiny waits, a generous time-out.
fn quick() -> VllmSettings {
    VllmSettings { model: MODEL.into(), backoff_ms: 1, backoff_ms_max: 2, timeout_ms: 10_000, ..VllmSettings::default() }
}

/// The vector of a text: its number, read from its end, makes the direction.
fn raw_vector(text: &str) -> Vec<f32> {
    let number: f32 = text.rsplit(' ').next().unwrap().parse().unwrap_or(0.5);
    vec![3.0 * number, 3.0, 0.0, -3.0]
}

fn unit_vector(text: &str) -> Vec<f32> {
    let raw = raw_vector(text);
    let norm = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    raw.iter().map(|x| x / norm).collect()
}

fn base64(vector: &[f32]) -> Json {
    json!(BASE64.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()))
}

/// The documented answer, with the vectors as `form` writes them.
fn documented(arrived: &Arrived, form: impl Fn(&[f32]) -> Json) -> Json {
    let texts = arrived.texts();
    let data: Vec<Json> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": form(&raw_vector(text))}))
        .collect();
    let usage = json!({"prompt_tokens": 3 * texts.len(), "total_tokens": 3 * texts.len()});
    json!({"id": "embd-1", "object": "list", "created": 1, "model": MODEL, "data": data, "usage": usage})
}

fn good(arrived: &Arrived) -> Reply {
    Reply::json(200, &documented(arrived, base64))
}

/// The documented answer after a change.
fn changed(arrived: &Arrived, change: impl Fn(&mut Json)) -> Reply {
    let mut answer = documented(arrived, |vector| json!(vector));
    change(&mut answer);
    Reply::json(200, &answer)
}

async fn query(embedder: &VllmEmbedder) -> Result<Option<Vec<f32>>, EmbedError> {
    embedder.embed_query("query 7", Traced::new().span()).await
}

async fn passages(embedder: &VllmEmbedder, texts: &[&str]) -> Result<Vec<f32>, EmbedError> {
    embedder.embed_passages(texts, &|_| ()).await
}

fn close(left: &[f32], right: &[f32]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(l, r)| (l - r).abs() < 1e-6)
}

#[tokio::test]
async fn every_form_of_a_right_answer_gives_the_same_unit_vectors() {
    let texts = ["a 1", "b 2", "c 3"];
    let expected: Vec<f32> = texts.iter().flat_map(|text| unit_vector(text)).collect();
    let check = async |form: &str, behaviour: fn(&Arrived) -> Reply| {
        let server = StandIn::start(behaviour).await;
        let embedder = server.embedder();
        let rows = passages(&embedder, &texts).await.unwrap();
        assert!(close(&rows, &expected), "{form}: {rows:?}");
        let vector = query(&embedder).await.unwrap().unwrap();
        assert!(close(&vector, &unit_vector("query 7")), "{form}: {vector:?}");
        assert_eq!(server.arrived().len(), 2, "{form}");
    };
    check("base64", good).await;
    check("floats", |arrived| changed(arrived, |_| ())).await;
    check("another order", |arrived| changed(arrived, |answer| answer["data"].as_array_mut().unwrap().reverse())).await;
    check("no usage", |arrived| changed(arrived, |answer| drop(answer["usage"].take()))).await;
    check("fields unheard of", |arrived| changed(arrived, |answer| answer["data"][0]["x"] = json!({}))).await;
}

#[tokio::test]
async fn what_goes_wrong_is_classed_and_names_the_model() {
    // `requests`: how many it takes; 4 when it is tried again.
    let check = async |class: &str, part: &str, requests: usize, behaviour: fn(&Arrived) -> Reply| {
        let server = StandIn::start(behaviour).await;
        let embedder = server.embedder();
        let errors = [query(&embedder).await.unwrap_err(), passages(&embedder, &["a 1", "b 2"]).await.unwrap_err()];
        for error in errors {
            let message = error.to_string();
            assert_eq!(error.class(), class, "{part}: {message}");
            assert!(message.contains(MODEL), "{part}: {message}");
            assert!(message.contains(part), "{part}: {message}");
            assert!(message.len() < 1000 && !message.contains('\n'), "{part}: {message}");
        }
        assert_eq!(server.arrived().len(), 2 * requests, "{part}");
    };
    const PAGE: &str = "<!DOCTYPE html><html><body>\nBad gateway</body></html>";
    check("unavailable", "HTTP 500: out of memory", 4, |_| vllm_error(500, "out of memory")).await;
    check("unavailable", "HTTP 503: no message", 4, |_| Reply::new(503, "text/plain", "")).await;
    check("unavailable", "HTTP 408", 4, |_| vllm_error(408, "slow")).await;
    check("unavailable", "HTTP 429: later", 4, |_| vllm_error(429, "later")).await;
    check("unavailable", "HTTP 502: a page", 4, |_| Reply::new(502, "text/html", PAGE)).await;
    check("unavailable", "HTTP 502: upstream gone", 4, |_| Reply::new(502, "text/plain", "upstream\n gone")).await;

    check("refused", "(400): 700 tokens, at most 512", 1, |_| vllm_error(400, "700 tokens, at most 512")).await;
    check("refused", "(404): no such model", 1, |_| Reply::json(404, &json!({"object": "error", "message": "no such model"}))).await;
    check("refused", "(401): Unauthorized", 1, |_| Reply::json(401, &json!({"error": "Unauthorized"}))).await;
    check("refused", "(405): Method", 1, |_| Reply::json(405, &json!({"detail": "Method"}))).await;
    check("refused", "(422): [1]", 1, |_| Reply::json(422, &json!([1]))).await;
    check("refused", "(307)", 1, |_| vllm_error(307, "moved").with("location", "/v1/embeddings")).await;
    check("refused", "(413): aaaa", 1, |_| Reply::new(413, "text/plain", "a".repeat(10_000_000))).await;

    check("bad_answer", "text/html", 1, |_| Reply::new(200, "text/html", PAGE)).await;
    check("bad_answer", "not the JSON", 1, |_| Reply::json(200, &json!({"object": "list"}))).await;
    check("bad_answer", "vectors for", 1, |a| changed(a, |answer| answer["data"] = json!([]))).await;
    check("bad_answer", "vectors for", 1, |a| {
        changed(a, |answer| {
            let data = answer["data"].as_array_mut().unwrap();
            data.push(data[0].clone());
        })
    })
    .await;
    check("bad_answer", "index 64", 1, |a| changed(a, |answer| answer["data"][0]["index"] = json!(64))).await;
    check("bad_answer", "not the JSON", 1, |a| changed(a, |answer| answer["data"][0]["index"] = json!(-1))).await;
    check("bad_answer", "of dimension 3, not 4", 1, |a| changed(a, |answer| answer["data"][0]["embedding"] = json!([1.0, 2.0, 3.0]))).await;
    check("bad_answer", "of dimension 0, not 4", 1, |a| changed(a, |answer| answer["data"][0]["embedding"] = json!(""))).await;
    check("bad_answer", "not finite", 1, |a| changed(a, |answer| answer["data"][0]["embedding"][1] = Json::Null)).await;
    check("bad_answer", "not finite", 1, |a| changed(a, |answer| answer["data"][0]["embedding"][1] = json!(1e300))).await;
    check("bad_answer", "not finite", 1, |a| Reply::json(200, &documented(a, |_| base64(&[f32::NAN; DIMENSION])))).await;
    check("bad_answer", "all zeros", 1, |a| Reply::json(200, &documented(a, |_| json!([0, 0, 0, 0])))).await;
    check("bad_answer", "breaks off", 1, |a| Reply::json(200, &documented(a, |_| json!("AAAA")))).await;
    check("bad_answer", "Invalid symbol", 1, |a| Reply::json(200, &documented(a, |_| json!("!!!!")))).await;
    check("bad_answer", "a list of numbers", 1, |a| Reply::json(200, &documented(a, |_| json!({"x": 1})))).await;
    check("bad_answer", "not the JSON", 1, |_| {
        let text = r#"{"data": [{"index": 0, "embedding": [NaN, 1, 1, 1]}]}"#;
        Reply::new(200, "application/json", text)
    })
    .await;
    check("bad_answer", "more than the", 1, |_| Reply::new(200, "application/json", " ".repeat(10_000_000))).await;
}

#[tokio::test]
async fn an_index_that_comes_twice_is_a_bad_answer() {
    let server = StandIn::start(|arrived| changed(arrived, |answer| answer["data"][1]["index"] = json!(0))).await;
    let error = passages(&server.embedder(), &["a 1", "b 2"]).await.unwrap_err();
    assert!(error.to_string().ends_with("two vectors with index 0"), "{error}");
}

#[tokio::test]
async fn a_refused_connection_and_a_broken_one_are_tried_again() {
    let server = StandIn::start(good).await;
    let settings = server.settings();
    server.server.abort();
    // The port stays closed once the listener is gone.
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let embedder = VllmEmbedder::new(settings, Some(DIMENSION)).unwrap();
    let error = query(&embedder).await.unwrap_err();
    assert_eq!(error.class(), "unavailable");
    let message = error.to_string();
    assert!(message.contains("refused") && message.ends_with("(attempts: 4)"), "{message}");

    let server = StandIn::start(|arrived| {
        if arrived.number > 0 {
            return good(arrived);
        }
        let broken = futures::stream::iter([Ok(Bytes::from("{\"data\"")), Err(std::io::Error::other("gone"))]);
        Reply::new(200, "application/json", Body::from_stream(broken))
    })
    .await;
    assert!(query(&server.embedder()).await.is_ok());
    assert_eq!(server.arrived().len(), 2);
}

#[tokio::test]
async fn a_query_is_one_client_span_whose_context_travels() {
    let server = StandIn::start(|arrived| match arrived.number {
        0 => vllm_error(429, "busy"),
        _ => good(arrived),
    })
    .await;
    let traced = Traced::new();
    let root = traced.span().context().span_id().to_string();
    let trace = traced.run.trace_id();
    let embedder = server.embedder();
    embedder.embed_query("query 7", traced.span()).await.unwrap().unwrap();
    let lines = traced.lines();
    let [retry, span] = &lines[..] else { panic!("{lines:?}") };

    assert_eq!(retry["name"], "vllm.retry");
    assert_eq!(retry["span_id"], span["span_id"]);
    assert_eq!(retry["attributes"]["attempt"], 1);
    assert_eq!(retry["attributes"]["cause"], "http_429");
    assert!(retry["attributes"]["wait_ms"].as_u64().unwrap() <= 2);

    assert_eq!((&span["name"], &span["kind"], &span["status"]), (&json!("vllm.embed_batch"), &json!("client"), &json!("ok")));
    assert_eq!(span["parent_span_id"], root);
    let expected = json!({
        "vllm.mode": "http", "vllm.model_name": MODEL, "vllm.embed_dim": DIMENSION, "vllm.batch_size": 1,
        "vllm.attempts": 2, "gen_ai.request.model": MODEL, "gen_ai.operation.name": "embeddings",
        "gen_ai.usage.input_tokens": 3, "server.address": "127.0.0.1", "server.port": server.address.port(),
        "http.response.status_code": 200,
    });
    assert_eq!(span["attributes"], expected);

    let expected = format!("00-{trace}-{}-01", span["span_id"].as_str().unwrap());
    for arrived in server.arrived() {
        assert_eq!(arrived.headers["traceparent"], expected.as_str());
    }
    passages(&embedder, &["a 1"]).await.unwrap();
    assert!(!server.arrived()[2].headers.contains_key("traceparent"));
}

#[tokio::test]
async fn the_span_of_a_failure_says_what_failed() {
    let server = StandIn::start(|_| vllm_error(400, "too long")).await;
    let traced = Traced::new();
    let error = server.embedder().embed_query("query 7", traced.span()).await.unwrap_err();
    let lines = traced.lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["status"], "error");
    assert_eq!(lines[0]["error"], error.to_string());
    assert_eq!(lines[0]["attributes"]["error.type"], "refused");
    assert_eq!(lines[0]["attributes"]["http.response.status_code"], 400);
}

#[tokio::test]
async fn a_query_ends_in_its_time_whatever_happens() {
    let check = async |part: &str, settings: VllmSettings, behaviour: fn(&Arrived) -> Reply| {
        let server = StandIn::start(behaviour).await;
        let settings = VllmSettings { base_url: server.settings().base_url, ..settings };
        let embedder = VllmEmbedder::new(settings, Some(DIMENSION)).unwrap();
        let started = Instant::now();
        let error = query(&embedder).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(5), "{part}");
        assert_eq!(error.class(), "unavailable", "{part}");
        assert!(error.to_string().contains(part), "{part}: {error}");
    };
    let short = VllmSettings { timeout_ms: 100, ..quick() };
    check("no answer within 100 ms", short.clone(), |arrived| good(arrived).after(30_000)).await;
    // Whether in a wait or in an attempt: what the server said is not lost.
    let many = VllmSettings { attempts_max: u32::MAX, timeout_ms: 400, backoff_ms: 20, backoff_ms_max: 20, ..short.clone() };
    check("HTTP 500", many, |_| vllm_error(500, "x")).await;
    let hanging = VllmSettings { timeout_ms: 400, ..short.clone() };
    check("no answer within 400 ms, before that HTTP 500: x", hanging, |arrived| match arrived.number {
        0 => vllm_error(500, "x"),
        _ => good(arrived).after(30_000),
    })
    .await;
    // The wait asked for would end after the query: there is none.
    let waiting = VllmSettings { timeout_ms: 10_000, backoff_ms_max: 60_000, ..short.clone() };
    check("(attempts: 1)", waiting, |_| vllm_error(503, "x").with("retry-after", "50")).await;
    check("no answer within 100 ms", short, |_| {
        let endless = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from(" ")), ()))
        });
        Reply::new(200, "application/json", Body::from_stream(endless))
    })
    .await;
}

#[tokio::test]
async fn queries_that_wait_for_their_turn_wait_no_longer_than_their_time() {
    let server = StandIn::start(good).await;
    let settings = VllmSettings { concurrency: 1, timeout_ms: 50, ..server.settings() };
    let embedder = VllmEmbedder::new(settings, Some(DIMENSION)).unwrap();
    let turn = embedder.query_turns.acquire().await.unwrap();
    for _ in 0..BREAKER_FAILURES_MAX {
        let error = query(&embedder).await.unwrap_err();
        assert!(error.to_string().contains("other queries took all of the 50 ms"), "{error}");
    }
    assert!(server.arrived().is_empty());
    assert!(passages(&embedder, &["a 1"]).await.is_ok(), "passages have turns of their own");
    drop(turn);
    assert_eq!(embedder.breaker.admit(Instant::now()), Ok(()), "it was not the server's fault");
    assert_eq!(embedder.query_turns.available_permits(), 1);
}

#[tokio::test]
async fn each_attempt_at_a_batch_has_its_own_time() {
    let server = StandIn::start(|arrived| match arrived.number {
        0 | 1 => good(arrived).after(30_000),
        _ => good(arrived),
    })
    .await;
    let settings = VllmSettings { index_timeout_ms: 300, timeout_ms: 1, ..server.settings() };
    let embedder = VllmEmbedder::new(settings, Some(DIMENSION)).unwrap();
    assert!(close(&passages(&embedder, &["a 9"]).await.unwrap(), &unit_vector("a 9")));
    assert_eq!(server.arrived().len(), 3);
}

#[tokio::test]
async fn retry_after_is_honoured_up_to_the_longest_wait() {
    let check = async |value: &'static str, wait_ms: std::ops::RangeInclusive<u64>| {
        let server = StandIn::start(move |arrived| match arrived.number {
            0 => vllm_error(429, "busy").with("retry-after", value),
            _ => good(arrived),
        })
        .await;
        let settings = VllmSettings { backoff_ms_max: 80, ..server.settings() };
        let embedder = VllmEmbedder::new(settings, Some(DIMENSION)).unwrap();
        let (traced, started) = (Traced::new(), Instant::now());
        embedder.embed_query("query 7", traced.span()).await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(*wait_ms.start()), "{value}");
        let waited = traced.lines()[0]["attributes"]["wait_ms"].as_u64().unwrap();
        assert!(wait_ms.contains(&waited), "{value}: {waited}");
    };
    check("30", 80..=80).await;
    check("99999999999999999999", 0..=1).await;
    check("Wed, 21 Oct 2026 07:28:00 GMT", 0..=1).await;
    check("-1", 0..=1).await;
}

#[tokio::test]
async fn batches_run_side_by_side_and_rows_keep_their_order() {
    // Later batches answer first.
    let server = StandIn::start(|arrived| {
        let first: u64 = arrived.texts()[0].rsplit(' ').next().unwrap().parse().unwrap();
        good(arrived).after(100 - first / 64 * 8)
    })
    .await;
    let settings = VllmSettings { concurrency: 4, passage_prefix: "passage: ".into(), ..server.settings() };
    let embedder = VllmEmbedder::new(settings, Some(DIMENSION)).unwrap();
    let mut texts: Vec<String> = (0..640).map(|number| format!("text {number}")).collect();
    for blank in [0, 100, 639] {
        texts[blank] = " \n".into();
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let progress = Mutex::new(Vec::new());
    let rows = embedder.embed_passages(&texts, &|done| progress.lock().unwrap().push(done)).await.unwrap();

    for (row, text) in rows.chunks_exact(DIMENSION).zip(&texts) {
        let expected = if text.trim().is_empty() { vec![0.0; DIMENSION] } else { unit_vector(text) };
        assert!(close(row, &expected), "{text}: {row:?}");
    }
    assert_eq!(rows.len(), texts.len() * DIMENSION);
    assert_eq!(server.seen.running_max.load(Ordering::SeqCst), 4);
    let mut sizes: Vec<usize> = server.arrived().iter().map(|arrived| arrived.texts().len()).collect();
    sizes.sort();
    assert_eq!(sizes, [&[61][..], &[64; 9]].concat());
    assert!(server.arrived().iter().all(|arrived| { arrived.texts().iter().all(|text| text.starts_with("passage: text ")) }));
    let progress = progress.into_inner().unwrap();
    assert!(progress.is_sorted() && progress.len() == 11, "{progress:?}");
    assert_eq!((progress[0], progress[10]), (3, 640));
}

#[tokio::test]
async fn one_failed_batch_fails_all_and_stops_the_others() {
    let server = StandIn::start(|arrived| match arrived.texts()[0] {
        "t 2" => vllm_error(400, "no").after(20),
        _ => good(arrived).after(200),
    })
    .await;
    let settings = VllmSettings { batch_size: 1, concurrency: 3, ..server.settings() };
    let embedder = VllmEmbedder::new(settings, Some(DIMENSION)).unwrap();
    let texts: Vec<String> = (0..20).map(|number| format!("t {number}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert_eq!(passages(&embedder, &texts).await.unwrap_err().class(), "refused");
    all_ended(&server).await;
    assert_eq!(server.arrived().len(), 3);
}

#[tokio::test]
async fn dropping_a_call_ends_its_requests() {
    let server = StandIn::start(|arrived| good(arrived).after(60_000)).await;
    let settings = VllmSettings { batch_size: 1, timeout_ms: 60_000, ..server.settings() };
    let embedder = VllmEmbedder::new(settings, Some(DIMENSION)).unwrap();
    let traced = Traced::new();
    let both = async { tokio::join!(embedder.embed_query("query 7", traced.span()), passages(&embedder, &["a 1", "b 2", "c 3"])) };
    assert!(tokio::time::timeout(Duration::from_millis(150), both).await.is_err());
    all_ended(&server).await;
    assert_eq!(server.arrived().len(), 3);
    let lines = traced.lines();
    assert_eq!(lines[0]["attributes"]["error.type"], "cancelled");
    assert_eq!(lines[0]["attributes"]["vllm.attempts"], 1);
}

#[tokio::test]
async fn nothing_is_asked_about_nothing() {
    let server = StandIn::start(good).await;
    let settings = VllmSettings { query_prefix: "query: ".into(), ..server.settings() };
    let embedder = VllmEmbedder::new(settings, Some(DIMENSION)).unwrap();
    let traced = Traced::new();
    assert_eq!(embedder.embed_query(" \t", traced.span()).await.unwrap(), None);
    assert!(traced.lines().is_empty());
    assert!(passages(&embedder, &[]).await.unwrap().is_empty());
    assert_eq!(passages(&embedder, &["", " "]).await.unwrap(), [0.0; 2 * DIMENSION]);
    assert!(server.arrived().is_empty());
    query(&embedder).await.unwrap();
    assert_eq!(server.arrived()[0].texts(), ["query: query 7"]);
}

#[tokio::test]
async fn a_request_holds_what_was_asked_for_and_no_more() {
    let server = StandIn::start(good).await;
    query(&server.embedder()).await.unwrap();
    let expected = json!({"model": MODEL, "input": ["query 7"], "encoding_format": "base64"});
    assert_eq!(server.arrived()[0].body, expected);
    assert!(!server.arrived()[0].headers.contains_key(header::AUTHORIZATION));

    let settings = VllmSettings {
        base_url: format!("{}/v1/", server.settings().base_url),
        dimension: Some(DIMENSION),
        truncate_prompt_tokens: Some(512),
        api_key: Some(" sk-secret\n".into()),
        ..quick()
    };
    let embedder = VllmEmbedder::new(settings, None).unwrap();
    assert_eq!(embedder.info(), EmbedderInfo { kind: "vllm", model: MODEL.into(), dimension: DIMENSION });
    query(&embedder).await.unwrap();
    let arrived = server.arrived()[1].clone();
    assert_eq!(arrived.body["dimensions"], DIMENSION);
    assert_eq!(arrived.body["truncate_prompt_tokens"], 512);
    assert_eq!(arrived.headers[header::AUTHORIZATION], "Bearer sk-secret");
}

#[tokio::test]
async fn the_key_is_shown_nowhere() {
    let server = StandIn::start(|_| vllm_error(401, "Incorrect API key: sk-secret.")).await;
    let settings = VllmSettings { api_key: Some("sk-secret".into()), ..server.settings() };
    assert!(!format!("{settings:?}").contains("sk-secret"));
    let embedder = VllmEmbedder::new(settings.clone(), Some(DIMENSION)).unwrap();
    assert!(!format!("{embedder:?}").contains("sk-secret"));
    let error = query(&embedder).await.unwrap_err();
    assert!(error.to_string().ends_with("Incorrect API key: [key]."), "{error}");

    let unusable = VllmSettings { api_key: Some("sk-\u{7}secret".into()), ..settings.clone() };
    let error = VllmEmbedder::new(unusable, Some(DIMENSION)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"));
    let url = VllmSettings { base_url: "http://me:secret@host".into(), api_key: None, ..settings };
    assert!(!format!("{url:?}").contains("secret"));
    let error = VllmEmbedder::new(url, Some(DIMENSION)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[tokio::test]
async fn a_server_that_keeps_failing_is_left_alone_for_a_while() {
    let healthy = Arc::new(AtomicBool::new(false));
    let switch = healthy.clone();
    let server = StandIn::start(move |arrived| match switch.load(Ordering::SeqCst) {
        true => good(arrived),
        false => vllm_error(500, "down"),
    })
    .await;
    let settings = VllmSettings { attempts_max: 1, ..server.settings() };
    let embedder = VllmEmbedder::new(settings, Some(DIMENSION)).unwrap();
    for _ in 0..BREAKER_FAILURES_MAX {
        assert!(query(&embedder).await.unwrap_err().to_string().contains("HTTP 500"));
    }
    healthy.store(true, Ordering::SeqCst);
    let traced = Traced::new();
    let error = embedder.embed_query("query 7", traced.span()).await.unwrap_err();
    assert_eq!(error.class(), "unavailable");
    assert!(error.to_string().contains("not asked"), "{error}");
    assert_eq!(traced.lines()[0]["attributes"]["vllm.attempts"], 0);
    assert_eq!(server.arrived().len(), 5);
    // Indexing goes its own way, and says nothing about queries.
    assert!(passages(&embedder, &["a 1"]).await.is_ok());
    assert!(query(&embedder).await.is_err());
}

#[test]
fn the_breaker_opens_tries_and_closes() {
    let breaker = Breaker::default();
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let fail = |times: u32, ms: u64| (0..times).for_each(|_| breaker.failed(at(ms)));

    fail(BREAKER_FAILURES_MAX - 1, 0);
    breaker.answered();
    fail(BREAKER_FAILURES_MAX - 1, 0);
    assert_eq!(breaker.admit(at(0)), Ok(()), "four in a row are not five");
    fail(1, 0);
    assert_eq!(breaker.admit(at(1_000)), Err(Duration::from_millis(4_000)));
    assert_eq!(breaker.admit(at(5_000)), Ok(()), "one may try");
    assert_eq!(breaker.admit(at(5_000)), Err(BREAKER_OPEN), "the others wait for it");
    fail(1, 6_000);
    assert_eq!(breaker.admit(at(10_999)), Err(Duration::from_millis(1)));
    assert_eq!(breaker.admit(at(11_000)), Ok(()));
    // That one is never heard of again: another may try later.
    assert_eq!(breaker.admit(at(16_000)), Ok(()));
    breaker.answered();
    assert_eq!(breaker.admit(at(16_000)), Ok(()));
    fail(BREAKER_FAILURES_MAX - 1, 16_000);
    assert_eq!(breaker.admit(at(16_000)), Ok(()), "it counts from zero again");
}

#[tokio::test]
async fn refusals_do_not_open_the_breaker() {
    let server = StandIn::start(|_| vllm_error(400, "too long")).await;
    let embedder = server.embedder();
    for _ in 0..2 * BREAKER_FAILURES_MAX {
        assert_eq!(query(&embedder).await.unwrap_err().class(), "refused");
    }
}

#[tokio::test]
async fn the_dimension_is_the_servers_when_nobody_knows_it() {
    let server = StandIn::start(good).await;
    let embedder = VllmEmbedder::connect(server.settings()).await.unwrap();
    assert_eq!(embedder.info().dimension, DIMENSION);
    assert_eq!(server.arrived()[0].texts(), [PROBE_TEXT]);

    // An embedder for another index still tells what the server does.
    let other = VllmEmbedder::new(server.settings(), Some(7)).unwrap();
    assert_eq!(other.probe().await.unwrap(), DIMENSION);
    assert!(query(&other).await.unwrap_err().to_string().contains("of dimension 4, not 7"));

    // A server that takes no notice of `dimensions` is no use.
    let settings = VllmSettings { dimension: Some(2), ..server.settings() };
    let error = VllmEmbedder::connect(settings).await.unwrap_err();
    assert!(matches!(&error, VllmError::Probe(EmbedError::BadAnswer { .. })), "{error}");
    assert!(error.to_string().contains(MODEL));
}

#[test]
fn settings_that_cannot_work_are_named() {
    type Change = fn(&mut VllmSettings);
    let check = |name: &str, expected: Option<usize>, change: Change| {
        let mut settings = quick();
        change(&mut settings);
        match VllmEmbedder::new(settings, expected).unwrap_err() {
            VllmError::Setting { name: found, problem } => assert_eq!(found, name, "{problem}"),
            error => panic!("{name}: {error}"),
        }
    };
    for url in ["", "127.0.0.1:8001", "localhost:8001", "http://", "ftp://host", "http://me@host", "http://host?x=1", "http://host#x"] {
        let error = VllmEmbedder::new(VllmSettings { base_url: url.into(), ..quick() }, Some(4)).unwrap_err();
        assert!(matches!(error, VllmError::Setting { name: "base_url", .. }), "{url}: {error}");
    }
    check("model", Some(4), |settings| settings.model = " ".into());
    check("dimension", None, |_| ());
    check("dimension", Some(0), |_| ());
    check("dimension", Some(usize::MAX), |_| ());
    check("dimension", None, |settings| settings.dimension = Some(0));
    check("dimension", Some(4), |settings| settings.dimension = Some(5));
    check("batch_size", Some(4), |settings| settings.batch_size = 0);
    check("concurrency", Some(4), |settings| settings.concurrency = usize::MAX);
    check("timeout_ms", Some(4), |settings| settings.timeout_ms = u64::MAX);
    check("index_timeout_ms", Some(4), |settings| settings.index_timeout_ms = 0);
    check("attempts_max", Some(4), |settings| settings.attempts_max = 0);
    check("backoff_ms", Some(4), |settings| settings.backoff_ms = u64::MAX);
    check("backoff_ms_max", Some(4), |settings| settings.backoff_ms_max = 0);
}
