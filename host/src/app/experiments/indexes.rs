//! Indexes of arms: other data directories, opened beside the one that answers, and opened
//! again when there is a newer generation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::config::Loaded;
use crate::experiments::Mode;
use crate::experiments::board::Board;
use crate::index::data_dir::DataDir;
use crate::index::manifest::Manifest;
use crate::index::snapshot::{OpenError, Snapshot};
use crate::models::EmbedderSettings;
use crate::models::vllm::VllmSettings;

/// How indexes that aren't the configured one are opened.
#[derive(Clone)]
pub struct OtherIndexes {
    /// For those with vectors of the built-in embedding.
    pub builtin: EmbedderSettings,
    /// For those that a vLLM server embedded; the model is the index's own.
    pub vllm: VllmSettings,
    /// Memory for texts of chunks, for each.
    pub row_cache_bytes: usize,
}

/// Open indexes by their data directories.
pub(super) struct Indexes {
    others: OtherIndexes,
    open: Mutex<BTreeMap<PathBuf, Open>>,
}

struct Open {
    stamp: Option<(String, Option<SystemTime>)>,
    opened: Result<Arc<Snapshot>, String>,
}

impl OtherIndexes {
    /// As it is configured.
    pub fn of(loaded: &Loaded) -> OtherIndexes {
        OtherIndexes {
            builtin: loaded.builtin_embedder(),
            vllm: loaded.vllm_embedder(),
            // 64 GiB at most, which a pointer's size holds.
            row_cache_bytes: (loaded.config.search.row_cache_mb << 20) as usize,
        }
    }

    /// Opens the current generation of a data directory with the embedding it was made with.
    ///
    /// # Errors
    /// As [`Snapshot::open_current`].
    pub fn open(&self, data: &DataDir) -> Result<Snapshot, OpenError> {
        let name = data.current()?;
        let dense = Manifest::open(&data.generation(&name))?.manifest.dense;
        let embedder = match dense {
            Some(dense) if dense.embedder == "vllm" => EmbedderSettings::Vllm(VllmSettings { model: dense.model, ..self.vllm.clone() }),
            Some(_) => self.builtin.clone(),
            None => EmbedderSettings::Off,
        };
        let mut snapshot = Snapshot::open_named(data, &name, &embedder)?;
        snapshot.catalog.keep_rows(self.row_cache_bytes);
        Ok(snapshot)
    }
}

impl Indexes {
    pub fn new(others: OtherIndexes) -> Indexes {
        Indexes { others, open: Mutex::default() }
    }

    /// Opens what the arms of `board` ask for and isn't open or has a newer generation;
    /// closes what no arm asks for any more. Blocks.
    pub fn refresh(&self, board: &Board) {
        let wanted: Vec<PathBuf> = paths(board).collect();
        self.lock().retain(|path, _| wanted.contains(path));
        for path in wanted {
            let data = DataDir::new(&path);
            let stamp = data.current_stamp().ok();
            if self.lock().get(&path).is_some_and(|open| open.stamp == stamp) {
                continue;
            }
            let opened = self.others.open(&data).map(Arc::new).map_err(|error| error.to_string());
            match &opened {
                Ok(snapshot) => {
                    tracing::info!(path = %path.display(), generation = snapshot.manifest.generation, "the index of an arm is open");
                }
                Err(error) => tracing::warn!(path = %path.display(), error, "the index of an arm can't be opened"),
            }
            self.lock().insert(path, Open { stamp, opened });
        }
    }

    /// The index of a data directory, when it could be opened.
    pub fn get(&self, path: &PathBuf) -> Option<Arc<Snapshot>> {
        self.lock().get(path).and_then(|open| open.opened.as_ref().ok()).cloned()
    }

    /// What could not be opened, and why.
    pub fn refusals(&self) -> Vec<(PathBuf, String)> {
        self.lock().iter().filter_map(|(path, open)| Some((path.clone(), open.opened.as_ref().err()?.clone()))).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn paths(board: &Board) -> impl Iterator<Item = PathBuf> {
    let shadows = board.live().iter().filter(|live| live.experiment.mode == Mode::Shadow);
    shadows.flat_map(|live| live.experiment.arms.iter().filter_map(|arm| Some(live.folder.join(arm.index.as_ref()?))))
}
