//! Things that go wrong on purpose: for drills, and for the tests of what run reports
//! say about them.
//!
//! `[faults]` in the configuration names stages by their spans. Without it nothing here
//! does anything.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::telemetry::conventions::span;

/// The ledger's writer, as a place for faults: it finds the disk full.
pub const LEDGER: &str = "ledger";

/// Stages that can fail by themselves, and go on without.
const FALLIBLE: [&str; 13] = [
    span::PROFILE,
    span::GATE,
    span::EMBED,
    span::BM25,
    span::RM3,
    span::FAISS,
    span::FILES,
    span::FUSE,
    span::HYDRATE,
    span::RERANK,
    span::OPEN_FILE,
    span::GIT_BLAME,
    span::GIT_HISTORY,
];
/// Stages that can't: they can be slow, hang or panic.
const INFALLIBLE: [&str; 3] = [span::GATHER, span::RECENCY, span::ENVELOPE];

/// Longest delay in milliseconds.
const DELAY_MS_MAX: u64 = 600_000;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The stage fails as if what it uses had failed.
    Error,
    /// The stage panics.
    Panic,
    /// The stage never comes back.
    Hang,
    /// The stage begins later.
    DelayMs(u64),
}

/// Faults by stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Faults {
    by_stage: BTreeMap<String, Fault>,
}

impl Faults {
    /// One stage that goes wrong.
    pub fn of(stage: &str, fault: Fault) -> Faults {
        Faults { by_stage: BTreeMap::from([(stage.to_owned(), fault)]) }
    }

    /// Does to the stage what is configured for it.
    ///
    /// # Errors
    /// With a message, when the stage is to fail.
    ///
    /// # Panics
    /// When it is to panic.
    pub async fn strike(&self, stage: &str) -> Result<(), String> {
        match self.by_stage.get(stage) {
            None => Ok(()),
            Some(Fault::Error) => Err(format!("`faults` makes {stage} fail")),
            Some(Fault::Panic) => panic!("`faults` makes {stage} panic"),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::DelayMs(ms)) => {
                tokio::time::sleep(Duration::from_millis(*ms)).await;
                Ok(())
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.by_stage.is_empty()
    }

    /// Whether ledgers find the disk full.
    pub fn fill_disk(&self) -> bool {
        self.by_stage.contains_key(LEDGER)
    }

    /// The stages with faults, for messages; empty without.
    pub fn stages(&self) -> Vec<&str> {
        self.by_stage.keys().map(String::as_str).collect()
    }

    /// Each stage and what can happen to it.
    ///
    /// # Errors
    /// The key and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, String)> {
        for (stage, fault) in &self.by_stage {
            let key = || format!("faults.\"{stage}\"");
            let fallible = FALLIBLE.contains(&stage.as_str()) || stage == LEDGER;
            if !fallible && !INFALLIBLE.contains(&stage.as_str()) {
                let mut all = [&FALLIBLE[..], &INFALLIBLE, &[LEDGER]].concat();
                all.sort_unstable();
                return Err((key(), format!("is no stage; allowed: {}", all.join(", "))));
            }
            match fault {
                Fault::Error if !fallible => return Err((key(), "is `error`; allowed: `panic`, `hang`, `delay N ms`".into())),
                Fault::Panic | Fault::Hang | Fault::DelayMs(_) if stage == LEDGER => {
                    return Err((key(), format!("is `{fault}`; allowed: `error`")));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Error => f.write_str("error"),
            Fault::Panic => f.write_str("panic"),
            Fault::Hang => f.write_str("hang"),
            Fault::DelayMs(ms) => write!(f, "delay {ms} ms"),
        }
    }
}

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let delay = || text.strip_prefix("delay ")?.strip_suffix(" ms")?.trim().parse().ok().filter(|ms| (1..=DELAY_MS_MAX).contains(ms));
        match text {
            "error" => Ok(Fault::Error),
            "panic" => Ok(Fault::Panic),
            "hang" => Ok(Fault::Hang),
            _ => delay()
                .map(Fault::DelayMs)
                .ok_or_else(|| format!("is `{text}`; allowed: `error`, `panic`, `hang`, `delay N ms` with N from 1 to {DELAY_MS_MAX}")),
        }
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fault, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn faults(json: &str) -> Result<Faults, String> {
        let faults: Faults = serde_json::from_str(json).map_err(|error| error.to_string())?;
        faults.check().map_err(|(key, problem)| format!("{key} {problem}"))?;
        Ok(faults)
    }

    #[tokio::test]
    async fn stages_are_struck_as_configured() {
        let faults = faults(
            r#"{"duckdb.hydrate": "error", "faiss.search": "hang", "embed": "delay 1 ms", "retrieval.gate": "panic", "ledger": "error"}"#,
        )
        .unwrap();
        assert!(faults.strike("duckdb.hydrate").await.unwrap_err().contains("duckdb.hydrate"));
        assert!(faults.strike("faiss.search").now_or_never().is_none());
        assert_eq!(faults.strike("embed").await, Ok(()));
        assert_eq!(faults.strike("bm25.search").await, Ok(()));
        assert!(std::panic::AssertUnwindSafe(faults.strike("retrieval.gate")).catch_unwind().await.is_err());
        assert!(faults.fill_disk());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |json: &str, parts: &[&str]| {
            let error = faults(json).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        check(r#"{"fuse": "error"}"#, &["faults.\"fuse\"", "is no stage", "retrieval.fuse"]);
        check(r#"{"embed": "explode"}"#, &["`explode`", "delay N ms"]);
        check(r#"{"embed": "delay 0 ms"}"#, &["delay 0 ms", "1 to 600000"]);
        check(r#"{"retrieval.envelope": "error"}"#, &["is `error`", "allowed: `panic`"]);
        check(r#"{"ledger": "hang"}"#, &["is `hang`", "allowed: `error`"]);
    }
}
