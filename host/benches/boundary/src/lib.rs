//! One computation behind two interfaces, columns and records. Natively the functions
//! are called as they are; as a component they are what `boundary.wit` exports.

use std::collections::HashMap;

/// Features of a row.
pub const WIDTH: usize = 8;
/// The constant of reciprocal rank fusion.
const K: f32 = 60.0;

/// A linear model: Σ weight × feature, weights 1, 1/2, 1/3, …
pub fn score(features: &[f32]) -> f32 {
    features.iter().zip(1_u8..).map(|(feature, place)| feature / f32::from(place)).sum()
}

/// Scores of rows, row-major.
pub fn score_columns(features: &[f32]) -> Vec<f32> {
    features.chunks_exact(WIDTH).map(score).collect()
}

/// Fused rows as columns, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    pub ids: Vec<u64>,
    pub scores: Vec<f32>,
    /// Row-major, ids × runs.
    pub contributions: Vec<f32>,
}

/// Reciprocal rank fusion as anybody would write it first: a hash map, then a sort.
pub fn fuse<'a, L: Iterator<Item = u64>>(runs: impl ExactSizeIterator<Item = L> + 'a) -> Columns {
    let width = runs.len();
    let mut places: HashMap<u64, usize> = HashMap::new();
    let (mut ids, mut parts) = (Vec::new(), Vec::new());
    for (run, list) in runs.enumerate() {
        for (id, rank) in list.zip(1_u16..) {
            let place = *places.entry(id).or_insert_with(|| {
                ids.push(id);
                parts.resize(parts.len() + width, 0.0);
                ids.len() - 1
            });
            parts[place * width + run] = 1.0 / (K + f32::from(rank));
        }
    }
    let sum = |place: usize| parts[place * width..(place + 1) * width].iter().sum::<f32>();
    let mut order: Vec<(f32, u64, usize)> = ids.iter().enumerate().map(|(place, &id)| (sum(place), id, place)).collect();
    order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    Columns {
        ids: order.iter().map(|row| row.1).collect(),
        scores: order.iter().map(|row| row.0).collect(),
        contributions: order.iter().flat_map(|row| &parts[row.2 * width..(row.2 + 1) * width]).copied().collect(),
    }
}

#[cfg(target_arch = "wasm32")]
mod component {
    wit_bindgen::generate!({ path: "boundary.wit", world: "boundary" });

    struct Component;
    export!(Component);

    impl Guest for Component {
        fn nothing() {}

        fn score_columns(_: Vec<u64>, features: Vec<f32>) -> Vec<f32> {
            super::score_columns(&features)
        }

        fn score_records(rows: Vec<Row>) -> Vec<f32> {
            rows.iter().map(|row| super::score(&row.features)).collect()
        }

        fn fuse_columns(runs: Vec<Run>) -> Fused {
            let super::Columns { ids, scores, contributions } = super::fuse(runs.iter().map(|run| run.ids.iter().copied()));
            Fused { ids, scores, contributions }
        }

        fn fuse_records(runs: Vec<Vec<Hit>>) -> Vec<FusedRow> {
            let width = runs.len();
            let fused = super::fuse(runs.iter().map(|run| run.iter().map(|hit| hit.id)));
            let parts = fused.contributions.chunks(width.max(1)).map(<[f32]>::to_vec);
            fused.ids.iter().zip(&fused.scores).zip(parts).map(|((&id, &score), parts)| FusedRow { id, score, parts }).collect()
        }
    }
}
