//! FAISS: nearest vectors by inner product. Vectors have unit length, so that is the
//! cosine. Rows are numbered in the order in which they were added.

use std::path::Path;
use std::ptr;

use faiss::index::{IndexImpl, index_factory};
use faiss::{Idx, Index, MetricType};
use faiss_sys as ffi;
use serde::{Deserialize, Serialize};

/// Up to here every vector is compared: exact, and at 256 dimensions under a
/// millisecond.
const FLAT_ROWS_MAX: usize = 30_000;
/// Up to here vectors are stored whole; beyond, quantized to bytes.
const IVF_FLAT_ROWS_MAX: usize = 1_000_000;
/// Inverted lists visited by a query, as a share of all lists.
const PROBED_SHARE: f64 = 0.05;
const NPROBE_MIN: usize = 8;

/// What kind of index was built, for manifest and spans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorIndexInfo {
    /// FAISS factory string, such as `Flat` or `IVF316,Flat`.
    pub kind: String,
    /// `inner_product`.
    pub metric: String,
    pub dimension: usize,
    pub rows: usize,
    /// Lists visited by a query; 0 for a flat index.
    pub nprobe: usize,
}

/// A trained index that is only searched from now on.
pub struct VectorIndex {
    inner: IndexImpl,
    info: VectorIndexInfo,
}

// SAFETY: the C++ object behind `inner` is not changed after construction (there is
// no `&mut self` method here). FAISS documents concurrent searches of a CPU index as
// safe, and the index is not tied to the thread that made it.
unsafe impl Send for VectorIndex {}
// SAFETY: as above; `search` only reads.
unsafe impl Sync for VectorIndex {}

/// What FAISS said, or what is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[error("FAISS: {0}")]
pub struct FaissError(String);

impl From<faiss::error::Error> for FaissError {
    fn from(error: faiss::error::Error) -> Self {
        FaissError(error.to_string())
    }
}

impl VectorIndex {
    /// Trains and fills an index. `vectors` is n × dimension, row-major, n > 0.
    ///
    /// # Errors
    /// When the shape is impossible or FAISS refuses.
    pub fn build(vectors: &[f32], dimension: usize) -> Result<VectorIndex, FaissError> {
        if dimension == 0 || vectors.is_empty() || !vectors.len().is_multiple_of(dimension) {
            return Err(FaissError(format!("{} numbers are no rows of {dimension}", vectors.len())));
        }
        let rows = vectors.len() / dimension;
        let (kind, nprobe) = factory(rows, dimension);
        let width = u32::try_from(dimension).map_err(|_| FaissError(format!("dimension {dimension} is too large")))?;
        let mut inner = index_factory(width, &kind, MetricType::InnerProduct)?;
        if !inner.is_trained() {
            inner.train(vectors)?;
        }
        inner.add(vectors)?;
        let info = VectorIndexInfo { kind, metric: "inner_product".into(), dimension, rows, nprobe };
        Ok(VectorIndex { inner, info })
    }

    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> Result<(), FaissError> {
        Ok(faiss::write_index(&self.inner, path.to_string_lossy())?)
    }

    /// Opens a written index and holds it against what the manifest says.
    ///
    /// # Errors
    /// When the file can't be read, is truncated, or has another dimension, metric or
    /// number of rows.
    pub fn open(path: &Path, info: &VectorIndexInfo) -> Result<VectorIndex, FaissError> {
        let inner = faiss::read_index(path.to_string_lossy())
            .map_err(|error| FaissError(format!("{} can't be read: {}", path.display(), first_line(&error.to_string()))))?;
        let wrong =
            |what: &str, has: String, wants: String| FaissError(format!("{} has {what} {has}; the manifest says {wants}", path.display()));
        if inner.d() as usize != info.dimension {
            return Err(wrong("dimension", inner.d().to_string(), info.dimension.to_string()));
        }
        if inner.ntotal() as usize != info.rows {
            return Err(wrong("rows", inner.ntotal().to_string(), info.rows.to_string()));
        }
        if inner.metric_type() != MetricType::InnerProduct {
            return Err(wrong("metric", format!("{:?}", inner.metric_type()), info.metric.clone()));
        }
        if info.nprobe > 0 {
            // Where each row stands in the lists, 8 bytes a row: [`VectorIndex::scores_of`] needs it.
            // SAFETY: the cast gives null for an index that has no lists, which is refused;
            // nobody else has the index yet.
            let lists = unsafe { ffi::faiss_IndexIVF_cast(inner.inner_ptr()) };
            if lists.is_null() {
                return Err(wrong("no inverted lists, but", inner.ntotal().to_string(), info.kind.clone()));
            }
            // SAFETY: as above.
            check(unsafe { ffi::faiss_IndexIVF_make_direct_map(lists, 1) })?;
        }
        Ok(VectorIndex { inner, info: info.clone() })
    }

    pub fn info(&self) -> &VectorIndexInfo {
        &self.info
    }

    /// All vectors, row-major, as they were given. `None` when the index is quantized and
    /// only has something near them.
    ///
    /// # Errors
    /// When FAISS refuses.
    pub fn vectors(&self) -> Result<Option<Vec<f32>>, FaissError> {
        if !self.info.kind.ends_with("Flat") {
            return Ok(None);
        }
        let mut vectors = vec![0.0; self.info.rows * self.info.dimension];
        self.inner.reconstruct_n(Idx::new(0), self.info.rows, &mut vectors)?;
        Ok(Some(vectors))
    }

    /// The inner product of `query` with each of these rows, in their order; with what the
    /// index has near them when it is quantized. 0 for a row that isn't there.
    ///
    /// # Errors
    /// When the query has another dimension or FAISS refuses.
    pub fn scores_of(&self, query: &[f32], rows: &[usize]) -> Result<Vec<f32>, FaissError> {
        if query.len() != self.info.dimension {
            return Err(FaissError(format!("the query has dimension {}; the index has {}", query.len(), self.info.dimension)));
        }
        let mut vector = vec![0.0_f32; self.info.dimension];
        let mut score = |row: &usize| -> Result<f32, FaissError> {
            if *row >= self.info.rows {
                return Ok(0.0);
            }
            // SAFETY: the row is there, and the output holds `dimension` floats.
            check(unsafe { ffi::faiss_Index_reconstruct(self.inner.inner_ptr(), *row as ffi::idx_t, vector.as_mut_ptr()) })?;
            Ok(vector.iter().zip(query).map(|(a, b)| a * b).sum())
        };
        rows.iter().map(&mut score).collect()
    }

    /// The `k` rows nearest to `query`, best first: (row, inner product). Fewer when
    /// the index, the visited lists or the filter have fewer. `admitted` has one bit
    /// a row, least significant first; `None` admits all.
    ///
    /// # Errors
    /// When the query has another dimension or FAISS refuses.
    pub fn search(&self, query: &[f32], k: usize, admitted: Option<&[u8]>) -> Result<Vec<(usize, f32)>, FaissError> {
        if query.len() != self.info.dimension {
            return Err(FaissError(format!("the query has dimension {}; the index has {}", query.len(), self.info.dimension)));
        }
        let k = k.min(self.info.rows);
        if k == 0 {
            return Ok(Vec::new());
        }
        let mut distances = vec![0.0_f32; k];
        let mut labels: Vec<ffi::idx_t> = vec![-1; k];
        let selector = admitted.map(Selector::new).transpose()?;
        let parameters = Parameters::new(&self.info, selector.as_ref())?;
        // SAFETY: `query` holds `dimension` floats and both outputs hold k entries, as
        // the call with n = 1 asks for; index, parameters and selector outlive it.
        let code = unsafe {
            ffi::faiss_Index_search_with_params(
                self.inner.inner_ptr(),
                1,
                query.as_ptr(),
                k as ffi::idx_t,
                parameters.raw,
                distances.as_mut_ptr(),
                labels.as_mut_ptr(),
            )
        };
        check(code)?;
        Ok(labels.into_iter().zip(distances).filter(|(label, _)| *label >= 0).map(|(label, score)| (label as usize, score)).collect())
    }
}

/// The factory string and nprobe for a number of rows.
fn factory(rows: usize, dimension: usize) -> (String, usize) {
    if rows <= FLAT_ROWS_MAX {
        return ("Flat".into(), 0);
    }
    let lists = (rows as f64).sqrt() as usize;
    let nprobe = ((lists as f64 * PROBED_SHARE) as usize).max(NPROBE_MIN);
    if rows <= IVF_FLAT_ROWS_MAX {
        return (format!("IVF{lists},Flat"), nprobe);
    }
    // Product quantization cuts the vector into equal parts of a byte each.
    let parts = (1..=64).rev().find(|parts| dimension.is_multiple_of(*parts)).unwrap_or(1);
    (format!("IVF{lists},PQ{parts}"), nprobe)
}

/// A row filter in FAISS' hands. Borrows the bitmap.
struct Selector<'a> {
    raw: *mut ffi::FaissIDSelector,
    _bitmap: &'a [u8],
}

impl<'a> Selector<'a> {
    fn new(bitmap: &'a [u8]) -> Result<Selector<'a>, FaissError> {
        let mut raw = ptr::null_mut();
        // SAFETY: FAISS keeps the pointer without a copy; `_bitmap` keeps it alive
        // for as long as the selector.
        check(unsafe { ffi::faiss_IDSelectorBitmap_new(&mut raw, bitmap.len(), bitmap.as_ptr()) })?;
        Ok(Selector { raw: raw.cast(), _bitmap: bitmap })
    }
}

impl Drop for Selector<'_> {
    fn drop(&mut self) {
        // SAFETY: made by FAISS, freed once.
        unsafe { ffi::faiss_IDSelector_free(self.raw) }
    }
}

/// Search parameters: nprobe for inverted lists, and the filter.
struct Parameters {
    raw: *mut ffi::FaissSearchParameters,
}

impl Parameters {
    fn new(info: &VectorIndexInfo, selector: Option<&Selector>) -> Result<Parameters, FaissError> {
        let filter = selector.map_or(ptr::null_mut(), |selector| selector.raw);
        if info.nprobe > 0 {
            let mut raw = ptr::null_mut();
            // SAFETY: FAISS takes a null selector as none, and doesn't own the other.
            check(unsafe { ffi::faiss_SearchParametersIVF_new_with(&mut raw, filter, info.nprobe, 0) })?;
            Ok(Parameters { raw: raw.cast() })
        } else {
            let mut raw = ptr::null_mut();
            // SAFETY: as above.
            check(unsafe { ffi::faiss_SearchParameters_new(&mut raw, filter) })?;
            Ok(Parameters { raw })
        }
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        // SAFETY: made by FAISS, freed once; the class has a virtual destructor.
        unsafe { ffi::faiss_SearchParameters_free(self.raw) }
    }
}

fn check(code: std::os::raw::c_int) -> Result<(), FaissError> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: a null-terminated text that FAISS keeps per thread until its next
    // error; null when there is none.
    let message = unsafe {
        let text = ffi::faiss_get_last_error();
        if text.is_null() { String::new() } else { std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned() }
    };
    Err(FaissError(if message.is_empty() { format!("error {code}") } else { first_line(&message) }))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// `rows` unit vectors around 50 centres.
    fn clustered(rows: usize, dimension: usize) -> Vec<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let centres: Vec<f32> = (0..50 * dimension).map(|_| random.random_range(-1.0..1.0)).collect();
        let mut vectors = Vec::with_capacity(rows * dimension);
        for row in 0..rows {
            let centre = &centres[(row % 50) * dimension..][..dimension];
            let vector: Vec<f32> = centre.iter().map(|x| x + random.random_range(-0.4..0.4)).collect();
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vectors.extend(vector.iter().map(|x| x / norm));
        }
        vectors
    }

    fn brute_force(vectors: &[f32], dimension: usize, query: &[f32], k: usize, admitted: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut rows: Vec<(f32, usize)> = vectors
            .chunks(dimension)
            .enumerate()
            .filter(|(row, _)| admitted(*row))
            .map(|(row, vector)| (vector.iter().zip(query).map(|(a, b)| a * b).sum(), row))
            .collect();
        rows.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        rows.into_iter().take(k).map(|(_, row)| row).collect()
    }

    #[test]
    fn flat_agrees_with_brute_force_also_under_a_filter() {
        let (dimension, vectors) = (32, clustered(2_000, 32));
        let index = VectorIndex::build(&vectors, dimension).unwrap();
        assert_eq!(index.info().kind, "Flat");
        assert_eq!(index.vectors().unwrap().unwrap(), vectors);
        let every_third: Vec<u8> =
            (0..250).map(|byte| (0..8).filter(|bit| (byte * 8 + bit) % 3 == 0).map(|bit| 1_u8 << bit).sum()).collect();
        for query in vectors.chunks(dimension).step_by(97) {
            let rows = |hits: Vec<(usize, f32)>| hits.into_iter().map(|(row, _)| row).collect::<Vec<_>>();
            assert_eq!(rows(index.search(query, 20, None).unwrap()), brute_force(&vectors, dimension, query, 20, |_| true));
            assert_eq!(
                rows(index.search(query, 20, Some(&every_third)).unwrap()),
                brute_force(&vectors, dimension, query, 20, |row| row % 3 == 0)
            );
        }
    }

    #[test]
    fn inverted_lists_reach_a_recall_of_95_percent() {
        let (dimension, rows) = (32, 40_000);
        let vectors = clustered(rows, dimension);
        let index = VectorIndex::build(&vectors, dimension).unwrap();
        assert_eq!(index.info().kind, "IVF200,Flat");
        let (mut found, mut wanted) = (0, 0);
        for query in vectors.chunks(dimension).step_by(997) {
            let exact = brute_force(&vectors, dimension, query, 10, |_| true);
            let hits = index.search(query, 10, None).unwrap();
            found += hits.iter().filter(|(row, _)| exact.contains(row)).count();
            wanted += exact.len();
        }
        assert!(found as f64 >= 0.95 * wanted as f64, "{found} of {wanted}");
        // Also over many lists, vectors come back as they went in.
        assert_eq!(index.vectors().unwrap().unwrap(), vectors);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.faiss");
        index.write(&path).unwrap();
        let index = VectorIndex::open(&path, index.info()).unwrap();
        let query = &vectors[..dimension];
        let scores = index.scores_of(query, &[7, 39_999, 0, 40_000]).unwrap();
        for (row, score) in [7, 39_999, 0].into_iter().zip(&scores) {
            let expect: f32 = vectors[row * dimension..][..dimension].iter().zip(query).map(|(a, b)| a * b).sum();
            assert!((score - expect).abs() < 1e-6, "{row}: {score} {expect}");
        }
        assert_eq!(scores[3], 0.0);
        assert!(index.scores_of(&[0.0; 3], &[0]).is_err());
    }

    #[test]
    fn files_that_are_not_what_the_manifest_says_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.faiss");
        let index = VectorIndex::build(&clustered(100, 8), 8).unwrap();
        index.write(&path).unwrap();
        let info = index.info().clone();
        let check = |info: &VectorIndexInfo, expect: &str| {
            let error = VectorIndex::open(&path, info).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expect), "{error}");
        };
        assert_eq!(VectorIndex::open(&path, &info).unwrap().search(&[0.5; 8], 5, None).unwrap().len(), 5);
        check(&VectorIndexInfo { dimension: 16, ..info.clone() }, "has dimension 8; the manifest says 16");
        check(&VectorIndexInfo { rows: 99, ..info.clone() }, "has rows 100; the manifest says 99");
        std::fs::write(&path, &std::fs::read(&path).unwrap()[..200]).unwrap();
        check(&info, "can't be read");
        assert!(index.search(&[0.0; 3], 5, None).unwrap_err().to_string().contains("the query has dimension 3"));
    }

    #[test]
    fn more_rows_take_smaller_codes() {
        assert_eq!(factory(10, 256), ("Flat".into(), 0));
        assert_eq!(factory(100_000, 256), ("IVF316,Flat".into(), 15));
        assert_eq!(factory(4_000_000, 384), ("IVF2000,PQ64".into(), 100));
    }
}
