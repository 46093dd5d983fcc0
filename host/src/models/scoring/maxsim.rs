//! Late interaction. In: vectors of tokens. Out: how well a query's tokens are met by those of a text.

use tokio::time::Instant;

/// Sums kept apart in a dot product, for which one instruction then does several.
const LANES: usize = 8;

/// The token vectors of texts: rows of unit length, those of a text together.
#[derive(Debug)]
pub(super) struct TokenRows {
    /// Rows × dimension, row-major.
    values: Vec<f32>,
    dimension: usize,
    /// Where each text ends in `values`.
    ends: Vec<usize>,
}

impl TokenRows {
    /// `dimension` is what every row's length has to be; `None` takes that of the first. Rows are
    /// scaled to length 1. Rows of zeros are left out: some servers write them for tokens that
    /// don't count, ColBERT's punctuation.
    ///
    /// # Errors
    /// What is wrong: a row of another dimension or with a number that is not finite, or a text
    /// without a row.
    pub(super) fn new(texts: Vec<Vec<Vec<f32>>>, dimension: Option<usize>) -> Result<TokenRows, String> {
        let first = || texts.iter().flatten().next().map(Vec::len);
        let dimension = dimension.or_else(first).unwrap_or(0);
        let mut values = Vec::with_capacity(texts.iter().map(Vec::len).sum::<usize>() * dimension);
        let mut ends = Vec::with_capacity(texts.len());
        for (text, rows) in texts.into_iter().enumerate() {
            let start = values.len();
            for (token, row) in rows.into_iter().enumerate() {
                if row.len() != dimension || row.is_empty() {
                    return Err(format!("vector {token} of text {text} is of dimension {}, not {dimension}", row.len()));
                }
                if row.iter().any(|number| !number.is_finite()) {
                    return Err(format!("vector {token} of text {text} has a number that is not finite"));
                }
                let norm = row.iter().map(|&number| f64::from(number).powi(2)).sum::<f64>().sqrt();
                if norm > 0.0 {
                    values.extend(row.iter().map(|&number| (f64::from(number) / norm) as f32));
                }
            }
            if values.len() == start {
                return Err(format!("text {text} has no token vectors"));
            }
            ends.push(values.len());
        }
        Ok(TokenRows { values, dimension, ends })
    }

    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    /// Tokens of all texts.
    pub(super) fn rows(&self) -> usize {
        self.values.len().checked_div(self.dimension).unwrap_or(0)
    }

    /// The rows of each text, one after the other.
    fn texts(&self) -> impl Iterator<Item = &[f32]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let text = &self.values[start..end];
            start = end;
            text
        })
    }
}

/// The score of each text for a query, whose rows have the same dimension. `None` when the deadline
/// passed before all were done.
pub(super) fn max_sims(query: &TokenRows, texts: &TokenRows, deadline: Instant) -> Option<Vec<f32>> {
    texts.texts().map(|text| (Instant::now() < deadline).then(|| max_sim(&query.values, text, query.dimension))).collect()
}

/// `Σ_i max_j q_i · d_j` over the query's tokens i and the text's tokens j, MaxSim: Khattab and
/// Zaharia, ColBERT, SIGIR 2020, section 3.3. Of unit vectors the products are cosines, so that the
/// score lies within ± the number of query tokens.
fn max_sim(query: &[f32], text: &[f32], dimension: usize) -> f32 {
    let best = |token: &[f32]| text.chunks_exact(dimension).map(|other| dot(token, other)).fold(f32::NEG_INFINITY, f32::max);
    query.chunks_exact(dimension).map(|token| f64::from(best(token))).sum::<f64>() as f32
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<LANES>(), right.as_chunks::<LANES>());
    let mut sums = [0.0_f32; LANES];
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_an_hour() -> Instant {
        Instant::now() + std::time::Duration::from_secs(3_600)
    }

    /// The formula as it is written, in double precision, on vectors of any length.
    fn by_the_formula(query: &[Vec<f32>], text: &[Vec<f32>]) -> f64 {
        let wide = |row: &Vec<f32>| row.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
        let tokens = |rows: &[Vec<f32>]| rows.iter().map(wide).filter(|row| norm(row) > 0.0).collect::<Vec<_>>();
        let mut sum = 0.0;
        for q in tokens(query) {
            let mut best = f64::NEG_INFINITY;
            for d in tokens(text) {
                let product: f64 = q.iter().zip(&d).map(|(x, y)| x * y).sum();
                best = best.max(product / (norm(&q) * norm(&d)));
            }
            sum += best;
        }
        sum
    }

    /// Rows as a server may give them: some of unit length, some not, here and there one of zeros.
    fn text(dimension: usize) -> impl Strategy<Value = Vec<Vec<f32>>> {
        let row = (prop::collection::vec(-1.0_f32..1.0, dimension), prop_oneof![Just(0.0_f32), Just(1.0), 1e-3_f32..1e3]);
        let row = row.prop_map(|(row, scale)| row.iter().map(|x| x * scale).collect::<Vec<f32>>());
        prop::collection::vec(row, 1..12).prop_filter("a text has a token", |rows| rows.iter().flatten().any(|&x| x.abs() > 1e-6))
    }

    fn query_and_texts() -> impl Strategy<Value = (Vec<Vec<f32>>, Vec<Vec<Vec<f32>>>)> {
        (1_usize..40).prop_flat_map(|dimension| (text(dimension), prop::collection::vec(text(dimension), 1..6)))
    }

    proptest! {
        #[test]
        fn scores_are_those_of_the_formula((query, texts) in query_and_texts()) {
            let dimension = query[0].len();
            let expected: Vec<f64> = texts.iter().map(|text| by_the_formula(&query, text)).collect();
            let tolerance = 1e-5 * query.len() as f64;
            let query = TokenRows::new(vec![query], None).unwrap();
            let texts = TokenRows::new(texts, Some(dimension)).unwrap();
            let scores = max_sims(&query, &texts, in_an_hour()).unwrap();
            prop_assert_eq!(scores.len(), expected.len());
            for (score, expected) in scores.iter().zip(expected) {
                prop_assert!((f64::from(*score) - expected).abs() < tolerance, "{} {}", score, expected);
            }
        }
    }

    #[test]
    fn a_query_finds_itself_and_its_opposite() {
        let check = |query: &[[f32; 2]], text: &[[f32; 2]], expected: f32| {
            let rows = |rows: &[[f32; 2]]| TokenRows::new(vec![rows.iter().map(|row| row.to_vec()).collect()], None).unwrap();
            let scores = max_sims(&rows(query), &rows(text), in_an_hour()).unwrap();
            assert!((scores[0] - expected).abs() < 1e-6, "{query:?} {text:?}: {scores:?}");
        };
        check(&[[1.0, 0.0], [0.0, 5.0]], &[[0.0, 1.0], [2.0, 0.0]], 2.0);
        check(&[[1.0, 0.0]], &[[-3.0, 0.0]], -1.0);
        check(&[[1.0, 0.0]], &[[-3.0, 0.0], [0.0, 1.0]], 0.0);
        // A masked token meets nothing, also where everything else is worse than nothing.
        check(&[[1.0, 0.0]], &[[-3.0, 0.0], [0.0, 0.0]], -1.0);
        check(&[[1.0, 0.0], [0.0, 0.0]], &[[1.0, 0.0]], 1.0);
    }

    #[test]
    fn rows_that_cannot_be_compared_are_named() {
        let check = |texts: Vec<Vec<Vec<f32>>>, dimension: Option<usize>, expected: &str| {
            assert_eq!(TokenRows::new(texts, dimension).unwrap_err(), expected);
        };
        check(vec![vec![vec![1.0, 0.0]], vec![vec![1.0]]], None, "vector 0 of text 1 is of dimension 1, not 2");
        check(vec![vec![vec![1.0, 0.0]]], Some(3), "vector 0 of text 0 is of dimension 2, not 3");
        check(vec![vec![vec![]]], None, "vector 0 of text 0 is of dimension 0, not 0");
        check(vec![vec![vec![1.0], vec![f32::NAN]]], None, "vector 1 of text 0 has a number that is not finite");
        check(vec![vec![vec![1.0]], vec![]], None, "text 1 has no token vectors");
        check(vec![vec![vec![0.0, 0.0]]], None, "text 0 has no token vectors");
    }

    #[test]
    fn nothing_is_compared_after_the_deadline() {
        let rows = TokenRows::new(vec![vec![vec![1.0]]], None).unwrap();
        assert_eq!(max_sims(&rows, &rows, Instant::now()), None);
    }
}
