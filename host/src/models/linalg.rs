//! Finds the leading right singular vectors of a large sparse matrix.
//! In: compressed rows, a rank and a seed. Out: an orthonormal basis, best direction first.
//!
//! Every sum runs over blocks that depend on the sizes alone and is added up in block order, so the
//! bits of a result don't depend on the number of threads. They may differ between machines whose
//! multiply-add instructions round differently.

use nalgebra::{DMatrix, DMatrixView, Dyn, SymmetricEigen};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Rows a thread takes at a time from a sparse product: few enough to balance the long rows of
/// frequent terms.
const PRODUCT_ROWS_PER_TASK: usize = 16;
/// Rows widened to `f64` at a time; 256 rows of 272 columns are 544 KiB and stay in the
/// second-level cache.
const WIDE_ROWS: usize = 256;
/// Partial Gram matrices held at a time; 32 of 272 × 272 take 18 MiB.
const GRAM_PARTS_MAX: usize = 32;
/// A column whose squared distance from the columns before it is below this share of the largest
/// squared length is dependent on them. Rounding to `f32` leaves about 1e-14.
const DEPENDENT_SHARE: f64 = 1e-11;
/// Eigenvalues of `AᵀA` below this share of the largest belong to the null space.
const NULL_SHARE: f64 = 1e-10;

/// How the range of the matrix is searched.
#[derive(Clone, Copy, Debug)]
pub struct RangeFinder {
    /// Most vectors to return.
    pub rank_max: usize,
    /// Directions carried beyond `rank_max` while searching.
    pub oversampling: usize,
    /// Multiplications of the sketch by `AAᵀ`, at least one; each sharpens a spectrum that falls slowly.
    pub power_iterations: usize,
    /// Seed of the sketch.
    pub seed: u64,
}

impl RangeFinder {
    /// Right singular vectors of `a` as columns: `a.columns()` × rank, largest singular value
    /// first. The rank is at most `rank_max` and at most the numerical rank of `a`; a matrix of
    /// zeros gives no columns.
    ///
    /// Randomized subspace iteration, Halko, Martinsson and Tropp, SIAM Review 53(2), 2011,
    /// algorithm 4.4: `Q = orth((AAᵀ)^q Ω)`, then the singular value decomposition of the small
    /// side of `AᵀQ`, by the eigenvectors of `(AᵀQ)ᵀ(AᵀQ)`. The bases are as long as `A` has
    /// rows, of which a corpus has fewer than columns.
    pub fn truncated_svd(&self, a: &SparseRows) -> TruncatedSvd {
        let transposed = a.transposed();
        let width = self.rank_max.saturating_add(self.oversampling);
        let width = width.min(a.rows()).min(a.columns());

        let mut basis = DenseRows::gaussian(a.rows(), width, self.seed);
        for _ in 0..self.power_iterations.max(1) {
            basis = a.product(&transposed.product(&basis)).orthonormalized();
        }
        let images = transposed.product(&basis);
        if images.columns == 0 {
            return TruncatedSvd { right: images, values: Vec::new() };
        }
        let (mut rotation, eigenvalues) = leading_eigenvectors(images.gram(), self.rank_max);
        let values: Vec<f64> = eigenvalues.into_iter().map(f64::sqrt).collect();
        for (mut column, value) in rotation.column_iter_mut().zip(&values) {
            column /= *value;
        }
        TruncatedSvd { right: images.times(&rotation), values: values.into_iter().map(|value| value as f32).collect() }
    }
}

/// The leading part of a singular value decomposition, without the left vectors.
#[derive(Clone, Debug)]
pub struct TruncatedSvd {
    /// Right singular vectors as columns: columns of the matrix × rank.
    pub right: DenseRows,
    /// Singular values, the largest first; all over 0.
    pub values: Vec<f32>,
}

/// A sparse matrix in compressed rows.
#[derive(Clone, Debug)]
pub struct SparseRows {
    columns: usize,
    /// Row `r` is `entries[offsets[r]..offsets[r + 1]]`.
    offsets: Vec<usize>,
    /// Column and value, by ascending column within a row.
    entries: Vec<(u32, f32)>,
}

impl SparseRows {
    /// A matrix of `columns` columns and no rows.
    pub fn new(columns: usize) -> Self {
        SparseRows { columns, offsets: vec![0], entries: Vec::new() }
    }

    /// Appends a row of (column, value) pairs, every column below `columns()`.
    pub fn push_row(&mut self, row: &[(u32, f32)]) {
        debug_assert!(row.iter().all(|&(column, _)| (column as usize) < self.columns));
        self.entries.extend_from_slice(row);
        self.offsets.push(self.entries.len());
    }

    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The pairs of one row.
    pub fn row(&self, row: usize) -> &[(u32, f32)] {
        &self.entries[self.offsets[row]..self.offsets[row + 1]]
    }

    /// The same matrix with rows and columns exchanged.
    fn transposed(&self) -> SparseRows {
        let mut offsets = vec![0_usize; self.columns + 1];
        for &(column, _) in &self.entries {
            offsets[column as usize + 1] += 1;
        }
        for column in 0..self.columns {
            offsets[column + 1] += offsets[column];
        }
        let mut next = offsets.clone();
        let mut entries = vec![(0, 0.0); self.entries.len()];
        for row in 0..self.rows() {
            for &(column, value) in self.row(row) {
                let place = &mut next[column as usize];
                entries[*place] = (row as u32, value);
                *place += 1;
            }
        }
        SparseRows { columns: self.rows(), offsets, entries }
    }

    /// `self · right`; each row is the work of one thread.
    fn product(&self, right: &DenseRows) -> DenseRows {
        debug_assert_eq!(self.columns, right.rows);
        let mut out = DenseRows::zeros(self.rows(), right.columns);
        let width = right.columns.max(1);
        out.values.par_chunks_mut(width * PRODUCT_ROWS_PER_TASK).enumerate().for_each(|(task, block)| {
            for (row, sum) in block.chunks_mut(width).enumerate() {
                for &(column, value) in self.row(task * PRODUCT_ROWS_PER_TASK + row) {
                    add_scaled(sum, value, right.row(column as usize));
                }
            }
        });
        out
    }
}

/// `sum += scale · row`, element by element.
pub fn add_scaled(sum: &mut [f32], scale: f32, row: &[f32]) {
    for (sum, &value) in sum.iter_mut().zip(row) {
        *sum += scale * value;
    }
}

/// A dense matrix of `f32`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseRows {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl DenseRows {
    /// A matrix over values in row-major order; `None` when their number isn't `rows` × `columns`.
    pub fn from_values(rows: usize, columns: usize, values: Vec<f32>) -> Option<Self> {
        (rows.checked_mul(columns) == Some(values.len())).then_some(DenseRows { rows, columns, values })
    }

    fn zeros(rows: usize, columns: usize) -> Self {
        DenseRows { rows, columns, values: vec![0.0; rows * columns] }
    }

    /// Independent standard normal values. Each row has its own stream of the generator.
    fn gaussian(rows: usize, columns: usize, seed: u64) -> Self {
        let mut out = DenseRows::zeros(rows, columns);
        let base = ChaCha8Rng::seed_from_u64(seed);
        out.values.par_chunks_mut(columns.max(1)).enumerate().for_each(|(row, values)| {
            let mut random = base.clone();
            random.set_stream(row as u64);
            for pair in values.chunks_mut(2) {
                // Box and Muller, 1958; 1 - u lies in (0, 1], so that the logarithm is finite.
                let radius = (-2.0 * (1.0 - random.random::<f32>()).ln()).sqrt();
                let (sine, cosine) = (std::f32::consts::TAU * random.random::<f32>()).sin_cos();
                pair[0] = radius * cosine;
                if let Some(second) = pair.get_mut(1) {
                    *second = radius * sine;
                }
            }
        });
        out
    }

    /// Divides each row by the square root of its length; rows of zeros stay.
    pub fn dampen_rows(&mut self) {
        for row in self.values.chunks_exact_mut(self.columns.max(1)) {
            let root = row.iter().map(|value| value * value).sum::<f32>().sqrt().sqrt();
            if root > 0.0 {
                row.iter_mut().for_each(|value| *value /= root);
            }
        }
    }

    /// Multiplies each column with its factor.
    pub fn scale_columns(&mut self, factors: &[f32]) {
        debug_assert_eq!(factors.len(), self.columns);
        for row in self.values.chunks_exact_mut(self.columns.max(1)) {
            row.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// `XᵀX`, columns × columns, summed in `f64`.
    fn gram(&self) -> DMatrix<f64> {
        let width = self.columns;
        if self.values.is_empty() {
            return DMatrix::zeros(width, width);
        }
        let part_rows = self.rows.div_ceil(GRAM_PARTS_MAX).max(WIDE_ROWS);
        let parts: Vec<DMatrix<f64>> = self
            .values
            .par_chunks(part_rows * width)
            .map(|part| {
                let mut sum = DMatrix::zeros(width, width);
                let mut wide = Vec::new();
                for block in part.chunks(WIDE_ROWS * width) {
                    widen(block, &mut wide);
                    let rows = block.len() / width;
                    let block = DMatrixView::<f64, Dyn, Dyn>::from_slice_with_strides(&wide, rows, width, width, 1);
                    let block_transposed = DMatrixView::<f64>::from_slice(&wide, width, rows);
                    sum.gemm(1.0, &block_transposed, &block, 1.0);
                }
                sum
            })
            .collect();
        parts.into_iter().fold(DMatrix::zeros(width, width), |sum, part| sum + part)
    }

    /// `X · right`, multiplied in `f64` and rounded once.
    fn times(&self, right: &DMatrix<f64>) -> DenseRows {
        let (width, width_out) = right.shape();
        debug_assert_eq!(width, self.columns);
        let mut out = DenseRows::zeros(self.rows, width_out);
        if out.values.is_empty() {
            return out;
        }
        let right_transposed = right.transpose();
        let blocks = self.values.par_chunks(WIDE_ROWS * width);
        out.values.par_chunks_mut(WIDE_ROWS * width_out).zip(blocks).for_each_init(Vec::new, |wide, (out, block)| {
            widen(block, wide);
            // Read by columns, a row-major block is its own transpose.
            let block_transposed = DMatrixView::<f64>::from_slice(wide, width, block.len() / width);
            let product = &right_transposed * block_transposed;
            for (out, &value) in out.iter_mut().zip(product.as_slice()) {
                *out = value as f32;
            }
        });
        out
    }

    /// An orthonormal basis of the columns, without those that depend on the others. One pass loses
    /// digits in proportion to the squared condition number of the columns; a second pass over its
    /// result restores them.
    ///
    /// Cholesky-QR with the Gram matrix in twice the working precision, Yamazaki, Tomov and
    /// Dongarra, SIAM J. Sci. Comput. 37(3), 2015; pivoted, because the columns of a small corpus
    /// are rarely independent.
    fn orthonormalized(self) -> DenseRows {
        let whitening = whitening(&self.gram());
        self.times(&whitening)
    }
}

fn widen(block: &[f32], wide: &mut Vec<f64>) {
    wide.clear();
    wide.extend(block.iter().map(|&value| f64::from(value)));
}

/// `W` with `WᵀGW = I`, one column for each independent column of the positive semidefinite `G`.
/// From the Cholesky factorization `PᵀGP = RᵀR` with the largest remaining pivot first (the first
/// of equals): `W = P R⁻¹`.
fn whitening(gram: &DMatrix<f64>) -> DMatrix<f64> {
    let width = gram.nrows();
    let mut remaining: Vec<usize> = (0..width).collect();
    let mut left: Vec<f64> = gram.diagonal().iter().copied().collect();
    let pivot_min = left.iter().copied().fold(0.0, f64::max) * DEPENDENT_SHARE;

    let mut order = Vec::with_capacity(width);
    // Row k of R in column k, so that a step reads contiguous memory; columns of R in the order of
    // the input.
    let mut factor = DMatrix::<f64>::zeros(width, width);
    while let Some(place) = (0..remaining.len()).reduce(|a, b| if left[remaining[b]] > left[remaining[a]] { b } else { a }) {
        let pivot = remaining[place];
        if left[pivot].is_nan() || left[pivot] <= pivot_min {
            break;
        }
        remaining.remove(place);
        let step = order.len();
        let mut row = gram.column(pivot).clone_owned();
        for done in 0..step {
            row.axpy(-factor[(pivot, done)], &factor.column(done), 1.0);
        }
        row /= left[pivot].sqrt();
        for &other in &remaining {
            left[other] -= row[other] * row[other];
        }
        factor.set_column(step, &row);
        order.push(pivot);
    }

    let rank = order.len();
    let upper = DMatrix::from_fn(rank, rank, |row, column| if row <= column { factor[(order[column], row)] } else { 0.0 });
    let inverse = upper.solve_upper_triangular_unchecked(&DMatrix::identity(rank, rank));
    let mut whitening = DMatrix::zeros(width, rank);
    for (row, &pivot) in order.iter().enumerate() {
        whitening.set_row(pivot, &inverse.row(row));
    }
    whitening
}

/// Eigenvectors of a symmetric positive semidefinite matrix as columns, largest eigenvalue first,
/// without the null space.
fn leading_eigenvectors(matrix: DMatrix<f64>, count_max: usize) -> (DMatrix<f64>, Vec<f64>) {
    let width = matrix.nrows();
    let eigen = SymmetricEigen::new(matrix);
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let largest = order.first().map_or(0.0, |&first| eigen.eigenvalues[first]);
    order.retain(|&column| eigen.eigenvalues[column] > largest * NULL_SHARE);
    order.truncate(count_max);
    let vectors = DMatrix::from_fn(width, order.len(), |row, column| eigen.eigenvectors[(row, order[column])]);
    (vectors, order.into_iter().map(|column| eigen.eigenvalues[column]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINDER: RangeFinder = RangeFinder { rank_max: 12, oversampling: 16, power_iterations: 4, seed: 7 };

    /// A random matrix in which about one value in four is set and column `c` weighs `decay^c`.
    fn random_sparse(rows: usize, columns: usize, decay: f32) -> SparseRows {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut out = SparseRows::new(columns);
        for _ in 0..rows {
            let mut row = Vec::new();
            for column in 0..columns {
                if random.random::<f32>() < 0.25 {
                    row.push((column as u32, (random.random::<f32>() + 0.1) * decay.powi(column as i32)));
                }
            }
            out.push_row(&row);
        }
        out
    }

    fn dense(a: &SparseRows) -> DMatrix<f64> {
        let mut out = DMatrix::zeros(a.rows(), a.columns());
        for row in 0..a.rows() {
            for &(column, value) in a.row(row) {
                out[(row, column as usize)] = f64::from(value);
            }
        }
        out
    }

    fn off_orthonormal(basis: &DenseRows) -> f64 {
        (basis.gram() - DMatrix::identity(basis.columns, basis.columns)).amax()
    }

    #[test]
    fn agrees_with_a_dense_svd() {
        for (rows, columns, decay) in [(80, 60, 0.9), (30, 90, 0.93), (300, 40, 0.85)] {
            let a = random_sparse(rows, columns, decay);
            let TruncatedSvd { right: ours, values } = FINDER.truncated_svd(&a);
            assert!(off_orthonormal(&ours) < 1e-5, "{rows} × {columns}");
            let svd = dense(&a).svd(false, true);
            let theirs = svd.v_t.expect("asked for");
            assert_eq!(ours.columns(), FINDER.rank_max);
            for rank in 0..FINDER.rank_max {
                let cosine: f64 = (0..columns).map(|c| f64::from(ours.row(c)[rank]) * theirs[(rank, c)]).sum();
                assert!(cosine.abs() > 1.0 - 1e-3, "{rows} × {columns}, vector {rank}: {cosine}");
                let ratio = f64::from(values[rank]) / svd.singular_values[rank];
                assert!((ratio - 1.0).abs() < 1e-3, "{rows} × {columns}, value {rank}: {ratio}");
            }
        }
    }

    #[test]
    fn rank_is_what_the_matrix_allows() {
        // (rows, distinct rows, columns) → rank
        for (rows, distinct, columns, rank) in [(1, 1, 1, 1), (5, 1, 4, 1), (40, 3, 50, 3), (9, 9, 2, 2), (600, 5, 600, 5)] {
            let source = random_sparse(distinct, columns, 1.0);
            let mut a = SparseRows::new(columns);
            for row in 0..rows {
                let mut entries = source.row(row % distinct).to_vec();
                // One value of its own keeps the distinct rows independent.
                let own = (row % distinct % columns) as u32;
                entries.retain(|&(column, _)| column != own);
                entries.push((own, 3.0));
                entries.sort_by_key(|&(column, _)| column);
                a.push_row(&entries);
            }
            let basis = FINDER.truncated_svd(&a).right;
            assert_eq!(basis.columns(), rank, "{rows} × {columns}");
            assert!(off_orthonormal(&basis) < 1e-5, "{rows} × {columns}: {}", off_orthonormal(&basis));
        }
    }

    #[test]
    fn zeros_span_nothing() {
        for (rows, columns) in [(0, 0), (0, 3), (3, 0), (4, 5)] {
            let mut a = SparseRows::new(columns);
            (0..rows).for_each(|_| a.push_row(&[]));
            let basis = FINDER.truncated_svd(&a).right;
            assert_eq!((basis.rows(), basis.columns()), (columns, 0));
        }
    }

    #[test]
    fn one_pass_survives_a_poor_condition_and_two_are_exact() {
        let mut values = DenseRows::gaussian(700, 20, 1);
        for row in values.values.chunks_mut(20) {
            for column in 1..20 {
                row[column] = row[0] + row[column] * 1e-3;
            }
        }
        let twice = values.orthonormalized().orthonormalized();
        assert_eq!(twice.columns(), 20);
        assert!(off_orthonormal(&twice) < 1e-6, "{}", off_orthonormal(&twice));
    }
}
