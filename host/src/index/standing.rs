//! How a chunk stands in its index: its place in its file, and how often others call what
//! it defines. Counted once, when a generation is written, and kept in one small file.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use crate::engines::duckdb::{Catalog, CatalogError};
use crate::types::ChunkId;

/// Bytes of a chunk or file in [`super::manifest::STANDINGS_FILE`]: two numbers of 32 bits.
const ENTRY_BYTES: usize = 8;

/// What is known of one chunk. Zeros for one that isn't known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// The chunk's place in its file, from 1.
    pub position: u32,
    /// Chunks of its file.
    pub file_chunks: u32,
    /// How often other chunks call what this one defines: Σ over the names that it defines
    /// of the chunks that call the name / the chunks that define it. So a call of a name
    /// that many define, such as `new`, is shared among them.
    pub calls: f32,
    /// The same for the whole file, with calls from other files and names that files define.
    pub file_calls: f32,
}

/// The standings of all chunks; 8 bytes for each chunk and each file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standings {
    /// Position and calls, by chunk id ascending.
    chunks: Vec<(u32, f32)>,
    /// Chunks and calls, by file id.
    files: Vec<(u32, f32)>,
}

/// A chunk with the names in it.
#[derive(Clone, Copy, Debug)]
struct Named<'a> {
    /// Its place among all chunks, by id.
    place: usize,
    file: u32,
    /// Names defined here, separated by spaces.
    definitions: &'a str,
    /// Names called here, each once, separated by spaces.
    calls: &'a str,
}

impl Standings {
    /// The standing of the chunk at a place by id, in its file.
    pub fn of(&self, place: usize, file: u32) -> Standing {
        let (position, calls) = self.chunks.get(place).copied().unwrap_or_default();
        let (file_chunks, file_calls) = self.files.get(file as usize).copied().unwrap_or_default();
        Standing { position, file_chunks, calls, file_calls }
    }

    /// Counts over a catalog that is complete.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn count(catalog: &Catalog) -> Result<Standings, CatalogError> {
        let ids: Vec<ChunkId> = catalog.chunk_files()?.into_iter().map(|(id, _)| id).collect();
        let mut names = Names::new(ids.len(), catalog.files()?.len());
        // Ids that are not there get a place beyond the end, where nothing is counted.
        let place = |id| ids.binary_search(&id).unwrap_or(ids.len());
        catalog.names(&mut |id, file, definitions, calls| names.define(Named { place: place(id), file, definitions, calls }))?;
        catalog.names(&mut |id, file, definitions, calls| names.call(Named { place: place(id), file, definitions, calls }))?;
        Ok(names.standings())
    }

    /// Little endian: a position and calls for each chunk, then chunks and calls for each
    /// file.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let entries = self.chunks.iter().chain(&self.files);
        let bytes: Vec<u8> = entries.flat_map(|(count, calls)| [count.to_le_bytes(), calls.to_le_bytes()]).flatten().collect();
        std::fs::write(path, bytes)
    }

    /// # Errors
    /// When the file can't be read, or isn't that of so many chunks and files.
    pub fn read(path: &Path, chunks: usize, files: usize) -> io::Result<Standings> {
        let bytes = std::fs::read(path)?;
        let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        if entries.len() != chunks + files || !rest.is_empty() {
            let message = format!("{} bytes for {chunks} chunks and {files} files", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let mut entries = entries.iter().map(|[a, b, c, d, e, f, g, h]| {
            let calls = f32::from_le_bytes([*e, *f, *g, *h]);
            (u32::from_le_bytes([*a, *b, *c, *d]), if calls.is_finite() { calls } else { 0.0 })
        });
        Ok(Standings { chunks: entries.by_ref().take(chunks).collect(), files: entries.collect() })
    }
}

/// What is known of one name that is defined somewhere.
#[derive(Clone, Copy, Default)]
struct Name {
    /// Chunks and files that define it.
    chunks: u32,
    files: u32,
    /// Chunks that call it.
    callers: u32,
    /// The last file that defined it, as a number from 1.
    last_file: u32,
}

/// Counts in two passes over the same rows, file by file: first what is defined, then
/// what is called.
struct Names {
    by_name: HashMap<Box<str>, u32>,
    names: Vec<Name>,
    /// Per chunk in the order of the passes: its place and file, and the end of its names in
    /// `defined`.
    rows: Vec<(usize, u32, u32)>,
    defined: Vec<u32>,
    chunks: Vec<(u32, f32)>,
    files: Vec<(u32, f32)>,
    /// The row that the second pass is at.
    at: usize,
    /// Where the rows of its file end.
    file_end: usize,
    /// The different names that its file defines, ascending.
    own: Vec<u32>,
}

impl Names {
    fn new(chunks: usize, files: usize) -> Names {
        Names {
            by_name: HashMap::new(),
            names: Vec::new(),
            rows: Vec::with_capacity(chunks),
            defined: Vec::new(),
            chunks: vec![(0, 0.0); chunks],
            files: vec![(0, 0.0); files],
            at: 0,
            file_end: 0,
            own: Vec::new(),
        }
    }

    /// The first pass. Rows of a file come together, in the order of their lines.
    fn define(&mut self, row: Named<'_>) {
        let begin = self.defined.len();
        for word in row.definitions.split(' ').filter(|word| !word.is_empty()) {
            let id = match self.by_name.get(word) {
                Some(id) => *id,
                None => {
                    let id = self.names.len() as u32;
                    self.by_name.insert(word.into(), id);
                    self.names.push(Name::default());
                    id
                }
            };
            if self.defined[begin..].contains(&id) {
                continue;
            }
            self.defined.push(id);
            let name = &mut self.names[id as usize];
            name.chunks += 1;
            name.files += u32::from(name.last_file != row.file + 1);
            name.last_file = row.file + 1;
        }
        if let Some(file) = self.files.get_mut(row.file as usize) {
            file.0 += 1;
            if let Some(chunk) = self.chunks.get_mut(row.place) {
                chunk.0 = file.0;
            }
        }
        self.rows.push((row.place, row.file, self.defined.len() as u32));
    }

    /// The second pass, over the same rows in the same order. A chunk's calls of its own
    /// names don't count for it, nor a file's for the file.
    fn call(&mut self, row: Named<'_>) {
        if self.at == self.file_end {
            self.enter_file();
        }
        let own = self.names_of(self.at);
        self.at += 1;
        let (mut of_chunk, mut of_file) = (0.0, 0.0);
        for word in row.calls.split(' ').filter(|word| !word.is_empty()) {
            let Some(id) = self.by_name.get(word) else { continue };
            let name = &mut self.names[*id as usize];
            name.callers += 1;
            if self.own.binary_search(id).is_ok() {
                of_file += 1.0 / name.files as f32;
                if self.defined[own.clone()].contains(id) {
                    of_chunk += 1.0 / name.chunks as f32;
                }
            }
        }
        if let Some(chunk) = self.chunks.get_mut(row.place) {
            chunk.1 -= of_chunk;
        }
        if let Some(file) = self.files.get_mut(row.file as usize) {
            file.1 -= of_file;
        }
    }

    fn enter_file(&mut self) {
        let Some((_, file, _)) = self.rows.get(self.at) else { return };
        let rows = self.rows[self.at..].iter().take_while(|row| row.1 == *file).count();
        self.file_end = self.at + rows;
        self.own = self.defined[self.names_of(self.at).start..self.names_of(self.file_end - 1).end].to_vec();
        self.own.sort_unstable();
        self.own.dedup();
    }

    /// Where the names of a row stand in `defined`.
    fn names_of(&self, at: usize) -> std::ops::Range<usize> {
        let end = |at: usize| self.rows.get(at).map_or(0, |row| row.2 as usize);
        at.checked_sub(1).map_or(0, end)..end(at)
    }

    fn standings(mut self) -> Standings {
        let mut counted = vec![0_u32; self.names.len()];
        for at in 0..self.rows.len() {
            let (place, file, _) = self.rows[at];
            for id in self.names_of(at) {
                let id = self.defined[id] as usize;
                let name = self.names[id];
                if let Some(chunk) = self.chunks.get_mut(place) {
                    chunk.1 += name.callers as f32 / name.chunks as f32;
                }
                // A file counts each of its names once.
                if std::mem::replace(&mut counted[id], file + 1) != file + 1
                    && let Some(file) = self.files.get_mut(file as usize)
                {
                    file.1 += name.callers as f32 / name.files as f32;
                }
            }
        }
        // What was taken off comes back in parts, so sums that are nothing may not be quite.
        let settle = |(count, calls): (u32, f32)| (count, if calls > 1e-3 { calls } else { 0.0 });
        Standings { chunks: self.chunks.into_iter().map(settle).collect(), files: self.files.into_iter().map(settle).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (file, definitions, calls) of chunks in the order of their ids.
    fn count(rows: &[(u32, &str, &str)], files: usize) -> Standings {
        let mut names = Names::new(rows.len(), files);
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|place| rows[*place].0);
        let row = |place: usize| Named { place, file: rows[place].0, definitions: rows[place].1, calls: rows[place].2 };
        order.iter().for_each(|place| names.define(row(*place)));
        order.iter().for_each(|place| names.call(row(*place)));
        names.standings()
    }

    #[test]
    fn calls_of_a_name_are_shared_among_those_who_define_it() {
        let standings = count(
            &[
                (0, "parse new", "helper parse"),
                (0, "helper", ""),
                (1, "Router new", "parse new unknown"),
                (2, "", "new parse helper"),
                (1, "", "Router helper"),
                (0, "rest", ""),
            ],
            4,
        );
        let of = |place, file| {
            let standing = standings.of(place, file);
            (standing.position, standing.file_chunks, standing.calls, standing.file_calls)
        };
        // `parse` is called by two others and by itself; `new` by two, one of which defines it; each is shared by two.
        // The file: `parse` twice, `new` in half of twice, `helper` twice from outside.
        assert_eq!(of(0, 0), (1, 3, 2.0 + 1.0, 2.0 + 1.0 + 2.0));
        assert_eq!(of(1, 0), (2, 3, 3.0, 5.0));
        // `Router` is called by its neighbour: not from another file. `new` is called by itself once.
        assert_eq!(of(2, 1), (1, 2, 1.0 + 0.5, 0.5));
        assert_eq!(of(4, 1), (2, 2, 0.0, 0.5));
        assert_eq!(of(3, 2), (1, 1, 0.0, 0.0));
        assert_eq!(of(5, 0), (3, 3, 0.0, 5.0));
        assert_eq!(standings.of(6, 4), Standing::default());
    }

    #[test]
    fn nothing_defined_is_nothing_called() {
        assert_eq!(count(&[], 0), Standings::default());
        let standings = count(&[(0, "", "a b"), (2, "  ", "")], 3);
        assert_eq!(standings.of(0, 0), Standing { position: 1, file_chunks: 1, calls: 0.0, file_calls: 0.0 });
        assert_eq!(standings.of(1, 1).file_chunks, 0);
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_for_no_other_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("standings.bin");
        let standings = count(&[(0, "a", "b"), (1, "b", "a"), (1, "", "a")], 2);
        standings.write(&path).unwrap();
        assert_eq!(Standings::read(&path, 3, 2).unwrap(), standings);
        let message = Standings::read(&path, 4, 2).unwrap_err().to_string();
        assert_eq!(message, "40 bytes for 4 chunks and 2 files");
        std::fs::write(&path, [0; 12]).unwrap();
        assert!(Standings::read(&path, 1, 0).is_err());
        assert!(Standings::read(&folder.path().join("none"), 0, 0).is_err());
    }
}
