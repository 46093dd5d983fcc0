//! What `spanloom doctor` says about telemetry: what is exported, how, whether it
//! arrives, and which variables were set in vain.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use axum::http::Uri;

use super::Finding;
use crate::config::Loaded;
use crate::telemetry::{Exporter, Ignored, OtelSettings, OtlpSettings, Signal, probe};

/// How long a receiver may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it may take to answer an export without content.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

const REMEDY: &str = "start a collector there, or correct or unset the endpoint; searches work without";

/// One finding for each signal and exporter, one for what holds for all, and one for
/// each variable that was not heeded.
pub fn findings(loaded: &Loaded) -> Vec<Finding> {
    let otel = loaded.otel();
    let mut findings = vec![general(otel)];
    if !otel.disabled {
        findings.extend(Signal::ALL.into_iter().flat_map(|signal| of_signal(loaded, otel, signal)));
    }
    findings.extend(otel.ignored.iter().map(ignored));
    findings
}

fn general(otel: &OtelSettings) -> Finding {
    if otel.disabled {
        return Finding::note("telemetry", "OTEL_SDK_DISABLED: nothing is exported; run ledgers are written", "");
    }
    Finding::ok("telemetry", format!("sampler {}, propagators {}", otel.sampler, otel.propagators))
}

fn of_signal(loaded: &Loaded, otel: &OtelSettings, signal: Signal) -> Vec<Finding> {
    let part = match signal {
        Signal::Traces => "OTLP traces",
        Signal::Metrics => "OTLP metrics",
        Signal::Logs => "OTLP logs",
    };
    let mut findings: Vec<Finding> = otel
        .exporters(signal)
        .iter()
        .map(|exporter| match exporter {
            Exporter::Otlp(otlp) => receiver(part, signal, otlp),
            Exporter::Console => Finding::ok(signal.as_str(), "go to standard output as OTLP/JSON"),
        })
        .collect();
    if signal == Signal::Metrics && otel.prometheus {
        findings.push(Finding::ok("metrics", format!("can be scraped at http://{}/metrics", loaded.config.server.metrics_bind)));
    }
    if findings.is_empty() {
        let left = match signal {
            Signal::Traces => "not exported: spans are only in the run ledgers",
            Signal::Metrics => "not exported, and there is no scrape",
            Signal::Logs => "not exported: they are only on standard error",
        };
        findings.push(Finding::note(signal.as_str(), left, ""));
    }
    findings
}

/// Whether a receiver takes an export without content.
fn receiver(part: &'static str, signal: Signal, otlp: &OtlpSettings) -> Finding {
    let (endpoint, protocol) = (&otlp.endpoint, otlp.protocol.as_str());
    let extras = [otlp.gzip.then_some("gzip"), (!otlp.headers.0.is_empty()).then_some("with headers")];
    let extras: String = extras.into_iter().flatten().map(|extra| format!(", {extra}")).collect();
    // The connection is tried apart from it, because its errors say more.
    match connect(endpoint).and_then(|()| probe(signal, otlp, EXPORT_TIMEOUT)) {
        Ok(()) => Finding::ok(part, format!("{endpoint} over {protocol}{extras} takes exports")),
        Err(problem) => Finding::broken(part, format!("{endpoint} over {protocol}{extras}: {problem}"), REMEDY),
    }
}

fn connect(endpoint: &str) -> Result<(), String> {
    let (host, port) = address(endpoint).ok_or("it is no URL")?;
    let mut last = "the name has no address".to_owned();
    for address in (host.as_str(), port).to_socket_addrs().map_err(|error| error.to_string())? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// Host and port of a URL; without a port that of its scheme.
fn address(endpoint: &str) -> Option<(String, u16)> {
    let uri: Uri = endpoint.parse().ok()?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    Some((uri.host()?.trim_matches(['[', ']']).to_owned(), port))
}

fn ignored(ignored: &Ignored) -> Finding {
    Finding::note("variable", ignored.to_string(), "correct or unset it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_the_url() {
        let check = |endpoint: &str, host: &str, port: u16| assert_eq!(address(endpoint), Some((host.to_owned(), port)), "{endpoint}");
        check("http://localhost:4317", "localhost", 4317);
        check("http://collector/v1/traces", "collector", 80);
        check("https://collector.example/", "collector.example", 443);
        check("http://[::1]:4318/v1/logs", "::1", 4318);
    }
}
