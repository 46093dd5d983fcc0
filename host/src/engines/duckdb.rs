//! DuckDB: the catalog of a generation. Written once, then opened read-only, so any
//! number of processes may have it open. After an update it is two databases: the base,
//! written whole once, has the chunks up to some id; the newer one has the later chunks
//! and all files. Run ledgers are read by [`list_runs`].

mod ledgers;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use duckdb::{AccessMode, Config, Connection, params};

use crate::index::catalog::{ChunkSpan, FileRow, NewChunk, SkippedRow};
use crate::index::role::Role;
use crate::types::ChunkId;

use rows::RowCache;

pub use ledgers::{RunFilter, RunList, RunRow, list_runs};

/// Memory DuckDB may use for writing a catalog, or for ledgers.
const MEMORY_MAX: &str = "256MB";
/// Memory it may use for a catalog that is read; the rows asked for most are kept apart.
const READ_MEMORY_MAX: &str = "128MB";
/// Bytes of rows that a catalog keeps in memory when nobody says how many: those of some
/// 100,000 chunks.
const ROWS_KEPT_BYTES: usize = 128 << 20;
/// Ids whose rows one statement gives when all are read: some 10 MB.
const ROWS_PER_STATEMENT: u64 = 4_096;
/// Idle connections kept by an open catalog.
const CONNECTIONS_KEPT_MAX: usize = 8;
/// Ids that one look-up seeks where they are: more than a page with all rows that are reranked.
const IDS_SOUGHT_MAX: usize = 1_024;
/// Statements each connection keeps prepared.
const STATEMENTS_KEPT: usize = 4;

const SCHEMA: &str = "
CREATE TABLE files (
    file_id INTEGER NOT NULL, root INTEGER NOT NULL, path VARCHAR NOT NULL, language VARCHAR NOT NULL,
    size_bytes UBIGINT NOT NULL, modified_ns BIGINT NOT NULL, content_hash VARCHAR NOT NULL,
    commit_id VARCHAR, commit_time_s BIGINT, fallback BOOLEAN NOT NULL, role VARCHAR NOT NULL, document VARCHAR,
    first_chunk UBIGINT NOT NULL, chunks UINTEGER NOT NULL
);
CREATE TABLE chunks (
    chunk_id UBIGINT PRIMARY KEY, start_line INTEGER NOT NULL, end_line INTEGER NOT NULL,
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
        // A row of packed texts costs unpacking its neighbours: look-ups take twice as long.
        connection.execute_batch("SET force_compression = 'uncompressed'")?;
        connection.execute_batch(SCHEMA)?;
        Ok(CatalogWriter { connection })
    }

    /// Files, each with the ids of its chunks.
    ///
    /// # Errors
    /// When the rows can't be written.
    pub fn write_files<'a>(&self, files: impl Iterator<Item = (&'a FileRow, ChunkSpan)>) -> Result<(), CatalogError> {
        let mut appender = self.connection.appender("files")?;
        for (file, span) in files {
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
                span.first.0,
                span.count,
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
    /// Files, what was left out, and the chunks that the base doesn't have.
    newer: Database,
    /// With the first id that is not in it.
    base: Option<(Database, ChunkId)>,
    /// The chunks there are, and the file of each, by id. The base may have others.
    spans: Vec<(ChunkSpan, u32)>,
    rows: RowCache,
}

/// What a hydration cost, for its span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HydrationFacts {
    /// The statement, parameterized, without values; `None` when there was no need for one.
    pub statement: Option<&'static str>,
    /// Bytes of all statements that were executed.
    pub statement_bytes: usize,
    /// Rows that were in memory.
    pub cached: usize,
}

/// The ids come as one text, and are joined: so DuckDB looks for them where they are. As a
/// list of parameters they are a condition that it tries on every row, which takes twenty
/// times as long on 100,000. Files are few and in memory: a join with them would cost five
/// times the look-up itself.
const HYDRATE: &str = "SELECT chunk_id, start_line, end_line, symbol, definitions, text FROM chunks \
    WHERE chunk_id IN (SELECT unnest(CAST(string_split(?, ',') AS UBIGINT[])))";

/// Columns of all rows: as look-ups give them, whole, and what is counted of names.
const HYDRATED: &str = "chunk_id, start_line, end_line, symbol, definitions, text";
const WHOLE: &str = "chunk_id, start_line, end_line, symbol, kind, definitions, comments, calls, text";
const NAMES: &str = "chunk_id, CASE WHEN kind = 'section' THEN '' ELSE definitions END, calls";

impl Catalog {
    /// A catalog in one file.
    ///
    /// # Errors
    /// When the file isn't there or isn't a catalog.
    pub fn open(path: &Path) -> Result<Catalog, CatalogError> {
        Catalog::open_with_base(path, None)
    }

    /// A catalog over a base: chunks before the given id are looked up there.
    ///
    /// # Errors
    /// When a file isn't there or isn't a catalog.
    pub fn open_with_base(path: &Path, base: Option<(&Path, ChunkId)>) -> Result<Catalog, CatalogError> {
        let newer = Database::open(path)?;
        let base = base.map(|(path, end)| Database::open(path).map(|database| (database, end))).transpose()?;
        let spans = newer.with_connection(|connection| {
            let mut statement =
                connection.prepare("SELECT first_chunk, chunks, file_id FROM files WHERE chunks > 0 ORDER BY first_chunk")?;
            let rows = statement
                .query_map([], |row| Ok((ChunkSpan { first: ChunkId(row.get(0)?), count: row.get(1)? }, row.get::<_, i32>(2)? as u32)))?;
            rows.collect()
        })?;
        Ok(Catalog { newer, base, spans, rows: RowCache::new(ROWS_KEPT_BYTES) })
    }

    /// The rows of chunks, in the order of `ids`; ids that are not there are left out. Their
    /// kinds, comments and calls are empty: no query asks for them.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn hydrate(&self, ids: &[ChunkId]) -> Result<(Vec<NewChunk>, HydrationFacts), CatalogError> {
        let mut by_id: HashMap<ChunkId, Arc<NewChunk>> = self.rows.get(ids).into_iter().map(|row| (row.id, row)).collect();
        let mut facts = HydrationFacts { cached: by_id.len(), ..HydrationFacts::default() };
        let missing: Vec<ChunkId> = ids.iter().copied().filter(|id| !by_id.contains_key(id)).collect();
        let mut rows = Vec::with_capacity(missing.len());
        for (database, part) in self.places(&missing) {
            database.chunks_by_id(&part, &mut rows)?;
            facts.statement = Some(HYDRATE);
            facts.statement_bytes += HYDRATE.len();
        }
        for row in rows.into_iter().filter_map(|row| self.placed(row)).map(Arc::new) {
            self.rows.keep(row.clone());
            by_id.insert(row.id, row);
        }
        Ok((ids.iter().filter_map(|id| by_id.get(id)).map(|row| (**row).clone()).collect(), facts))
    }

    /// Keeps rows of so many bytes in memory from now on.
    pub fn keep_rows(&mut self, bytes_max: usize) {
        self.rows = RowCache::new(bytes_max);
    }

    /// Reads rows ahead, as many as are kept in memory: for whoever will be asked often.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn warm(&self) -> Result<(), CatalogError> {
        if self.rows.is_full() {
            return Ok(());
        }
        let mut keep = |row: &duckdb::Row<'_>| {
            self.placed(hydrated(row)?).into_iter().for_each(|row| self.rows.keep(Arc::new(row)));
            Ok(!self.rows.is_full())
        };
        self.newer.each_row(HYDRATED, &mut keep)?;
        self.base.iter().try_for_each(|(database, _)| database.each_row(HYDRATED, &mut keep))
    }

    /// Which of the databases has which ids.
    fn places(&self, ids: &[ChunkId]) -> Vec<(&Database, Vec<ChunkId>)> {
        let base_end = self.base.as_ref().map_or(ChunkId(0), |(_, end)| *end);
        let (older, newer): (Vec<ChunkId>, Vec<ChunkId>) = ids.iter().copied().partition(|id| *id < base_end);
        let mut places = vec![(&self.newer, newer)];
        places.extend(self.base.as_ref().map(|(database, _)| (database, older)));
        places.retain(|(_, ids)| !ids.is_empty());
        places
    }

    /// The chunk with its file; `None` for one that is gone.
    fn placed(&self, chunk: NewChunk) -> Option<NewChunk> {
        self.file_of(chunk.id).map(|file| NewChunk { file, ..chunk })
    }

    /// The file of a chunk that is there.
    fn file_of(&self, id: ChunkId) -> Option<u32> {
        let at = self.spans.partition_point(|(span, _)| span.first <= id).checked_sub(1)?;
        let (span, file) = self.spans.get(at)?;
        span.contains(id).then_some(*file)
    }

    /// Every file with the ids of its chunks, by file id.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn files(&self) -> Result<Vec<(FileRow, ChunkSpan)>, CatalogError> {
        self.newer.with_connection(|connection| {
            let mut statement = connection.prepare(
                "SELECT file_id, root, path, language, size_bytes, modified_ns, content_hash, commit_id, commit_time_s, fallback, role, document, first_chunk, chunks FROM files ORDER BY file_id",
            )?;
            let rows = statement.query_map([], |row| {
                let file = FileRow {
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
                };
                Ok((file, ChunkSpan { first: ChunkId(row.get(12)?), count: row.get(13)? }))
            })?;
            rows.collect()
        })
    }

    /// (chunk, file) of every chunk, by chunk id.
    pub fn chunk_files(&self) -> Vec<(ChunkId, u32)> {
        self.spans.iter().flat_map(|(span, file)| span.ids().map(move |id| (id, *file))).collect()
    }

    /// Every chunk as it was written, by id; for building the next generation whole.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn chunks(&self) -> Result<Vec<NewChunk>, CatalogError> {
        let mut rows = Vec::new();
        if let Some((database, _)) = &self.base {
            database.all_chunks(&mut rows)?;
        }
        self.newer.all_chunks(&mut rows)?;
        Ok(rows.into_iter().filter_map(|row| self.placed(row)).collect())
    }

    /// The chunks that the base doesn't have, by id; none when there is no base. For
    /// building the next generation over the same base.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn chunks_beyond_base(&self) -> Result<Vec<NewChunk>, CatalogError> {
        let mut rows = Vec::new();
        if self.base.is_some() {
            self.newer.all_chunks(&mut rows)?;
        }
        Ok(rows.into_iter().filter_map(|row| self.placed(row)).collect())
    }

    /// Calls `sink` with the id, the file, the names defined and the names called of every
    /// chunk, by id: file by file, in the order of the lines. Headings of documents define
    /// nothing.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn names(&self, sink: &mut dyn FnMut(ChunkId, u32, &str, &str)) -> Result<(), CatalogError> {
        // The ids of a file are in one run, in the order of its lines.
        let mut with_file = |id, definitions: &str, calls: &str| {
            if let Some(file) = self.file_of(id) {
                sink(id, file, definitions, calls);
            }
        };
        if let Some((database, _)) = &self.base {
            database.names(&mut with_file)?;
        }
        self.newer.names(&mut with_file)
    }

    /// Files left out, counted by reason, most frequent first.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn skipped_by_reason(&self) -> Result<Vec<(String, u64)>, CatalogError> {
        self.newer.with_connection(|connection| {
            let mut statement =
                connection.prepare("SELECT reason, count(*) FROM skipped GROUP BY reason ORDER BY count(*) DESC, reason")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
            rows.collect()
        })
    }
}

/// One file that is only read.
struct Database {
    /// The database; new connections are cloned off it.
    origin: Mutex<Connection>,
    idle: Mutex<Vec<Connection>>,
}

impl Database {
    fn open(path: &Path) -> Result<Database, CatalogError> {
        let connection = Connection::open_with_flags(path, settings()?.max_memory(READ_MEMORY_MAX)?.access_mode(AccessMode::ReadOnly)?)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        Ok(Database { origin: Mutex::new(connection), idle: Mutex::new(Vec::new()) })
    }

    /// Adds the rows of some ids, at least one, in any order.
    fn chunks_by_id(&self, ids: &[ChunkId], rows: &mut Vec<NewChunk>) -> Result<(), CatalogError> {
        let list = ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",");
        self.with_connection(|connection| {
            let mut statement = connection.prepare_cached(HYDRATE)?;
            for row in statement.query_map([list], hydrated)? {
                rows.push(row?);
            }
            Ok(())
        })
    }

    fn all_chunks(&self, rows: &mut Vec<NewChunk>) -> Result<(), CatalogError> {
        self.each_row(WHOLE, &mut |row| {
            rows.push(chunk(row)?);
            Ok(true)
        })
    }

    /// Calls `sink` with the id, the names defined and the names called of every chunk, by id.
    fn names(&self, sink: &mut dyn FnMut(ChunkId, &str, &str)) -> Result<(), CatalogError> {
        self.each_row(NAMES, &mut |row| {
            let text = |at| row.get_ref(at)?.as_str().map_err(duckdb::Error::from);
            sink(ChunkId(row.get(0)?), text(1)?, text(2)?);
            Ok(true)
        })
    }

    /// Calls `sink` with every chunk, by id, until it says no. A statement gives its rows all at
    /// once, and may have little memory, so that each gives some thousand only.
    fn each_row(&self, columns: &str, sink: &mut dyn FnMut(&duckdb::Row<'_>) -> duckdb::Result<bool>) -> Result<(), CatalogError> {
        self.with_connection(|connection| {
            let ends = connection.query_row("SELECT min(chunk_id), max(chunk_id) FROM chunks", [], |row| {
                Ok(row.get::<_, Option<u64>>(0)?.zip(row.get::<_, Option<u64>>(1)?))
            })?;
            let Some((mut first, last)) = ends else { return Ok(()) };
            let mut statement =
                connection.prepare(&format!("SELECT {columns} FROM chunks WHERE chunk_id BETWEEN ? AND ? ORDER BY chunk_id"))?;
            while first <= last {
                let mut rows = statement.query([first, first.saturating_add(ROWS_PER_STATEMENT - 1)])?;
                while let Some(row) = rows.next()? {
                    if !sink(row)? {
                        return Ok(());
                    }
                }
                first = first.saturating_add(ROWS_PER_STATEMENT);
            }
            Ok(())
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

/// A row of [`HYDRATED`]; its file is filled in by the catalog.
fn hydrated(row: &duckdb::Row<'_>) -> duckdb::Result<NewChunk> {
    Ok(NewChunk {
        id: ChunkId(row.get(0)?),
        file: 0,
        start_line: row.get::<_, i32>(1)? as u32,
        end_line: row.get::<_, i32>(2)? as u32,
        symbol: row.get(3)?,
        kind: String::new(),
        definitions: row.get(4)?,
        comments: String::new(),
        calls: String::new(),
        text: row.get(5)?,
    })
}

/// A row of [`WHOLE`]; its file is filled in by the catalog.
fn chunk(row: &duckdb::Row<'_>) -> duckdb::Result<NewChunk> {
    Ok(NewChunk {
        id: ChunkId(row.get(0)?),
        file: 0,
        start_line: row.get::<_, i32>(1)? as u32,
        end_line: row.get::<_, i32>(2)? as u32,
        symbol: row.get(3)?,
        kind: row.get(4)?,
        definitions: row.get(5)?,
        comments: row.get(6)?,
        calls: row.get(7)?,
        text: row.get(8)?,
    })
}

fn settings() -> Result<Config, CatalogError> {
    // No extensions are looked for and no other file is touched.
    Ok(Config::default()
        .max_memory(MEMORY_MAX)?
        .threads(1)?
        // Of more ids than that a join reads the whole table.
        .with("dynamic_or_filter_threshold", IDS_SOUGHT_MAX.to_string())?
        .enable_autoload_extension(false)?
        .with("autoinstall_known_extensions", "false")?)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Only whole connections are moved under the locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
