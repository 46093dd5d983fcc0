//! From `[plugins]` and `[scoring]` to the settings of plugins and their models.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::schema::{ExtraPlugin, PluginsConfig, ScorerConfig, ScoringConfig, StageConfig};
use crate::models::scoring::{ScorerSettings, ScoringSettings};
use crate::plugin::{Capability, ExtraSettings, Grants, PluginLimits, PluginSettings, PluginSource, SHIPPED, StageSettings, Terms};
use crate::types::Stage;

/// A key and what is wrong with its value.
type Problem = (String, String);

impl PluginsConfig {
    fn stages(&self) -> [(Stage, &StageConfig); 3] {
        [(Stage::Gate, &self.gate), (Stage::Fusion, &self.fusion), (Stage::Rerank, &self.rerank)]
    }

    /// Every capability that anything is granted.
    pub(super) fn granted(&self) -> impl Iterator<Item = &Capability> {
        let stages = self.stages().into_iter().filter_map(|(_, stage)| stage.grants.as_ref()).flatten();
        stages.chain(self.extra.iter().flat_map(|extra| &extra.grants))
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let at = |key: &str| {
            let key = key.to_owned();
            move |problem: String| (key.clone(), problem)
        };
        self.limits.check().map_err(at("plugins.limits"))?;
        self.quarantine.check().map_err(at("plugins.quarantine"))?;
        for (stage, config) in self.stages() {
            let key = format!("plugins.{stage}");
            if config.plugin.is_some() && config.path.is_some() {
                return Err((key, "has both `plugin` and `path`; allowed: one of them".into()));
            }
            check_digest(config.sha256.as_deref()).map_err(at(&format!("{key}.sha256")))?;
            self.limits_with(&config.limits).map_err(at(&format!("{key}.limits")))?;
        }
        for (number, extra) in self.extra.iter().enumerate() {
            let key = format!("plugins.extra[{number}]");
            check_digest(extra.sha256.as_deref()).map_err(at(&format!("{key}.sha256")))?;
            self.limits_with(&extra.limits).map_err(at(&format!("{key}.limits")))?;
        }
        Ok(())
    }

    /// The common limits with those of one plugin in their place.
    fn limits_with(&self, own: &Map<String, Json>) -> Result<PluginLimits, String> {
        let mut all = match serde_json::to_value(self.limits) {
            Ok(Json::Object(all)) => all,
            // Numbers always serialize.
            _ => Map::new(),
        };
        all.extend(own.clone());
        let limits: PluginLimits = serde_path_to_error::deserialize(Json::Object(all)).map_err(|error| {
            let path = error.path().to_string();
            format!("`{path}`: {}", error.into_inner())
        })?;
        limits.check().map(|()| limits)
    }

    /// Settings out of a checked configuration; `environment` has the granted variables.
    pub(super) fn settings(&self, environment: &BTreeMap<String, String>) -> PluginSettings {
        let terms = |limits: &Map<String, Json>, grants: &[Capability]| Terms {
            limits: self.limits_with(limits).unwrap_or(self.limits),
            grants: Grants::new(grants.iter().cloned(), |name| environment.get(name).cloned()),
            quarantine: self.quarantine,
        };
        let stage_settings = |stage: Stage, config: &StageConfig| {
            let shipped =
                |name: Option<&str>| SHIPPED.iter().find(|shipped| shipped.stage == stage && name.is_none_or(|name| name == shipped.name));
            let source = match (&config.path, &config.plugin) {
                (Some(path), _) => PluginSource::File(path.clone()),
                (None, Some(name)) => PluginSource::Named(name.clone()),
                (None, None) => PluginSource::Named(shipped(None)?.name.to_owned()),
            };
            let own_grants = match (&source, &config.grants) {
                (_, Some(grants)) => Some(grants.clone()),
                // Other limits alone don't take a shipped plugin's grants away.
                (PluginSource::Named(name), None) => shipped(Some(name)).map(|shipped| shipped.grants.to_vec()),
                (PluginSource::File(_), None) => None,
            };
            let differs = config.grants.is_some() || !config.limits.is_empty();
            Some(StageSettings {
                source,
                parameters: config.parameters.clone(),
                sha256: config.sha256.clone(),
                terms: differs.then(|| terms(&config.limits, own_grants.as_deref().unwrap_or_default())),
                cases: config.cases.clone(),
            })
        };
        let extra = |extra: &ExtraPlugin| ExtraSettings {
            stage: extra.stage,
            path: extra.path.clone(),
            sha256: extra.sha256.clone(),
            terms: terms(&extra.limits, &extra.grants),
            cases: extra.cases.clone(),
        };
        PluginSettings {
            stages: self.stages().into_iter().filter_map(|(stage, config)| Some((stage, stage_settings(stage, config)?))).collect(),
            extra: self.extra.iter().map(extra).collect(),
            folder: self.folder.clone(),
            terms: terms(&Map::new(), &[]),
        }
    }
}

fn check_digest(sha256: Option<&str>) -> Result<(), String> {
    match sha256 {
        Some(text) if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Err(format!("is `{text}`; allowed: the 64 hexadecimal digits of a sha-256, as `spanloom plugin inspect` prints them"))
        }
        _ => Ok(()),
    }
}

impl ScoringConfig {
    pub(super) fn scorers(&self) -> impl Iterator<Item = (&'static str, &ScorerConfig)> {
        let all = [("scoring.cross_encoder", &self.cross_encoder), ("scoring.late_interaction", &self.late_interaction)];
        all.into_iter().filter_map(|(key, scorer)| Some((key, scorer.as_ref()?)))
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        for (key, scorer) in self.scorers() {
            if scorer.model.is_empty() {
                return Err((format!("{key}.model"), "is empty; allowed: the name under which vLLM serves the model".into()));
            }
            let numbers = [
                ("timeout_ms", scorer.timeout_ms, 1, 60_000),
                ("batch_size", scorer.batch_size as u64, 1, 1_024),
                ("concurrency", scorer.concurrency as u64, 1, 64),
                ("attempts_max", u64::from(scorer.attempts_max), 1, 10),
                ("document_bytes_max", scorer.document_bytes_max as u64, 64, 1 << 20),
            ];
            if let Some((name, value, low, high)) = numbers.into_iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
                return Err((format!("{key}.{name}"), format!("is {value}; allowed: {low} to {high}")));
            }
        }
        Ok(())
    }

    /// `api_keys` by the key of the section.
    pub(super) fn settings(&self, api_keys: &BTreeMap<String, String>) -> ScoringSettings {
        let one = |key: &str, scorer: &Option<ScorerConfig>| {
            scorer.as_ref().map(|scorer| ScorerSettings {
                base_url: scorer.url.clone(),
                model: scorer.model.clone(),
                api_key: api_keys.get(key).cloned(),
                timeout_ms: scorer.timeout_ms,
                batch_size: scorer.batch_size,
                concurrency: scorer.concurrency,
                attempts_max: scorer.attempts_max,
                document_bytes_max: scorer.document_bytes_max,
                query_prefix: scorer.query_prefix.clone(),
                document_prefix: scorer.document_prefix.clone(),
            })
        };
        ScoringSettings {
            cross_encoder: one("scoring.cross_encoder", &self.cross_encoder),
            late_interaction: one("scoring.late_interaction", &self.late_interaction),
        }
    }
}
