//! From the words of an arm to what the pipeline takes.

use std::path::Path;

use crate::envelope::ExperimentStamp;
use crate::experiments::board::{Live, Part};
use crate::experiments::events::{Exposure, INTERLEAVED};
use crate::experiments::{Arm as FileArm, UnitKind, read_folder};
use crate::pipeline::{Arm, Changes, Interleave, PinnedChoice, SearchHost};
use crate::reports::replay::Exposed;
use crate::request::PluginChoice;

/// What a search gets of experiments.
#[derive(Default)]
pub struct Arms {
    alone: Vec<Arm>,
    shared: Option<Interleave>,
    page_run: Option<String>,
}

impl Arms {
    /// The search with them.
    pub fn join(self, host: SearchHost) -> SearchHost {
        SearchHost { arms: self.alone, interleave: self.shared, page_run: self.page_run, ..host }
    }
}

/// The arms that the run `run_id` had, out of the files of today.
///
/// # Errors
/// When a file can't be read, or is of another version: the answer would say nothing about
/// the first one.
pub fn replayed_arms(folder: &Path, run_id: &str, exposed: &[Exposed]) -> Result<Arms, String> {
    let mut arms = Arms::default();
    if exposed.is_empty() {
        return Ok(arms);
    }
    let files = read_folder(folder).map_err(|error| error.to_string())?;
    for Exposed { stamp, seed } in exposed {
        let ExperimentStamp { id, version, variant, .. } = stamp;
        let gone = || format!("it was part of experiment {id} version {version}, arm {variant}, which is not in {}", folder.display());
        let file = files.iter().find(|file| file.experiment.id == *id && file.experiment.version == *version).ok_or_else(gone)?;
        let classes = file.experiment.eligibility.query_classes.clone();
        if file.experiment.unit.kind == UnitKind::Run {
            arms.page_run = Some(run_id.to_owned());
        }
        if variant == INTERLEAVED {
            let seed = seed.ok_or_else(|| format!("its ledger doesn't say who picked first in experiment {id}"))?;
            let teams = file.experiment.arms.iter().map(|arm| (arm.key.clone(), changes(arm))).collect();
            arms.shared = Some(Interleave { stamp: stamp.clone(), classes, seed, teams });
        } else {
            let arm = file.experiment.arms.iter().find(|arm| arm.key == *variant).ok_or_else(gone)?;
            arms.alone.push(Arm { stamp: stamp.clone(), classes, changes: changes(arm) });
        }
    }
    Ok(arms)
}

/// How answers and spans name a part in an experiment.
pub(super) fn stamp(exposure: &Exposure) -> ExperimentStamp {
    let Exposure { experiment, version, variant, bucket, .. } = exposure.clone();
    ExperimentStamp { id: experiment, version, variant, bucket }
}

/// The arm that answers alone.
pub(super) fn arm(live: &Live, part: &Part) -> Option<Arm> {
    let changes = changes(live.experiment.arms.get(part.arm)?);
    Some(Arm { stamp: stamp(&part.exposure), classes: live.experiment.eligibility.query_classes.clone(), changes })
}

/// The arms that share an answer.
pub(super) fn interleave(live: &Live, part: &Part) -> Interleave {
    Interleave {
        stamp: stamp(&part.exposure),
        classes: live.experiment.eligibility.query_classes.clone(),
        seed: part.seed,
        teams: live.experiment.arms.iter().map(|arm| (arm.key.clone(), changes(arm))).collect(),
    }
}

/// What an arm of a file changes about a search. Its index is not among it.
pub(crate) fn changes(arm: &FileArm) -> Changes {
    let plugins = arm.plugins.set().map(|(stage, plugin)| {
        let choice = PluginChoice { plugin: plugin.plugin.clone(), parameters: plugin.parameters.clone() };
        (stage, PinnedChoice { choice, sha256: plugin.sha256.as_ref().map(|pin| pin.to_ascii_lowercase()) })
    });
    Changes {
        plugins: plugins.collect(),
        channels: arm.channels.clone(),
        depths: arm.budgets.depths.clone(),
        weights: arm.budgets.weights.iter().map(|(channel, weight)| (*channel, *weight as f32)).collect(),
        rerank_depth: arm.budgets.rerank_depth,
        rrf_k: arm.budgets.rrf_k.map(|k| k as f32),
        deadline_ms: arm.budgets.deadline_ms,
        rm3: arm.rm3,
        rerank: arm.rerank,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "id = \"e\"\nversion = 2\nmode = \"MODE\"\n[unit]\nkind = \"run\"\n[[arms]]\nkey = \"a\"\n[[arms]]\nkey = \"b\"\nrm3 = true\n\
         [metrics]\nprimary = \"used_findings\"\n";

    fn exposed(version: u32, variant: &str, seed: Option<u64>) -> Exposed {
        Exposed { stamp: ExperimentStamp { id: "e".into(), version, variant: variant.into(), bucket: 1 }, seed }
    }

    #[test]
    fn a_run_has_its_arms_again_or_a_reason_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let again = |exposed| replayed_arms(folder.path(), "r1", &[exposed]);
        let write = |mode: &str| std::fs::write(folder.path().join("e.toml"), FILE.replace("MODE", mode)).unwrap();
        write("ab");
        let arms = again(exposed(2, "b", None)).unwrap();
        assert_eq!((arms.alone[0].changes.rm3, arms.page_run.as_deref()), (Some(true), Some("r1")));
        for (exposed, expect) in [
            (exposed(1, "b", None), "part of experiment e version 1, arm b, which is not in"),
            (exposed(2, "c", None), "arm c, which is not in"),
            (exposed(2, INTERLEAVED, None), "doesn't say who picked first"),
        ] {
            let error = again(exposed).err().unwrap_or_default();
            assert!(error.contains(expect), "{error}");
        }
        write("interleave");
        let shared = again(exposed(2, INTERLEAVED, Some(7))).unwrap().shared.unwrap();
        assert_eq!((shared.seed, shared.teams.len()), (7, 2));
    }
}
