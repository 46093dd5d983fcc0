//! What an operator asks a server: the admin endpoints, readiness, the scrape.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::Value as Json;

use super::server::Server;

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

/// What Prometheus sees at one moment.
pub struct Scrape(String);

impl Scrape {
    pub async fn of(server: &Server) -> Scrape {
        Scrape(reqwest::get(&server.metrics).await.expect("a scrape").text().await.expect("text"))
    }

    /// The sum of a counter over all lines with these labels; 0 when there is none.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let with = |line: &&str| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")));
        let lines = self.0.lines().filter(|line| line.starts_with(&format!("{name}{{"))).filter(with);
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    }
}
