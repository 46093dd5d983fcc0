//! The measures of one query. In: what was found at which rank. Out: figures from 0 to 1.
//!
//! The definitions are those of trec_eval (linear gain, ranks from 1, logarithms of base
//! 2), to whose figures a test holds them. They know no documents: `matching` has
//! decided before what each rank is worth.

use std::fmt;

/// A ranking held against its judgments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// What each rank gains, best rank first; 0 where nothing new and relevant stands.
    pub gains: Vec<f64>,
    /// How many relevant things were first found at each rank; as long as `gains`.
    pub found: Vec<u32>,
    /// The gains of all that is relevant, largest first, none of them 0. Empty when
    /// nothing is: every measure is 0 then.
    pub ideal: Vec<f64>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ndcg,
    Mrr,
    Recall,
    Precision,
    AveragePrecision,
}

/// A measure over the first `k` ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    pub kind: Kind,
    /// From 1.
    pub k: usize,
}

/// How far down the measures look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// For nDCG, MRR, recall and precision; ascending, not empty.
    pub k: Vec<usize>,
    /// Recall is measured here, too; ascending.
    pub recall_k: Vec<usize>,
}

impl Cuts {
    /// Sorted and without repetitions. `None` when `k` is empty or any is 0.
    pub fn new(mut k: Vec<usize>, mut recall_k: Vec<usize>) -> Option<Cuts> {
        for list in [&mut k, &mut recall_k] {
            list.sort_unstable();
            list.dedup();
        }
        let usable = !k.is_empty() && k.iter().chain(&recall_k).all(|cut| *cut > 0);
        usable.then_some(Cuts { k, recall_k })
    }

    /// The most ranks that any measure looks at: a ranking is cut there.
    pub fn depth(&self) -> usize {
        self.k.iter().chain(&self.recall_k).copied().max().unwrap_or(0)
    }

    /// Every measure, the main one (nDCG at the smallest cut) first.
    pub fn measures(&self) -> Vec<Measure> {
        let at = |kind: Kind| self.k.iter().map(move |&k| Measure { kind, k });
        let deeper = self.recall_k.iter().filter(|k| !self.k.contains(k)).map(|&k| Measure { kind: Kind::Recall, k });
        let all = at(Kind::Ndcg).chain(at(Kind::Mrr)).chain(at(Kind::Recall)).chain(deeper).chain(at(Kind::Precision));
        all.chain([Measure { kind: Kind::AveragePrecision, k: self.depth() }]).collect()
    }
}

impl Measure {
    /// The figure of one query. A ranking shorter than `k` is as one that goes on with
    /// what is not relevant.
    pub fn of(self, judged: &Judged) -> f64 {
        if judged.ideal.is_empty() {
            return 0.0;
        }
        let relevant = judged.ideal.len() as f64;
        let found = || judged.found.iter().take(self.k).zip(1_usize..).filter(|(count, _)| **count > 0);
        let figure = match self.kind {
            // Σ gain / log2(1 + rank), over the same sum of the best order; Järvelin and
            // Kekäläinen, TOIS 2002, with the discount of Burges et al., ICML 2005.
            Kind::Ndcg => discounted(&judged.gains, self.k) / discounted(&judged.ideal, self.k),
            // 1 / rank of the first that is relevant; Voorhees, TREC-8 1999.
            Kind::Mrr => found().next().map_or(0.0, |(_, rank)| 1.0 / rank as f64),
            Kind::Recall => judged.found.iter().take(self.k).map(|count| f64::from(*count)).sum::<f64>() / relevant,
            // Over k also when there are fewer answers.
            Kind::Precision => found().count() as f64 / self.k as f64,
            // Σ precision at each rank with something relevant, over all that is relevant.
            Kind::AveragePrecision => found().zip(1_usize..).map(|((_, rank), so_far)| so_far as f64 / rank as f64).sum::<f64>() / relevant,
        };
        // A sum of nothing is −0; adding 0 takes its sign.
        figure + 0.0
    }
}

fn discounted(gains: &[f64], k: usize) -> f64 {
    gains.iter().take(k).zip(1_usize..).map(|(gain, rank)| gain / (1.0 + rank as f64).log2()).sum()
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            Kind::Ndcg => "ndcg",
            Kind::Mrr => "mrr",
            Kind::Recall => "recall",
            Kind::Precision => "p",
            Kind::AveragePrecision => "map",
        };
        write!(f, "{name}@{}", self.k)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(kind: Kind, k: usize, gains: &[f64], ideal: &[f64], expect: f64) {
        let found = gains.iter().map(|gain| u32::from(*gain > 0.0)).collect();
        let judged = Judged { gains: gains.to_vec(), found, ideal: ideal.to_vec() };
        let measure = Measure { kind, k };
        let figure = measure.of(&judged);
        assert!((figure - expect).abs() < 1e-12, "{measure} of {judged:?} is {figure}, not {expect}");
    }

    #[test]
    fn known_values() {
        // Ranks 2 and 4 of three relevant ones, graded 1 and 3; the third, graded 2, is missing.
        let (gains, ideal) = ([0.0, 1.0, 0.0, 3.0], [3.0, 2.0, 1.0]);
        let log = |rank: f64| (1.0 + rank).log2();
        let best = 3.0 + 2.0 / log(2.0) + 0.5;
        check(Kind::Ndcg, 10, &gains, &ideal, (1.0 / log(2.0) + 3.0 / log(4.0)) / best);
        check(Kind::Ndcg, 2, &gains, &ideal, (1.0 / log(2.0)) / (3.0 + 2.0 / log(2.0)));
        check(Kind::Ndcg, 1, &gains, &ideal, 0.0);
        check(Kind::Mrr, 10, &gains, &ideal, 0.5);
        check(Kind::Mrr, 1, &gains, &ideal, 0.0);
        check(Kind::Recall, 3, &gains, &ideal, 1.0 / 3.0);
        check(Kind::Recall, 10, &gains, &ideal, 2.0 / 3.0);
        check(Kind::Precision, 10, &gains, &ideal, 0.2);
        check(Kind::Precision, 2, &gains, &ideal, 0.5);
        check(Kind::AveragePrecision, 10, &gains, &ideal, (0.5 + 0.5) / 3.0);
        check(Kind::AveragePrecision, 3, &gains, &ideal, 0.5 / 3.0);
        for kind in [Kind::Ndcg, Kind::Mrr, Kind::Recall, Kind::Precision, Kind::AveragePrecision] {
            check(kind, 10, &[], &ideal, 0.0);
            assert!(Measure { kind, k: 10 }.of(&Judged { ideal: ideal.to_vec(), ..Judged::default() }).is_sign_positive());
            check(kind, 10, &[0.0, 0.0], &[], 0.0);
        }
    }

    #[test]
    fn two_things_at_one_rank_count_twice_for_recall_only() {
        let judged = Judged { gains: vec![1.0], found: vec![2], ideal: vec![1.0, 1.0] };
        let of = |kind| Measure { kind, k: 2 }.of(&judged);
        assert_eq!((of(Kind::Recall), of(Kind::Precision), of(Kind::Mrr)), (1.0, 0.5, 1.0));
        assert!(of(Kind::Ndcg) < 1.0 && of(Kind::AveragePrecision) == 0.5);
    }

    #[test]
    fn the_main_measure_is_first_and_none_comes_twice() {
        let cuts = Cuts::new(vec![20, 10, 10], vec![100, 20]).unwrap();
        let names: Vec<String> = cuts.measures().iter().map(Measure::to_string).collect();
        let expect = "ndcg@10 ndcg@20 mrr@10 mrr@20 recall@10 recall@20 recall@100 p@10 p@20 map@100";
        assert_eq!((names.join(" "), cuts.depth()), (expect.to_owned(), 100));
        assert!(Cuts::new(vec![], vec![100]).is_none() && Cuts::new(vec![0], vec![]).is_none());
    }

    proptest! {
        #[test]
        fn figures_lie_between_0_and_1_and_the_best_order_has_1(
            grades in prop::collection::vec(0_u32..4, 1..30),
            missing in prop::collection::vec(1_u32..4, 0..10),
            k in 1_usize..40,
        ) {
            let judge = |order: &[u32], missing: &[u32]| {
                let mut ideal: Vec<f64> = order.iter().chain(missing).filter(|grade| **grade > 0).map(|grade| f64::from(*grade)).collect();
                ideal.sort_by(|a, b| b.total_cmp(a));
                let gains = order.iter().map(|grade| f64::from(*grade)).collect();
                Judged { gains, found: order.iter().map(|grade| u32::from(*grade > 0)).collect(), ideal }
            };
            for kind in [Kind::Ndcg, Kind::Mrr, Kind::Recall, Kind::Precision, Kind::AveragePrecision] {
                let figure = Measure { kind, k }.of(&judge(&grades, &missing));
                prop_assert!((0.0..=1.0 + 1e-12).contains(&figure), "{kind:?} {figure}");
            }
            let mut best = grades.clone();
            best.sort_unstable_by(|a, b| b.cmp(a));
            if best[0] > 0 {
                let judged = judge(&best, &[]);
                let figure = |kind: Kind, k: usize, judged: &Judged| Measure { kind, k }.of(judged);
                prop_assert!((figure(Kind::Ndcg, k, &judged) - 1.0).abs() < 1e-12);
                prop_assert!((figure(Kind::AveragePrecision, best.len(), &judged) - 1.0).abs() < 1e-12);
                let ndcg = |grades: &[u32]| figure(Kind::Ndcg, k, &judge(grades, &missing));
                prop_assert!(ndcg(&best) >= ndcg(&grades) - 1e-12, "no order beats the best one");
            }
        }
    }
}
