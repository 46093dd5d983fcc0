//! The digest of what decides who gets what: it changes with nothing else, so that a
//! change without a new version is seen.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::definition::{Arm, Eligibility, Experiment, Hash, Layer, Mode, Unit};

/// What decides. Not in it: state, owner, hypothesis and coverage, which change while an
/// experiment runs, and what only the analysis reads.
#[derive(Serialize)]
struct Decisive<'a> {
    mode: Mode,
    unit: &'a Unit,
    layer: &'a Option<Layer>,
    hash: Hash,
    eligibility: &'a Eligibility,
    arms: Vec<Arm>,
}

impl Experiment {
    /// The sha-256, in hexadecimal, of the parts that decide who takes part and which
    /// ranking they get, as JSON without spaces and with keys in order.
    pub fn digest(&self) -> String {
        let mut arms = self.arms.clone();
        for arm in &mut arms {
            let plugins = [&mut arm.plugins.gate, &mut arm.plugins.fusion, &mut arm.plugins.rerank];
            for pin in plugins.into_iter().flatten().filter_map(|plugin| plugin.sha256.as_mut()) {
                pin.make_ascii_lowercase();
            }
        }
        let decisive = Decisive {
            mode: self.mode,
            unit: &self.unit,
            layer: &self.layer,
            hash: Hash { salt: Some(self.salt().into()), ..self.hash.clone() },
            eligibility: &self.eligibility,
            arms,
        };
        let mut text = String::new();
        // Texts, numbers and tables with text keys always serialize.
        canonical(&serde_json::to_value(decisive).unwrap_or_default(), &mut text);
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Whether maps keep the order of their keys is a setting of the JSON library: here it
/// is always that of the alphabet.
fn canonical(value: &Json, text: &mut String) {
    match value {
        Json::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().collect();
            text.push('{');
            for (number, (key, value)) in members.into_iter().enumerate() {
                text.push_str(if number > 0 { "," } else { "" });
                text.push_str(&Json::from(key.as_str()).to_string());
                text.push(':');
                canonical(value, text);
            }
            text.push('}');
        }
        Json::Array(items) => {
            text.push('[');
            for (number, item) in items.iter().enumerate() {
                text.push_str(if number > 0 { "," } else { "" });
                canonical(item, text);
            }
            text.push(']');
        }
        simple => text.push_str(&simple.to_string()),
    }
}
