//! What judged answers are measured by.

use crate::eval::measures::{Kind, Measure};
use crate::experiments::definition::Experiment;
use crate::experiments::metric::Metric;
use crate::request::{LIMIT_DEFAULT, LIMIT_MAX};

/// Where the file's metrics need people: the main measure of `spanloom eval`.
const DEFAULT: Measure = Measure { kind: Kind::Ndcg, k: 10 };

/// The measures of an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measures {
    /// The primary one first; not empty, each once.
    list: Vec<Measure>,
    /// Metrics of the file that are no measures of judgments.
    left_out: Vec<String>,
}

impl Measures {
    /// The file's metrics, as far as judgments can tell them; nDCG@10 where they can tell
    /// none.
    pub fn of(experiment: &Experiment) -> Measures {
        let (mut list, mut left_out) = (Vec::new(), Vec::new());
        let metrics = &experiment.metrics;
        for metric in std::iter::once(&metrics.primary).chain(&metrics.secondary) {
            match metric {
                Metric::Measure(measure) => list.push(*measure),
                other => left_out.push(other.to_string()),
            }
        }
        if list.is_empty() {
            list.push(DEFAULT);
        }
        Measures { list, left_out }
    }

    pub fn list(&self) -> &[Measure] {
        &self.list
    }

    /// Ranks after which a ranking is cut: the most that any measure looks at.
    pub fn depth(&self) -> usize {
        self.list.iter().map(|measure| measure.k).max().unwrap_or(0)
    }

    /// Findings that the stages are told are wanted, 1 to 100: the deepest rank of nDCG,
    /// MRR and precision. Recall and MAP look further down than anybody reads.
    pub fn limit(&self) -> u32 {
        let read = self.list.iter().filter(|measure| matches!(measure.kind, Kind::Ndcg | Kind::Mrr | Kind::Precision));
        let deepest = read.map(|measure| u32::try_from(measure.k).unwrap_or(LIMIT_MAX)).max();
        deepest.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX)
    }

    /// Which of the file's metrics are not reported, and what is instead.
    pub fn warning(&self) -> Option<String> {
        let names: Vec<String> = self.left_out.iter().map(|name| format!("`{name}`")).collect();
        let (are, they) = if names.len() == 1 { ("is no measure", "it needs") } else { ("are no measures", "they need") };
        let list: Vec<String> = self.list.iter().map(|measure| format!("`{measure}`")).collect();
        let what =
            || format!("{} {are} of judgments, as {they} feedback or runs of users; measured: {}", names.join(", "), list.join(", "));
        (!names.is_empty()).then(what)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::experiments::read_text;

    #[track_caller]
    fn check(mode: &str, metrics: &str, list: &str, limit: u32, depth: usize, warning: &str) {
        let text = format!("id = 'x'\nversion = 1\nmode = '{mode}'\narms = [{{ key = 'a' }}, {{ key = 'b' }}]\n[metrics]\n{metrics}");
        let measures = Measures::of(&read_text(Path::new("x"), &text).unwrap());
        let names: Vec<String> = measures.list().iter().map(ToString::to_string).collect();
        assert_eq!((names.join(" ").as_str(), measures.limit(), measures.depth()), (list, limit, depth));
        assert_eq!(measures.warning().unwrap_or_default(), warning);
    }

    #[test]
    fn measures_are_those_of_the_file_or_ndcg() {
        check("offline", "primary = 'ndcg@5'\nsecondary = ['mrr@20', 'recall@100']", "ndcg@5 mrr@20 recall@100", 20, 100, "");
        check("offline", "primary = 'recall@100'", "recall@100", 10, 100, "");
        check("offline", "primary = 'ndcg@500'", "ndcg@500", 100, 500, "");
        let one = "`success` is no measure of judgments, as it needs feedback or runs of users; measured: `ndcg@10`";
        check("ab", "primary = 'success'", "ndcg@10", 10, 10, one);
        let two = "`success`, `error_rate` are no measures of judgments, as they need feedback or runs of users; measured: `ndcg@10`";
        check("ab", "primary = 'success'\nsecondary = ['error_rate']", "ndcg@10", 10, 10, two);
    }
}
