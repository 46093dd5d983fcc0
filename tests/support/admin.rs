//! What an operator asks a server: the admin endpoints, readiness, the scrape.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::Value as Json;

use super::server::Server;

/// Labels that say which library measured; every series has them.
const SCOPE: &str = "otel_scope_";

/// An answer of an admin endpoint.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Json,
}

/// Asks an admin endpoint, with further headers.
pub async fn ask(server: &Server, method: Method, path: &str, body: Option<Json>, headers: &[(&str, &str)]) -> Answer {
    let mut request = reqwest::Client::new().request(method, format!("{}/admin/plugins{path}", server.base));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.expect("a response");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    Answer { status, body: serde_json::from_str(&text).unwrap_or(Json::String(text)) }
}

/// Has the server look at every plugin file.
pub async fn reload(server: &Server) -> Answer {
    ask(server, Method::POST, "/reload", None, &[]).await
}

/// Has a stage served by another plugin.
pub async fn choose(server: &Server, stage: &str, choice: Json) -> Answer {
    ask(server, Method::POST, &format!("/{stage}"), Some(choice), &[]).await
}

/// What is loaded and what serves.
pub async fn plugins(server: &Server) -> Json {
    let answer = ask(server, Method::GET, "", None, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// The serving plugin of a stage: name and version.
pub async fn serving(server: &Server, stage: &str) -> (String, String) {
    let state = plugins(server).await;
    let found =
        state["plugins"].as_array().and_then(|list| list.iter().find(|plugin| plugin["stage"] == stage && plugin["serving"] == true));
    let text = |key: &str| found.and_then(|plugin| plugin[key].as_str()).unwrap_or_default().to_owned();
    (text("name"), text("version"))
}

/// The checks of `/readyz` by name: whether all is well, and the words.
pub async fn checks(server: &Server) -> BTreeMap<String, (bool, String)> {
    let response = reqwest::get(format!("{}/readyz", server.base)).await.expect("a response");
    let body: Json = response.json().await.expect("JSON");
    let checks = body["checks"].as_array().cloned().unwrap_or_default();
    let text = |check: &Json, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    checks.iter().map(|check| (text(check, "name"), (check["ok"] == true, text(check, "detail")))).collect()
}

/// What Prometheus sees at one moment: the text of one scrape.
pub struct Scrape {
    pub text: String,
}

impl Scrape {
    pub async fn of(server: &Server) -> Scrape {
        Scrape { text: reqwest::get(&server.metrics).await.expect("a scrape").text().await.expect("text") }
    }

    /// The sum of all series of a name with these labels; `None` when there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let with = |line: &&str| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")));
        let values: Vec<f64> = self
            .series()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter(with)
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The same of a counter, which is 0 before it has moved.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.value(name, labels).unwrap_or_default() as u64
    }

    /// Every series with its value.
    pub fn series(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
    }

    /// The type of each metric by name.
    pub fn types(&self) -> BTreeMap<String, String> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
    }

    /// The labels of a metric's series, without those that all have.
    pub fn labels(&self, metric: &str) -> BTreeSet<String> {
        let of_metric = |name: &str| {
            let rest = name.strip_prefix(metric);
            rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
        };
        let inside = self.series().filter_map(|line| {
            let (name, rest) = line.split_once('{')?;
            let (labels, _) = rest.rsplit_once('}')?;
            of_metric(name).then_some(labels)
        });
        let keys = inside.flat_map(|labels| labels.split("\",").filter_map(|pair| pair.split_once('=')).map(|(key, _)| key.to_owned()));
        keys.filter(|key| !key.starts_with(SCOPE) && key != "le").collect()
    }
}
