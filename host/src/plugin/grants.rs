//! What a plugin may reach beyond its arguments. Denied unless the configuration
//! grants it by name; files and network are never granted.
//!
//! A component may *import* anything: toolchains import clocks and random numbers
//! whether or not they are used. Ungranted, the clock stands still and random numbers
//! are the same in every instance, so that runs can be replayed; the environment is
//! empty; using `documents` or `scoring` ends the call as `denied`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx};

/// Something that can be granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Capability {
    /// Text, facts and evidence of the rows of a rerank call.
    Documents,
    /// Scores from the host's models.
    Scoring,
    /// The time of day and a clock that runs.
    Clocks,
    /// Random numbers.
    Random,
    /// One variable of the host's environment, by name.
    Environment(String),
}

/// What stands before a variable's name.
const ENVIRONMENT_PREFIX: &str = "env:";
/// Variables that the host reads its configuration from.
const OWN_VARIABLES: &str = "SPANLOOM_";
const NAMES: &str = "documents, scoring, clocks, random, env:NAME";

/// Random bytes that one host call gives.
const RANDOM_BYTES_MAX: u64 = 1 << 16;

/// What one plugin was granted, with the values of the granted variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    capabilities: BTreeSet<Capability>,
    environment: BTreeMap<String, String>,
}

impl Grants {
    /// Nothing beyond `capabilities`. `environment` is asked for granted variables only;
    /// one that is not set stays unset.
    pub fn new(capabilities: impl IntoIterator<Item = Capability>, environment: impl Fn(&str) -> Option<String>) -> Grants {
        let capabilities: BTreeSet<Capability> = capabilities.into_iter().collect();
        let environment = capabilities
            .iter()
            .filter_map(|capability| match capability {
                Capability::Environment(name) => environment(name).map(|value| (name.clone(), value)),
                _ => None,
            })
            .collect();
        Grants { capabilities, environment }
    }

    pub fn has(&self, capability: &Capability) -> bool {
        self.capabilities.contains(capability)
    }

    /// In their one order.
    pub fn names(&self) -> Vec<String> {
        self.capabilities.iter().map(Capability::to_string).collect()
    }

    /// Whether the same call may have different answers.
    pub fn is_deterministic(&self) -> bool {
        !self.has(&Capability::Clocks) && !self.has(&Capability::Random) && !self.has(&Capability::Scoring)
    }

    /// The WASI that an instance sees. No files, no arguments, closed streams and
    /// sockets in any case.
    pub(super) fn wasi(&self) -> WasiCtx {
        let mut wasi = WasiCtx::builder();
        wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false).max_random_size(RANDOM_BYTES_MAX);
        for (name, value) in &self.environment {
            wasi.env(name, value);
        }
        if !self.has(&Capability::Clocks) {
            wasi.wall_clock(Still).monotonic_clock(Still);
        }
        if !self.has(&Capability::Random) {
            wasi.secure_random(Deterministic::new(fixed_bytes()));
            wasi.insecure_random(Deterministic::new(fixed_bytes()));
            wasi.insecure_random_seed(1);
        }
        wasi.build()
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Capability::Documents => f.write_str("documents"),
            Capability::Scoring => f.write_str("scoring"),
            Capability::Clocks => f.write_str("clocks"),
            Capability::Random => f.write_str("random"),
            Capability::Environment(name) => write!(f, "{ENVIRONMENT_PREFIX}{name}"),
        }
    }
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Capability, String> {
        match text {
            "documents" => Ok(Capability::Documents),
            "scoring" => Ok(Capability::Scoring),
            "clocks" => Ok(Capability::Clocks),
            "random" => Ok(Capability::Random),
            _ => match text.strip_prefix(ENVIRONMENT_PREFIX).filter(|name| !name.is_empty() && !name.contains('=')) {
                Some(name) if name.starts_with(OWN_VARIABLES) => {
                    Err(format!("`{text}` can't be granted: variables of {OWN_VARIABLES}… are the host's own configuration"))
                }
                Some(name) => Ok(Capability::Environment(name.to_owned())),
                None => Err(format!("`{text}` can't be granted; allowed: {NAMES}. Files and network are never granted")),
            },
        }
    }
}

impl TryFrom<String> for Capability {
    type Error = String;

    fn try_from(text: String) -> Result<Capability, String> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> String {
        capability.to_string()
    }
}

/// A clock that stands at the beginning of 1970.
struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}

/// Bytes without a visible pattern, the same everywhere: SplitMix64 (Steele, Lea and
/// Flood, OOPSLA 2014) from seed 0.
fn fixed_bytes() -> Vec<u8> {
    let mut state = 0_u64;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    std::iter::repeat_with(&mut next).take(32).flat_map(u64::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_names_and_others_are_refused() {
        for name in ["documents", "scoring", "clocks", "random", "env:REGION"] {
            assert_eq!(name.parse::<Capability>().unwrap().to_string(), name);
        }
        for name in ["network", "files", "env:", "env:A=B", "Documents", ""] {
            let message = name.parse::<Capability>().unwrap_err();
            assert!(message.contains(&format!("`{name}`")) && message.contains("never granted"), "{message}");
        }
        assert!("env:SPANLOOM_SERVER__BIND".parse::<Capability>().unwrap_err().contains("the host's own"));
    }

    #[test]
    fn only_granted_variables_are_read() {
        let grants = Grants::new(["env:A".parse().unwrap(), "env:B".parse().unwrap()], |name| (name == "A").then(|| "1".to_owned()));
        assert_eq!(grants.environment, BTreeMap::from([("A".to_owned(), "1".to_owned())]));
        assert_eq!(grants.names(), ["env:A", "env:B"]);
        assert!(grants.is_deterministic() && !grants.has(&Capability::Clocks));
    }
}
