//! The vectors of a generation: a primary index that was trained once, and the few that
//! came later, in a flat secondary. A search asks both. Rows of the primary whose chunk is
//! gone are passed over.

use std::io::BufReader;
use std::path::Path;

use super::catalog::ChunkSpan;
use super::manifest::{DENSE_IDS_FILE, DenseInfo, FAISS_FILE, LSA_FILE, SECONDARY_FILE, SECONDARY_IDS_FILE};
use super::snapshot::{Admitted, OpenError};
use crate::engines::faiss::{FaissError, VectorIndex};
use crate::models::builtin::BuiltinEmbedder;
use crate::models::lsa::{LsaError, LsaModel};
use crate::models::vllm::VllmEmbedder;
use crate::models::{Embedder, EmbedderSettings};
use crate::types::ChunkId;

/// Vectors and what makes more of them.
pub struct Dense {
    pub embedder: Box<dyn Embedder>,
    pub info: DenseInfo,
    primary: Rows,
    /// One bit for each row of the primary: whether its chunk is there. `None` when all are.
    there: Option<Vec<u8>>,
    secondary: Option<Rows>,
}

/// An index with the chunk of each row.
struct Rows {
    index: VectorIndex,
    ids: Vec<ChunkId>,
    /// Rows by ascending chunk; `None` when they stand so already.
    by_id: Option<Vec<u32>>,
}

/// Vectors by row, with the chunk of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorRows {
    pub ids: Vec<ChunkId>,
    /// As many rows as ids, row-major, unit length.
    pub vectors: Vec<f32>,
}

impl Dense {
    /// Opens what the manifest says is there. `chunks` says which chunks there are.
    ///
    /// # Errors
    /// When a file is missing, damaged or not what the manifest says.
    pub fn open(
        folder: &Path,
        info: &DenseInfo,
        settings: &EmbedderSettings,
        has_chunk: &dyn Fn(ChunkId) -> bool,
    ) -> Result<Dense, OpenError> {
        let index = VectorIndex::open(&folder.join(FAISS_FILE), &info.index)?;
        let primary = Rows::of(index, primary_ids(folder, info)?);
        let there = bits(&primary.ids, has_chunk);
        let removed = primary.ids.len() - there.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
        if removed != info.removed {
            return Err(damaged(
                &folder.join(DENSE_IDS_FILE),
                format!("{removed} rows without a chunk; the manifest says {}", info.removed),
            ));
        }
        let secondary = match secondary_rows(folder, info)? {
            rows if rows.ids.is_empty() => None,
            rows => Some(Rows::of(VectorIndex::build(&rows.vectors, info.index.dimension)?, rows.ids)),
        };
        let embedder: Box<dyn Embedder> = match settings {
            EmbedderSettings::Vllm(vllm) => Box::new(VllmEmbedder::new(vllm.clone(), Some(info.index.dimension))?),
            EmbedderSettings::Builtin(_) | EmbedderSettings::Off => Box::new(open_builtin(folder, info)?),
        };
        Ok(Dense { embedder, info: info.clone(), primary, there: (removed > 0).then_some(there), secondary })
    }

    /// The inner product of `query` with the vector of each of these chunks, in their order;
    /// 0 for a chunk that has none.
    ///
    /// # Errors
    /// When the query has another dimension or FAISS refuses.
    pub fn scores_of(&self, query: &[f32], ids: &[ChunkId]) -> Result<Vec<f32>, FaissError> {
        let mut scores = self.primary.scores_of(query, ids)?;
        if let Some(secondary) = &self.secondary {
            // A chunk's vector is in one of the two.
            scores.iter_mut().zip(secondary.scores_of(query, ids)?).for_each(|(score, own)| *score += own);
        }
        Ok(scores)
    }

    /// The `k` admitted chunks nearest to `query`, best first; fewer when there are fewer,
    /// or when the visited lists of the primary have fewer.
    ///
    /// # Errors
    /// When the query has another dimension or FAISS refuses.
    pub fn search(&self, query: &[f32], k: usize, admitted: Option<&Admitted>) -> Result<Vec<(ChunkId, f32)>, FaissError> {
        let admitted_bits = admitted.map(|admitted| bits(&self.primary.ids, &|id| admitted.contains(id)));
        // What isn't there is not admitted either.
        let of_primary = admitted_bits.as_deref().or(self.there.as_deref());
        let mut hits = self.primary.search(query, k, of_primary)?;
        if let Some(secondary) = &self.secondary {
            let of_secondary = admitted.map(|admitted| bits(&secondary.ids, &|id| admitted.contains(id)));
            hits.extend(secondary.search(query, k, of_secondary.as_deref())?);
            hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            hits.truncate(k);
        }
        Ok(hits)
    }
}

impl Rows {
    fn of(index: VectorIndex, ids: Vec<ChunkId>) -> Rows {
        let by_id = (!ids.is_sorted()).then(|| {
            let mut rows: Vec<u32> = (0..ids.len() as u32).collect();
            rows.sort_unstable_by_key(|row| ids[*row as usize]);
            rows
        });
        Rows { index, ids, by_id }
    }

    fn row_of(&self, id: ChunkId) -> Option<usize> {
        match &self.by_id {
            None => self.ids.binary_search(&id).ok(),
            Some(rows) => rows.binary_search_by_key(&id, |row| self.ids[*row as usize]).ok().map(|at| rows[at] as usize),
        }
    }

    /// 0 for chunks that have no row here.
    fn scores_of(&self, query: &[f32], ids: &[ChunkId]) -> Result<Vec<f32>, FaissError> {
        // A row beyond the last one stands for none.
        let rows: Vec<usize> = ids.iter().map(|id| self.row_of(*id).unwrap_or(usize::MAX)).collect();
        self.index.scores_of(query, &rows)
    }

    fn search(&self, query: &[f32], k: usize, admitted: Option<&[u8]>) -> Result<Vec<(ChunkId, f32)>, FaissError> {
        let hits = self.index.search(query, k, admitted)?;
        Ok(hits.into_iter().filter_map(|(row, score)| Some((*self.ids.get(row)?, score))).collect())
    }
}

/// One bit a row, least significant first.
fn bits(ids: &[ChunkId], admits: &dyn Fn(ChunkId) -> bool) -> Vec<u8> {
    let mut bits = vec![0_u8; ids.len().div_ceil(8)];
    for (row, _) in ids.iter().enumerate().filter(|(_, id)| admits(**id)) {
        bits[row / 8] |= 1 << (row % 8);
    }
    bits
}

/// The built-in embedding of a generation.
///
/// # Errors
/// [`OpenError::Lsa`].
pub fn open_builtin(folder: &Path, info: &DenseInfo) -> Result<BuiltinEmbedder, OpenError> {
    let path = folder.join(LSA_FILE);
    let lsa = |error| OpenError::Lsa(error, path.display().to_string());
    let file = std::fs::File::open(&path).map_err(|error| lsa(LsaError::Read(error)))?;
    let model = LsaModel::read_from(BufReader::new(file)).map_err(lsa)?;
    if model.dimension() != info.index.dimension {
        return Err(lsa(LsaError::Damaged { reason: "its dimension is not that of the vectors" }));
    }
    Ok(BuiltinEmbedder::new(model))
}

/// The chunk of each row of the primary index.
///
/// # Errors
/// When the file is missing or of another length.
pub fn primary_ids(folder: &Path, info: &DenseInfo) -> Result<Vec<ChunkId>, OpenError> {
    read_ids(&folder.join(DENSE_IDS_FILE), info.index.rows)
}

/// What came after the primary; no rows when nothing did.
///
/// # Errors
/// When a file is missing or of another length.
pub fn secondary_rows(folder: &Path, info: &DenseInfo) -> Result<VectorRows, OpenError> {
    if info.secondary == 0 {
        return Ok(VectorRows::default());
    }
    let ids = read_ids(&folder.join(SECONDARY_IDS_FILE), info.secondary)?;
    let path = folder.join(SECONDARY_FILE);
    let bytes = read(&path)?;
    let (words, rest) = bytes.as_chunks::<4>();
    if words.len() != info.secondary * info.index.dimension || !rest.is_empty() {
        return Err(damaged(&path, format!("{} bytes for {} vectors", bytes.len(), info.secondary)));
    }
    Ok(VectorRows { ids, vectors: words.iter().map(|word| f32::from_le_bytes(*word)).collect() })
}

/// Writes the secondary; nothing for no rows.
///
/// # Errors
/// When a file can't be written.
pub fn write_secondary(folder: &Path, rows: &VectorRows) -> std::io::Result<()> {
    if rows.ids.is_empty() {
        return Ok(());
    }
    write_ids(&folder.join(SECONDARY_IDS_FILE), &rows.ids)?;
    let bytes: Vec<u8> = rows.vectors.iter().flat_map(|number| number.to_le_bytes()).collect();
    std::fs::write(folder.join(SECONDARY_FILE), bytes)
}

/// Writes the chunk of each row.
///
/// # Errors
/// When the file can't be written.
pub fn write_ids(path: &Path, ids: &[ChunkId]) -> std::io::Result<()> {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.0.to_le_bytes()).collect();
    std::fs::write(path, bytes)
}

/// All vectors of a generation whose chunks are still there, so that a model need not be
/// asked for them again; none when they were quantized.
///
/// # Errors
/// When a file is missing, damaged or not what the manifest says.
pub fn stored_vectors(folder: &Path, info: &DenseInfo, kept: &dyn Fn(ChunkId) -> bool) -> Result<VectorRows, OpenError> {
    let mut rows = VectorRows::default();
    let index = VectorIndex::open(&folder.join(FAISS_FILE), &info.index)?;
    if let Some(vectors) = index.vectors()? {
        rows.take(&VectorRows { ids: primary_ids(folder, info)?, vectors }, info.index.dimension, kept);
    }
    rows.take(&secondary_rows(folder, info)?, info.index.dimension, kept);
    Ok(rows)
}

impl VectorRows {
    /// Adds the rows of `other` that are wanted.
    pub fn take(&mut self, other: &VectorRows, dimension: usize, wanted: &dyn Fn(ChunkId) -> bool) {
        for (id, vector) in other.ids.iter().zip(other.vectors.chunks(dimension.max(1))).filter(|(id, _)| wanted(**id)) {
            self.ids.push(*id);
            self.vectors.extend_from_slice(vector);
        }
    }

    /// Adds rows for `ids`, but for those of zeros: a passage in which the model knows
    /// nothing has no direction, and no row.
    pub fn take_embedded(&mut self, ids: impl Iterator<Item = ChunkId>, vectors: &[f32], dimension: usize) {
        for (id, vector) in ids.zip(vectors.chunks(dimension.max(1))) {
            if vector.iter().any(|x| *x != 0.0) {
                self.ids.push(id);
                self.vectors.extend_from_slice(vector);
            }
        }
    }
}

/// A set of chunks, made of the spans of files.
pub struct ChunkSet(Vec<ChunkSpan>);

impl ChunkSet {
    pub fn of(spans: impl Iterator<Item = ChunkSpan>) -> ChunkSet {
        let mut spans: Vec<ChunkSpan> = spans.filter(|span| span.count > 0).collect();
        spans.sort_unstable_by_key(|span| span.first);
        ChunkSet(spans)
    }

    pub fn contains(&self, id: ChunkId) -> bool {
        let at = self.0.partition_point(|span| span.first <= id);
        at > 0 && self.0[at - 1].contains(id)
    }

    /// Ascending.
    pub fn ids(&self) -> impl Iterator<Item = ChunkId> {
        self.0.iter().flat_map(|span| span.ids())
    }
}

fn read_ids(path: &Path, rows: usize) -> Result<Vec<ChunkId>, OpenError> {
    let bytes = read(path)?;
    let (words, rest) = bytes.as_chunks::<8>();
    if words.len() != rows || !rest.is_empty() {
        return Err(damaged(path, format!("{} bytes for {rows} rows", bytes.len())));
    }
    Ok(words.iter().map(|word| ChunkId(u64::from_le_bytes(*word))).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|error| OpenError::Io { path: path.display().to_string(), error })
}

fn damaged(path: &Path, what: String) -> OpenError {
    OpenError::Io { path: path.display().to_string(), error: std::io::Error::new(std::io::ErrorKind::InvalidData, what) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::lsa::LsaOptions;
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    /// The ids nearest to `query` among those that are admitted, best first.
    fn brute_force(rows: &VectorRows, query: &[f32], k: usize, admits: &dyn Fn(ChunkId) -> bool) -> Vec<ChunkId> {
        let score = |vector: &[f32]| vector.iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
        let mut scored: Vec<(f32, ChunkId)> = rows
            .ids
            .iter()
            .zip(rows.vectors.chunks(query.len()))
            .filter(|(id, _)| admits(**id))
            .map(|(id, vector)| (score(vector), *id))
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        scored.into_iter().take(k).map(|(_, id)| id).collect()
    }

    #[test]
    fn both_indexes_are_searched_and_what_is_gone_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::fs::create_dir(folder.join("dense")).unwrap();
        let texts: Vec<String> = (0..60).map(|n| format!("alpha{} beta{} gamma{}", n % 7, n % 5, n % 11)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let builtin = BuiltinEmbedder::train(&texts, &LsaOptions { dimension_max: 8, ..LsaOptions::default() }).unwrap();
        let dimension = builtin.model().dimension();
        builtin.model().write_to(std::fs::File::create(folder.join(LSA_FILE)).unwrap()).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut rows = |ids: std::ops::Range<u64>| {
            let mut rows = VectorRows::default();
            for id in ids {
                let vector: Vec<f32> = (0..dimension).map(|_| random.random_range(-1.0..1.0)).collect();
                let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
                let vector: Vec<f32> = vector.iter().map(|x| x / length).collect();
                rows.take_embedded([ChunkId(id)].into_iter(), &vector, dimension);
            }
            rows
        };
        let (primary, secondary) = (rows(0..200), rows(200..230));
        let index = VectorIndex::build(&primary.vectors, dimension).unwrap();
        index.write(&folder.join(FAISS_FILE)).unwrap();
        write_ids(&folder.join(DENSE_IDS_FILE), &primary.ids).unwrap();
        write_secondary(folder, &secondary).unwrap();
        let there = ChunkSet::of([(0, 50), (90, 140)].map(|(first, count)| ChunkSpan { first: ChunkId(first), count }).into_iter());
        assert_eq!(there.ids().count(), 190);
        let has_chunk = |id: ChunkId| there.contains(id);
        let info =
            DenseInfo { embedder: "lsa".into(), model: "lsa".into(), index: index.info().clone(), removed: 40, secondary: 30, pending: 0 };
        assert_eq!(info.searched(), 190);
        let settings = EmbedderSettings::Builtin(LsaOptions::default());
        let dense = Dense::open(folder, &info, &settings, &has_chunk).unwrap();
        let mut all = VectorRows::default();
        all.take(&primary, dimension, &|_| true);
        all.take(&secondary, dimension, &|_| true);
        for query in primary.vectors.chunks(dimension).step_by(13).chain(secondary.vectors.chunks(dimension).step_by(7)) {
            for k in [1, 10, 1_000] {
                let found: Vec<ChunkId> = dense.search(query, k, None).unwrap().into_iter().map(|(id, _)| id).collect();
                assert_eq!(found, brute_force(&all, query, k, &has_chunk));
                let hits = dense.search(query, k, None).unwrap();
                let backwards: Vec<ChunkId> = hits.iter().rev().map(|hit| hit.0).collect();
                for (score, hit) in dense.scores_of(query, &backwards).unwrap().iter().zip(hits.iter().rev()) {
                    assert!((score - hit.1).abs() < 1e-5, "{hit:?}: {score}");
                }
            }
        }
        assert_eq!(stored_vectors(folder, &info, &has_chunk).unwrap().ids, there.ids().collect::<Vec<_>>());
        // What the manifest doesn't say is damage.
        for wrong in [DenseInfo { removed: 39, ..info.clone() }, DenseInfo { secondary: 29, ..info.clone() }] {
            let error = Dense::open(folder, &wrong, &settings, &has_chunk).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("the index is damaged"), "{error}");
        }
    }
}
