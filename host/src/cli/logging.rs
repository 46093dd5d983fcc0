//! Sets up logging for the process: standard error, and the way to OpenTelemetry.
//!
//! `telemetry.log` filters standard error; what is exported is decided apart from it,
//! by `telemetry.otlp_log`, so that a quiet terminal doesn't make a silent backend.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::Failure;
use crate::config::Loaded;
use crate::telemetry::{LogFormat, export_layer};

/// From now on what is logged is written.
pub fn start(loaded: &Loaded) -> Result<(), Failure> {
    let config = &loaded.config.telemetry;
    let filter = filter(&config.log, loaded.otel().sdk_log_level)?;
    let color = std::io::stderr().is_terminal();
    let format = if config.log_format == "json" { LogFormat::Json } else { LogFormat::Text { color } };
    let errors = tracing_subscriber::fmt::layer().event_format(format).with_ansi(color).with_writer(std::io::stderr).with_filter(filter);
    // Its form was checked with the configuration.
    let level = config.otlp_log.parse().unwrap_or(LevelFilter::INFO);
    let export = (!loaded.otel().logs.is_empty()).then(|| export_layer(level));
    // Set once; a second call can only come from a test in the same process.
    let _ = tracing_subscriber::registry().with(errors).with(export).try_init();
    Ok(())
}

/// The directives of the configuration; `OTEL_LOG_LEVEL` is about the SDK alone.
fn filter(directives: &str, sdk_level: Option<&str>) -> Result<EnvFilter, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::Usage(format!("`telemetry.log` is `{directives}`: {error}; allowed: such as info or spanloom=debug"))
    };
    let mut filter = EnvFilter::try_new(directives).map_err(|error| wrong(&error))?;
    if let Some(level) = sdk_level {
        filter = filter.add_directive(format!("opentelemetry={level}").parse().map_err(|error| wrong(&error))?);
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_has_a_level_of_its_own() {
        let check = |directives: &str, level: Option<&str>, expect: &[&str]| {
            let shown = filter(directives, level).ok().unwrap().to_string();
            let mut parts: Vec<&str> = shown.split(',').collect();
            parts.sort_unstable();
            assert_eq!(parts, expect);
        };
        check("warn", None, &["warn"]);
        check("warn", Some("debug"), &["opentelemetry=debug", "warn"]);
        check("info,spanloom=debug", Some("off"), &["info", "opentelemetry=off", "spanloom=debug"]);
        assert!(matches!(filter("a=b=c", None), Err(Failure::Usage(message)) if message.contains("a=b=c")));
    }
}
