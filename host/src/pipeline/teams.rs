//! Two arms of an experiment that share one answer: each ranks by itself, in a stage of
//! its own, and the answer is filled in turns.

use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;
use xxhash_rust::xxh3::Xxh3;

use super::arms::{self, Arms};
use super::judge::{self, Gated};
use super::page::Page;
use super::{Arm, Changes, Chosen, Notes, Ranking, Search, ranking};
use crate::envelope::ExperimentStamp;
use crate::plugin::CallSettings;
use crate::profile::QueryProfile;
use crate::telemetry::GivenUp;
use crate::telemetry::conventions::span;
use crate::types::Stage;

/// An experiment whose arms share the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Interleave {
    pub stamp: ExperimentStamp,
    /// Only queries that the gate gives one of these classes take part; all when `None`.
    pub classes: Option<Vec<String>>,
    /// Of the experiment and the unit. What is asked is mixed in.
    pub seed: u64,
    /// Key and changes of each arm.
    pub teams: Vec<(String, Changes)>,
}

impl Interleave {
    /// Whether the arms differ in who decides how deep to look.
    pub(super) fn changes_gate(&self) -> bool {
        self.teams.iter().any(|(_, changes)| changes.plugins.contains_key(&Stage::Gate))
    }
}

/// Arms that share the answer, with their plugins.
pub(super) struct Teams {
    pub stamp: ExperimentStamp,
    seed: u64,
    lanes: Vec<Lane>,
}

/// What is a team's own in a search.
struct Lane {
    key: String,
    /// Those of other experiments, and the team's.
    arms: Arms,
    chosen: Chosen,
    call: CallSettings,
}

impl Teams {
    /// The teams, when the plugins of all can be had; else the search goes on without them,
    /// which is noted.
    pub fn admit(interleave: &Interleave, search: &Search<'_>, began: Instant, notes: &mut Notes) -> Option<Teams> {
        let host = search.host;
        let lane = |(key, changes): &(String, Changes), notes: &mut Notes| {
            let stamp = ExperimentStamp { variant: key.clone(), ..interleave.stamp.clone() };
            let own = Arms::admit(host, vec![Arm { stamp, classes: None, changes: changes.clone() }], notes);
            let all = search.arms.clone().and(own);
            let call = CallSettings { deadline: began + all.deadline(host.settings.deadline_ms), ..search.call };
            let chosen = all.over(search.chosen);
            (all.len() > search.arms.len()).then(|| Lane { key: key.clone(), arms: all, chosen, call })
        };
        let lanes: Option<Vec<Lane>> = interleave.teams.iter().map(|team| lane(team, notes)).collect();
        let teams = Teams { stamp: interleave.stamp.clone(), seed: interleave.seed, lanes: lanes? };
        let root = &search.run.root;
        arms::tell(&teams.stamp, Some(teams.seed), root);
        arms::mark(&[search.arms.stamps(), vec![teams.stamp.clone()]].concat(), root);
        Some(teams)
    }

    /// The key of a ranking's arm.
    pub fn key(&self, ranking: usize) -> Option<&str> {
        self.lanes.get(ranking).map(|lane| lane.key.as_str())
    }

    /// Decides who picks first. All pages of what a unit asks have the same.
    pub fn seed(&self, page: &Page) -> u64 {
        let mut hash = Xxh3::with_seed(self.seed);
        hash.update(&page.query.to_le_bytes());
        hash.digest()
    }

    /// The ranking of each team. A gate that several share has decided already.
    pub async fn rankings(
        &self,
        search: &Search<'_>,
        profile: &Arc<QueryProfile>,
        gated: Option<Gated>,
        notes: &mut Notes,
    ) -> Vec<Ranking> {
        let asked = self.lanes.iter().map(|lane| {
            let gated = gated.clone();
            async move {
                let own = Search { chosen: &lane.chosen, arms: &lane.arms, call: lane.call, ..search.clone() };
                let stage = own.stage(&search.run.root, span::TEAM);
                let _left = GivenUp(stage.clone());
                let mut notes = Notes::of(&stage);
                let (gated, gate) = match gated {
                    Some(gated) => (gated, None),
                    None => {
                        let (gated, gate) = judge::gate(&own, &stage, profile, &mut notes).await;
                        (gated, Some(gate))
                    }
                };
                let ranking = ranking(&own, &stage, profile, gated, gate, &mut notes).await;
                stage.end();
                (ranking, (lane.key.clone(), notes))
            }
        });
        let (rankings, noted) = join_all(asked).await.into_iter().unzip();
        notes.take_over(noted);
        rankings
    }
}
