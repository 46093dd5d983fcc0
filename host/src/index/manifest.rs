//! What a generation says of itself: `manifest.json`, written last.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engines::faiss::VectorIndexInfo;

/// Version of the layout of a generation's folder.
pub const FORMAT: u32 = 2;

pub const MANIFEST_FILE: &str = "manifest.json";
pub const CATALOG_FILE: &str = "catalog.duckdb";
/// Of an updated generation: the catalog that was written whole.
pub const BASE_CATALOG_FILE: &str = "base/catalog.duckdb";
pub const STANDINGS_FILE: &str = "standings.bin";
pub const TEXT_FOLDER: &str = "text";
pub const FILES_FOLDER: &str = "files";
pub const FAISS_FILE: &str = "dense/index.faiss";
pub const DENSE_IDS_FILE: &str = "dense/chunk_ids.bin";
/// Of an updated generation: row-major 32-bit floats, little endian, and their chunks.
pub const SECONDARY_FILE: &str = "dense/secondary.bin";
pub const SECONDARY_IDS_FILE: &str = "dense/secondary_ids.bin";
pub const LSA_FILE: &str = "dense/lsa.bin";

/// The contents of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// Such as `g000007`.
    pub generation: String,
    /// The program that wrote it.
    pub written_by: String,
    /// Unix seconds.
    pub created_s: i64,
    pub roots: Vec<RootInfo>,
    /// Settings that shape chunks and terms; other ones ask for a new index.
    pub settings: String,
    /// SHA-256 over everything that went in; the same again means nothing to do.
    pub fingerprint: String,
    pub counts: Counts,
    /// The first id that no chunk has had.
    pub next_chunk_id: u64,
    /// What was taken over; `None` for a generation that was written whole.
    pub base: Option<Base>,
    /// `None` when there are no vectors; `warnings` says why.
    pub dense: Option<DenseInfo>,
    pub warnings: Vec<String>,
    /// Every other file of the generation, by its path within.
    pub files: BTreeMap<String, FileSum>,
}

/// The generation that was written whole, of which an updated one has the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Such as `g000003`; it may be removed by now.
    pub generation: String,
    /// Chunks it had.
    pub chunks: u64,
    /// The first chunk id that it has not.
    pub end: u64,
    /// Chunks of it that are gone.
    pub removed: u64,
    /// Chunks that came after it.
    pub added: u64,
}

/// What a root is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootKind {
    #[default]
    Folder,
    /// A file of records.
    Documents,
}

/// One indexed folder or file of records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootInfo {
    /// Absolute.
    pub path: PathBuf,
    #[serde(default)]
    pub kind: RootKind,
    /// Put before paths when there are several roots.
    pub name: String,
    pub commit: Option<String>,
    pub branch: Option<String>,
    pub dirty: bool,
    /// How many commits were looked through for those of the files, at most, when what was
    /// found can be built upon.
    pub commits_max: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Files and records.
    pub files: u64,
    /// The records among them.
    #[serde(default)]
    pub documents: u64,
    pub skipped: u64,
    pub chunks: u64,
    pub embedded: u64,
}

/// How the vectors were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseInfo {
    /// `lsa` or `vllm`.
    pub embedder: String,
    pub model: String,
    /// The primary index.
    pub index: VectorIndexInfo,
    /// Rows of the primary whose chunk is gone.
    pub removed: usize,
    /// Vectors that came after the primary was trained; they are compared one by one.
    pub secondary: usize,
    /// Chunks without a vector because the model did not answer; the next build asks again.
    pub pending: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSum {
    pub bytes: u64,
    pub sha256: String,
}

impl DenseInfo {
    /// Chunks that have a vector.
    pub fn searched(&self) -> usize {
        (self.index.rows + self.secondary).saturating_sub(self.removed)
    }
}

/// Why a generation can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("{path}: {error}; run `spanloom index` again")]
    Unreadable { path: PathBuf, error: String },
    #[error("{path} has index format {found}; this program reads {FORMAT}. Run `spanloom index` again to rebuild it")]
    OtherFormat { path: PathBuf, found: u64 },
    #[error("{path} has {found}; the manifest says {wanted}. The index is damaged: run `spanloom index --rebuild`")]
    Damaged { path: PathBuf, found: String, wanted: String },
}

/// A manifest whose files are all there in the right size.
#[derive(Clone, Debug)]
pub struct CheckedManifest {
    pub manifest: Manifest,
    /// The generation's folder.
    pub folder: PathBuf,
}

impl Manifest {
    /// Reads the manifest of a folder and holds it against the files there. Sizes
    /// are compared; [`CheckedManifest::verify_sums`] compares contents.
    ///
    /// # Errors
    /// [`ManifestError`] names the file and what is wrong with it.
    pub fn open(folder: &Path) -> Result<CheckedManifest, ManifestError> {
        let path = folder.join(MANIFEST_FILE);
        let unreadable = |error: String| ManifestError::Unreadable { path: path.clone(), error };
        let text = fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
        // The version first: an older manifest may lack what this one asks for.
        let raw: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| unreadable(format!("is truncated or damaged ({error})")))?;
        match raw["format"].as_u64() {
            Some(found) if found == u64::from(FORMAT) => {}
            Some(found) => return Err(ManifestError::OtherFormat { path, found }),
            None => return Err(unreadable("has no `format`".into())),
        }
        let manifest: Manifest = serde_json::from_value(raw).map_err(|error| unreadable(error.to_string()))?;
        for (name, sum) in &manifest.files {
            let path = folder.join(name);
            let wanted = format!("{} bytes", sum.bytes);
            match fs::metadata(&path) {
                Ok(found) if found.len() == sum.bytes => {}
                Ok(found) => return Err(ManifestError::Damaged { path, found: format!("{} bytes", found.len()), wanted }),
                Err(error) => return Err(ManifestError::Damaged { path, found: error.to_string(), wanted }),
            }
        }
        Ok(CheckedManifest { manifest, folder: folder.into() })
    }

    /// Adds the sums of all files below `folder` and writes the manifest there. Files that
    /// are the very same ones in `linked_from` keep the sums that they have there: what
    /// they were when they were written, and already on the disk.
    ///
    /// # Errors
    /// When a file can't be read or the manifest can't be written.
    pub fn write(mut self, folder: &Path, linked_from: Option<&CheckedManifest>) -> std::io::Result<Manifest> {
        let known = linked_from.map(known_files).unwrap_or_default();
        self.files = sums(folder, &known)?;
        let text = serde_json::to_string_pretty(&self)?;
        let path = folder.join(MANIFEST_FILE);
        fs::write(&path, text)?;
        fs::File::open(&path)?.sync_all()?;
        Ok(self)
    }
}

impl CheckedManifest {
    /// Reads every file and compares its SHA-256.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`] for the first one that differs.
    pub fn verify_sums(&self) -> Result<(), ManifestError> {
        for (name, sum) in &self.manifest.files {
            let path = self.folder.join(name);
            let found = sha256_of(&path).map_err(|error| ManifestError::Unreadable { path: path.clone(), error: error.to_string() })?;
            if found != sum.sha256 {
                return Err(ManifestError::Damaged { path, found: format!("sha256 {found}"), wanted: format!("sha256 {}", sum.sha256) });
            }
        }
        Ok(())
    }
}

/// A file by what it is, not by its name: device and inode.
type FileIdentity = (u64, u64);

fn identity(metadata: &fs::Metadata) -> FileIdentity {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

fn known_files(checked: &CheckedManifest) -> HashMap<FileIdentity, &FileSum> {
    let found = |(name, sum)| Some((identity(&fs::metadata(checked.folder.join(name)).ok()?), sum));
    checked.manifest.files.iter().filter_map(found).collect()
}

/// The sums of all files below a folder; all are on the disk then, with their names.
fn sums(folder: &Path, known: &HashMap<FileIdentity, &FileSum>) -> std::io::Result<BTreeMap<String, FileSum>> {
    let mut files = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(within) = open.pop() {
        fs::File::open(&within)?.sync_all()?;
        for entry in fs::read_dir(&within)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
            // Lock files of the text index are touched by every reader.
            if name == MANIFEST_FILE || name.ends_with(".lock") {
                continue;
            }
            let metadata = entry.metadata()?;
            if let Some(sum) = known.get(&identity(&metadata)) {
                if sum.bytes != metadata.len() {
                    let text = format!("{} has {} bytes where it had {}", path.display(), metadata.len(), sum.bytes);
                    return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
                }
                files.insert(name, (*sum).clone());
                continue;
            }
            fs::File::open(&path)?.sync_all()?;
            files.insert(name, FileSum { bytes: metadata.len(), sha256: sha256_of(&path)? });
        }
    }
    Ok(files)
}

fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Manifest {
        Manifest {
            format: FORMAT,
            generation: "g000001".into(),
            written_by: "spanloom test".into(),
            created_s: 0,
            roots: Vec::new(),
            settings: "s".into(),
            fingerprint: "f".into(),
            counts: Counts::default(),
            next_chunk_id: 0,
            base: None,
            dense: None,
            warnings: Vec::new(),
            files: BTreeMap::new(),
        }
    }

    #[test]
    fn damage_is_found_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let check = |expect: &str| {
            let got = Manifest::open(folder.path()).map(drop).map_err(|error| error.to_string());
            match got {
                Ok(()) => assert_eq!(expect, "ok"),
                Err(message) => assert!(message.contains(expect), "{message}"),
            }
        };
        check("No such file");
        fs::create_dir(folder.path().join("text")).unwrap();
        fs::write(folder.path().join("text/a"), "12345").unwrap();
        let written = sample().write(folder.path(), None).unwrap();
        assert_eq!(written.files["text/a"].bytes, 5);
        check("ok");
        fs::write(folder.path().join("text/a"), "54321").unwrap();
        check("ok");
        assert!(Manifest::open(folder.path()).unwrap().verify_sums().unwrap_err().to_string().contains("sha256"));
        fs::write(folder.path().join("text/a"), "1234").unwrap();
        check("has 4 bytes; the manifest says 5 bytes");
        let path = folder.path().join(MANIFEST_FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"format\": 2", "\"format\": 0")).unwrap();
        check("has index format 0; this program reads 2");
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        check("truncated or damaged");
    }

    #[test]
    fn linked_files_keep_their_sums_and_others_get_new_ones() {
        let root = tempfile::tempdir().unwrap();
        let (old, new) = (root.path().join("old"), root.path().join("new"));
        for folder in [&old, &new] {
            fs::create_dir_all(folder.join("text")).unwrap();
        }
        for name in ["linked", "copied"] {
            fs::write(old.join("text").join(name), name).unwrap();
        }
        let before = sample().write(&old, None).unwrap();
        let checked = Manifest::open(&old).unwrap();
        fs::hard_link(old.join("text/linked"), new.join("elsewhere")).unwrap();
        fs::write(new.join("text/copied"), "other").unwrap();
        // Damage is not made good by a new sum.
        fs::write(old.join("text/linked"), "lonked").unwrap();
        let after = sample().write(&new, Some(&checked)).unwrap();
        assert_eq!(after.files["elsewhere"], before.files["text/linked"]);
        assert_eq!(after.files["text/copied"].bytes, 5);
        assert_ne!(after.files["text/copied"].sha256, before.files["text/copied"].sha256);
        let error = Manifest::open(&new).unwrap().verify_sums().unwrap_err().to_string();
        assert!(error.contains("elsewhere"), "{error}");
        fs::write(old.join("text/linked"), "l").unwrap();
        let error = sample().write(&new, Some(&checked)).unwrap_err().to_string();
        assert!(error.contains("has 1 bytes where it had 6"), "{error}");
    }
}
