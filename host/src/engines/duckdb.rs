//! DuckDB: the catalog of a generation. Written once, then opened read-only, so any
//! number of processes may have it open. Run ledgers are read by [`list_runs`].

mod ledgers;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use duckdb::{AccessMode, Config, Connection, params, params_from_iter};

use crate::index::catalog::{FileRow, NewChunk, SkippedRow};
use crate::index::role::Role;
use crate::types::ChunkId;

pub use ledgers::{RunFilter, RunList, RunRow, list_runs};

/// Memory the database may use for a catalog, beside its mapped file.
const MEMORY_MAX: &str = "256MB";
/// Idle connections kept by an open catalog.
const CONNECTIONS_KEPT_MAX: usize = 8;
/// Ids are padded to a multiple of this, so that few different statements exist.
const ID_STEP: usize = 32;
/// Statements each connection keeps prepared.
const STATEMENTS_KEPT: usize = 48;

const SCHEMA: &str = "
CREATE TABLE files (
    file_id INTEGER NOT NULL, root INTEGER NOT NULL, path VARCHAR NOT NULL, language VARCHAR NOT NULL,
    size_bytes UBIGINT NOT NULL, modified_ns BIGINT NOT NULL, content_hash VARCHAR NOT NULL,
    commit_id VARCHAR, commit_time_s BIGINT, fallback BOOLEAN NOT NULL, role VARCHAR NOT NULL, document VARCHAR
);
CREATE TABLE chunks (
    chunk_id UBIGINT PRIMARY KEY, file_id INTEGER NOT NULL, start_line INTEGER NOT NULL, end_line INTEGER NOT NULL,
    symbol VARCHAR, kind VARCHAR NOT NULL, definitions VARCHAR NOT NULL,
    comments VARCHAR NOT NULL, calls VARCHAR NOT NULL, text VARCHAR NOT NULL
);
CREATE TABLE skipped (root INTEGER NOT NULL, path VARCHAR NOT NULL, reason VARCHAR NOT NULL, detail VARCHAR NOT NULL);
";

/// What DuckDB said.
#[derive(Debug, thiserror::Error)]
#[error("DuckDB: {0}")]
pub struct CatalogError(#[from] duckdb::Error);

/// Writes a new catalog.
pub struct CatalogWriter {
    connection: Connection,
}

impl CatalogWriter {
    /// # Errors
    /// When the file can't be made.
    pub fn create(path: &Path) -> Result<CatalogWriter, CatalogError> {
        let connection = Connection::open_with_flags(path, settings()?)?;
        connection.execute_batch(SCHEMA)?;
        Ok(CatalogWriter { connection })
    }

    /// # Errors
    /// When the rows can't be written.
    pub fn write_files(&self, files: &[FileRow]) -> Result<(), CatalogError> {
        let mut appender = self.connection.appender("files")?;
        for file in files {
            appender.append_row(params![
                file.id as i32,
                file.root as i32,
                file.path,
                file.language,
                file.size_bytes,
                file.modified_ns,
                file.content_hash,
                file.commit,
                file.commit_time_s,
                file.fallback,
                file.role.as_str(),
                file.document,
            ])?;
        }
        Ok(appender.flush()?)
    }

    /// # Errors
    /// When the rows can't be written; an id that is there already among them.
    pub fn write_chunks<'a>(&self, chunks: impl Iterator<Item = &'a NewChunk>) -> Result<(), CatalogError> {
        let mut appender = self.connection.appender("chunks")?;
        for chunk in chunks {
            appender.append_row(params![
                chunk.id.0,
                chunk.file as i32,
                chunk.start_line as i32,
                chunk.end_line as i32,
                chunk.symbol,
                chunk.kind,
                chunk.definitions,
                chunk.comments,
                chunk.calls,
                chunk.text,
            ])?;
        }
        Ok(appender.flush()?)
    }

    /// # Errors
    /// When the rows can't be written.
    pub fn write_skipped(&self, skipped: &[SkippedRow]) -> Result<(), CatalogError> {
        let mut appender = self.connection.appender("skipped")?;
        for row in skipped {
            appender.append_row(params![row.root as i32, row.path, row.reason, row.detail])?;
        }
        Ok(appender.flush()?)
    }

    /// Puts everything into the one file.
    ///
    /// # Errors
    /// When the checkpoint fails.
    pub fn finish(self) -> Result<(), CatalogError> {
        self.connection.execute_batch("CHECKPOINT")?;
        self.connection.close().map_err(|(_, error)| error)?;
        Ok(())
    }
}

/// A catalog that is only read.
pub struct Catalog {
    /// The database; new connections are cloned off it.
    origin: Mutex<Connection>,
    idle: Mutex<Vec<Connection>>,
}

/// What a hydration cost, for its span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementFacts {
    /// Parameterized, without values.
    pub text: &'static str,
    pub bytes: usize,
}

/// Files are few and in memory: a join here would cost five times the look-up itself.
const HYDRATE: &str =
    "SELECT chunk_id, file_id, start_line, end_line, symbol, kind, definitions, comments, calls, text FROM chunks WHERE chunk_id IN (?, …)";

impl Catalog {
    /// # Errors
    /// When the file isn't there or isn't a catalog.
    pub fn open(path: &Path) -> Result<Catalog, CatalogError> {
        let connection = Connection::open_with_flags(path, settings()?.access_mode(AccessMode::ReadOnly)?)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        Ok(Catalog { origin: Mutex::new(connection), idle: Mutex::new(Vec::new()) })
    }

    /// The rows of chunks, in the order of `ids`; ids that are not there are left out.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn hydrate(&self, ids: &[ChunkId]) -> Result<(Vec<NewChunk>, StatementFacts), CatalogError> {
        let facts = |bytes| StatementFacts { text: HYDRATE, bytes };
        let Some(last) = ids.last() else { return Ok((Vec::new(), facts(0))) };
        let padded = ids.len().div_ceil(ID_STEP) * ID_STEP;
        let marks = vec!["?"; padded].join(", ");
        let sql = HYDRATE.replace("?, …", &marks);
        let parameters = ids.iter().chain(std::iter::repeat_n(last, padded - ids.len())).map(|id| id.0);
        let rows = self.with_connection(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(parameters), chunk)?;
            rows.collect::<Result<Vec<NewChunk>, _>>()
        })?;
        let mut by_id: std::collections::HashMap<ChunkId, NewChunk> = rows.into_iter().map(|row| (row.id, row)).collect();
        Ok((ids.iter().filter_map(|id| by_id.remove(id)).collect(), facts(sql.len())))
    }

    /// Every file, by id.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn files(&self) -> Result<Vec<FileRow>, CatalogError> {
        self.with_connection(|connection| {
            let mut statement = connection.prepare(
                "SELECT file_id, root, path, language, size_bytes, modified_ns, content_hash, commit_id, commit_time_s, fallback, role, document FROM files ORDER BY file_id",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(FileRow {
                    id: row.get::<_, i32>(0)? as u32,
                    root: row.get::<_, i32>(1)? as u32,
                    path: row.get(2)?,
                    language: row.get(3)?,
                    size_bytes: row.get(4)?,
                    modified_ns: row.get(5)?,
                    content_hash: row.get(6)?,
                    commit: row.get(7)?,
                    commit_time_s: row.get(8)?,
                    fallback: row.get(9)?,
                    role: Role::named(&row.get::<_, String>(10)?),
                    document: row.get(11)?,
                })
            })?;
            rows.collect()
        })
    }

    /// (chunk, file) of every chunk, by chunk id.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn chunk_files(&self) -> Result<Vec<(ChunkId, u32)>, CatalogError> {
        self.with_connection(|connection| {
            let mut statement = connection.prepare("SELECT chunk_id, file_id FROM chunks ORDER BY chunk_id")?;
            let rows = statement.query_map([], |row| Ok((ChunkId(row.get(0)?), row.get::<_, i32>(1)? as u32)))?;
            rows.collect()
        })
    }

    /// Every chunk as it was written, by id; for building the next generation.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn chunks(&self) -> Result<Vec<NewChunk>, CatalogError> {
        self.with_connection(|connection| {
            let mut statement = connection
                .prepare("SELECT chunk_id, file_id, start_line, end_line, symbol, kind, definitions, comments, calls, text FROM chunks ORDER BY chunk_id")?;
            let rows = statement.query_map([], chunk)?;
            rows.collect()
        })
    }

    /// Calls `sink` with the id, the file, the names defined and the names called of every
    /// chunk, file by file in the order of the lines. Headings of documents define nothing.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn names(&self, sink: &mut dyn FnMut(ChunkId, u32, &str, &str)) -> Result<(), CatalogError> {
        self.with_connection(|connection| {
            let mut statement = connection.prepare(
                "SELECT chunk_id, file_id, CASE WHEN kind = 'section' THEN '' ELSE definitions END, calls FROM chunks ORDER BY file_id, start_line, chunk_id",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let text = |at| row.get_ref(at)?.as_str().map_err(duckdb::Error::from);
                sink(ChunkId(row.get(0)?), row.get::<_, i32>(1)? as u32, text(2)?, text(3)?);
            }
            Ok(())
        })
    }

    /// Files left out, counted by reason, most frequent first.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn skipped_by_reason(&self) -> Result<Vec<(String, u64)>, CatalogError> {
        self.with_connection(|connection| {
            let mut statement =
                connection.prepare("SELECT reason, count(*) FROM skipped GROUP BY reason ORDER BY count(*) DESC, reason")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
            rows.collect()
        })
    }

    /// Runs `body` on a connection of its own: DuckDB serializes calls on one.
    fn with_connection<T>(&self, body: impl FnOnce(&Connection) -> Result<T, duckdb::Error>) -> Result<T, CatalogError> {
        let kept = lock(&self.idle).pop();
        let connection = match kept {
            Some(connection) => connection,
            None => {
                let connection = lock(&self.origin).try_clone()?;
                connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
                connection
            }
        };
        let outcome = body(&connection);
        let mut idle = lock(&self.idle);
        if idle.len() < CONNECTIONS_KEPT_MAX {
            idle.push(connection);
        }
        Ok(outcome?)
    }
}

fn chunk(row: &duckdb::Row<'_>) -> duckdb::Result<NewChunk> {
    Ok(NewChunk {
        id: ChunkId(row.get(0)?),
        file: row.get::<_, i32>(1)? as u32,
        start_line: row.get::<_, i32>(2)? as u32,
        end_line: row.get::<_, i32>(3)? as u32,
        symbol: row.get(4)?,
        kind: row.get(5)?,
        definitions: row.get(6)?,
        comments: row.get(7)?,
        calls: row.get(8)?,
        text: row.get(9)?,
    })
}

fn settings() -> Result<Config, CatalogError> {
    // No extensions are looked for and no other file is touched.
    Ok(Config::default()
        .max_memory(MEMORY_MAX)?
        .threads(1)?
        .enable_autoload_extension(false)?
        .with("autoinstall_known_extensions", "false")?)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Only whole connections are moved under the locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_went_in_and_in_the_order_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.duckdb");
        let file = |id: u32, path: &str| FileRow {
            id,
            root: 0,
            path: path.into(),
            language: "rust".into(),
            size_bytes: 10,
            modified_ns: 5,
            content_hash: "h".into(),
            commit: (id == 0).then(|| "c0ffee".into()),
            commit_time_s: (id == 0).then_some(7),
            fallback: id == 1,
            role: if id == 1 { Role::Test } else { Role::Source },
            document: (id == 1).then(|| "d1".into()),
        };
        let files = [file(0, "a.rs"), file(1, "ü \"'.rs")];
        let chunks: Vec<NewChunk> = (0..100)
            .map(|id| NewChunk {
                id: ChunkId(id),
                file: (id % 2) as u32,
                start_line: 1,
                end_line: 2,
                symbol: (id % 3 == 0).then(|| format!("S::{id}")),
                kind: "definition".into(),
                definitions: "S".into(),
                comments: "Says so.".into(),
                calls: "f g".into(),
                text: format!("text {id}\n"),
            })
            .collect();
        let writer = CatalogWriter::create(&path).unwrap();
        writer.write_files(&files).unwrap();
        writer.write_chunks(chunks.iter()).unwrap();
        writer.write_skipped(&[SkippedRow { root: 0, path: "x".into(), reason: "binary".into(), detail: String::new() }]).unwrap();
        writer.finish().unwrap();

        let catalog = Catalog::open(&path).unwrap();
        assert_eq!(catalog.files().unwrap(), files);
        assert_eq!(catalog.chunks().unwrap(), chunks);
        assert_eq!(catalog.skipped_by_reason().unwrap(), [("binary".to_owned(), 1)]);
        let (rows, facts) = catalog.hydrate(&[ChunkId(99), ChunkId(3), ChunkId(12_345)]).unwrap();
        assert_eq!(rows.iter().map(|row| row.id.0).collect::<Vec<_>>(), [99, 3]);
        assert_eq!(rows[0], chunks[99]);
        assert!(facts.bytes > 100);
        assert!(catalog.hydrate(&[]).unwrap().0.is_empty());
        let mut names = Vec::new();
        catalog.names(&mut |id, file, definitions, calls| names.push((id.0, file, format!("{definitions} | {calls}")))).unwrap();
        assert_eq!(names[..2], [(0, 0, "S | f g".to_owned()), (2, 0, "S | f g".to_owned())]);
        assert_eq!((names.len(), names[99].0), (100, 99));
        // A second reader beside the first one.
        assert_eq!(Catalog::open(&path).unwrap().chunk_files().unwrap().len(), 100);
    }

    #[test]
    fn what_is_no_catalog_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Catalog::open(&folder.path().join("none.duckdb")).is_err());
        let path = folder.path().join("garbage.duckdb");
        std::fs::write(&path, "garbage").unwrap();
        assert!(Catalog::open(&path).is_err());
    }
}
