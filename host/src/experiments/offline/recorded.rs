//! Recorded searches as queries with judgments. In: the findings of a run asked again, and
//! what was used of those it showed. Out: figures.
//!
//! What was used says what is right only of what was shown: see the report's methods.

use std::collections::{BTreeMap, BTreeSet};

use crate::eval::matching::{Hit, Level, Place, Truth, judge};
use crate::eval::measures::{Kind, Measure};
use crate::eval::report::QueryReport;
use crate::experiments::definition::Experiment;
use crate::experiments::events::{Action, Event};
use crate::experiments::metric::{Metric, Outcome};
use crate::experiments::overlap::{Persistence, overlap_at, rank_biased_overlap};
use crate::request::DEPTH_MAX;

/// 1 / rank of the first finding that is right.
pub const RECIPROCAL_RANK: &str = "reciprocal_rank";
/// 1 when one of the first ten is right.
pub const SUCCESS: &str = "success@10";
/// Share of the first ten that the control has, too.
pub const OVERLAP: &str = "overlap@10";
/// Agreement with the control's list, its first ranks counting most.
pub const RANK_BIASED_OVERLAP: &str = "rank_biased_overlap";

/// Ranks of [`SUCCESS`] and [`OVERLAP`].
const FIRST_RANKS: usize = 10;
/// No list of findings is longer.
const FIRST_RIGHT: Measure = Measure { kind: Kind::Mrr, k: DEPTH_MAX as usize };
const FIRST_RIGHT_IN_TEN: Measure = Measure { kind: Kind::Mrr, k: FIRST_RANKS };

/// The measures that arms are compared by, the primary one first; and what is to be warned
/// of, where that is not the file's.
pub fn measures(experiment: &Experiment) -> (Vec<String>, Option<String>) {
    let primary = experiment.metrics.primary;
    let order = match primary {
        Metric::Outcome(Outcome::Success) => [SUCCESS, RECIPROCAL_RANK],
        _ => [RECIPROCAL_RANK, SUCCESS],
    };
    let known = matches!(primary, Metric::Outcome(Outcome::Success | Outcome::ReciprocalRank));
    let warning = (!known).then(|| format!("recorded runs can't tell the primary metric `{primary}`; `{}` decides", order[0]));
    (order.map(str::to_owned).to_vec(), warning)
}

/// The chunks that were used, by run, of the runs that are `wanted`. A finding is used when
/// it was used, opened, copied or called helpful.
pub fn used(events: impl Iterator<Item = Event>, wanted: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<u64>> {
    let mut used: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for event in events {
        if let Action::Used(mark) | Action::Opened(mark) | Action::Copied(mark) | Action::Helpful(mark) = event.action
            && wanted.contains(&event.query_id)
        {
            used.entry(event.query_id).or_default().insert(mark.object.object_id);
        }
    }
    used
}

/// The figures of a run that was asked again. `used` are the places that were used, by
/// document and lines; without any, nothing is known to be right. `control` is the list to
/// compare with, when there is one. Findings have no more than one rank.
pub fn figures(run_id: &str, found: &[Hit], used: &[Place], control: Option<&[Hit]>) -> QueryReport {
    let ranking: Vec<Hit> = found.iter().map(by_document).collect();
    let judged = judge(Level::Chunk, &Truth::Places(used.to_vec()), &ranking.iter().collect::<Vec<_>>());
    let mut report = QueryReport::new(run_id, &judged, &[]);
    if !used.is_empty() {
        report.measures.insert(RECIPROCAL_RANK.into(), FIRST_RIGHT.of(&judged));
        report.measures.insert(SUCCESS.into(), f64::from(u8::from(FIRST_RIGHT_IN_TEN.of(&judged) > 0.0)));
    }
    if let Some(control) = control {
        let [ours, theirs] = [found, control].map(|hits| hits.iter().map(identity).collect::<Vec<_>>());
        report.measures.insert(OVERLAP.into(), overlap_at(&theirs, &ours, FIRST_RANKS));
        report.measures.insert(RANK_BIASED_OVERLAP.into(), rank_biased_overlap(&theirs, &ours, Persistence::DEFAULT));
    }
    report
}

/// A finding whose path is the id of its record, where it is one: several records may have
/// one path.
fn by_document(hit: &Hit) -> Hit {
    Hit { path: hit.document.clone(), ..hit.clone() }
}

/// The same in every index that has the same files and cuts them alike.
fn identity(hit: &Hit) -> (&str, u32, u32) {
    (&hit.document, hit.start_line, hit.end_line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hit(document: &str, start_line: u32, end_line: u32) -> Hit {
        Hit { document: document.into(), path: "p".into(), start_line, end_line, score: 0.5 }
    }

    fn place(path: &str, first: u32, last: u32) -> Place {
        Place { path: path.into(), lines: Some((first, last)) }
    }

    #[track_caller]
    fn check(found: &[Hit], used: &[Place], control: Option<&[Hit]>, expect: &[(&str, f64)]) {
        let report = figures("r", found, used, control);
        let expect: BTreeMap<String, f64> = expect.iter().map(|(name, figure)| ((*name).into(), *figure)).collect();
        assert_eq!(report.measures, expect);
        assert_eq!((report.query_id.as_str(), report.ranked, report.relevant), ("r", found.len(), used.len()));
    }

    #[test]
    fn what_was_used_is_found_by_a_line_in_common() {
        let found = [hit("a", 1, 9), hit("b", 1, 9), hit("a", 10, 20)];
        check(&found, &[place("a", 20, 25)], None, &[(RECIPROCAL_RANK, 1.0 / 3.0), (SUCCESS, 1.0)]);
        check(&found, &[place("a", 21, 25), place("b", 3, 3)], None, &[(RECIPROCAL_RANK, 0.5), (SUCCESS, 1.0)]);
        check(&found, &[place("c", 1, 9)], None, &[(RECIPROCAL_RANK, 0.0), (SUCCESS, 0.0)]);
        check(&[], &[place("a", 1, 9)], None, &[(RECIPROCAL_RANK, 0.0), (SUCCESS, 0.0)]);
        let late: Vec<Hit> = (0..12).map(|rank| hit(if rank == 10 { "z" } else { "y" }, rank, rank)).collect();
        check(&late, &[place("z", 10, 10)], None, &[(RECIPROCAL_RANK, 1.0 / 11.0), (SUCCESS, 0.0)]);
        // Without feedback nothing is known to be right, which is not the same as wrong.
        check(&found, &[], None, &[]);
    }

    #[test]
    fn lists_are_held_against_the_control() {
        let (one, two) = ([hit("a", 1, 9), hit("b", 1, 9)], [hit("b", 1, 9), hit("b", 10, 19)]);
        check(&one, &[], Some(&one), &[(OVERLAP, 1.0), (RANK_BIASED_OVERLAP, 1.0)]);
        let report = figures("r", &two, &[], Some(&one));
        assert_eq!(report.measures[OVERLAP], 0.5);
        assert!((0.0..0.5).contains(&report.measures[RANK_BIASED_OVERLAP]), "{report:?}");
        check(&[], &[], Some(&one), &[(OVERLAP, 0.0), (RANK_BIASED_OVERLAP, 0.0)]);
    }

    #[test]
    fn used_chunks_are_read_out_of_events() {
        let event = |run: &str, action: &str, chunk: u64| -> Event {
            let mark = json!({"object": {"object_id": chunk, "object_id_field": "chunk_id"}, "position": {"ordinal": 1}, "source": "tool"});
            let all =
                json!({"application": "spanloom", "query_id": run, "timestamp": "t", "action_name": action, "event_attributes": mark});
            serde_json::from_value(all).unwrap()
        };
        let events =
            [("r", "used", 1), ("r", "used", 1), ("r", "not_helpful", 2), ("r", "opened", 3), ("s", "copied", 4), ("t", "helpful", 5)];
        let events = events.map(|(run, action, chunk)| event(run, action, chunk));
        let used = used(events.into_iter(), &BTreeSet::from(["r".into(), "t".into()]));
        assert_eq!(used, BTreeMap::from([("r".into(), BTreeSet::from([1, 3])), ("t".into(), BTreeSet::from([5]))]));
    }

    #[test]
    fn the_primary_measure_is_the_one_next_to_the_file_s() {
        let of = |primary: &str| {
            let text =
                format!("id = 'x'\nversion = 1\nmode = 'ab'\narms = [{{ key = 'a' }}, {{ key = 'b' }}]\nmetrics.primary = '{primary}'");
            measures(&crate::experiments::read_text(std::path::Path::new("x"), &text).unwrap())
        };
        assert_eq!(of("success"), (vec![SUCCESS.to_owned(), RECIPROCAL_RANK.to_owned()], None));
        assert_eq!(of("reciprocal_rank").1, None);
        let warning = "recorded runs can't tell the primary metric `abandonment`; `reciprocal_rank` decides";
        assert_eq!(of("abandonment").1.as_deref(), Some(warning));
    }
}
