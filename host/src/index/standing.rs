//! How a chunk stands in its index: its place in its file, and how often others call what
//! it defines. Counted once, when a generation is written, and kept in one small file.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
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
        let ids: Vec<ChunkId> = catalog.chunk_files().into_iter().map(|(id, _)| id).collect();
        let mut names = Names::default();
        // Ids that are not there get a place beyond the end, where nothing is counted.
        let place = |id| ids.binary_search(&id).unwrap_or(ids.len());
        catalog.names(&mut |id, file, definitions, calls| names.add(Named { place: place(id), file, definitions, calls }))?;
        Ok(names.standings(ids.len(), catalog.files()?.len()))
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

/// What is known of one name.
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

/// A chunk whose names were read.
#[derive(Clone, Copy)]
struct Row {
    place: usize,
    file: u32,
    /// Where its names end in [`Names::defined`] and [`Names::called`]; they begin where
    /// those of the row before end.
    defined_end: usize,
    called_end: usize,
}

/// Every name of an index as a number, and where it is defined and called.
#[derive(Default)]
struct Names {
    /// By [`hash`] of the name: its letters themselves are not needed.
    numbers: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    names: Vec<Name>,
    rows: Vec<Row>,
    defined: Vec<u32>,
    called: Vec<u32>,
}

impl Names {
    /// Takes the next row. Rows of a file come together, in the order of their lines.
    fn add(&mut self, row: Named<'_>) {
        let begin = self.defined.len();
        for word in row.definitions.split(' ').filter(|word| !word.is_empty()) {
            let number = self.number(word);
            if self.defined[begin..].contains(&number) {
                continue;
            }
            self.defined.push(number);
            let name = &mut self.names[number as usize];
            name.chunks += 1;
            name.files += u32::from(name.last_file != row.file + 1);
            name.last_file = row.file + 1;
        }
        for word in row.calls.split(' ').filter(|word| !word.is_empty()) {
            let number = self.number(word);
            self.called.push(number);
            self.names[number as usize].callers += 1;
        }
        self.rows.push(Row { place: row.place, file: row.file, defined_end: self.defined.len(), called_end: self.called.len() });
    }

    fn number(&mut self, word: &str) -> u32 {
        let next = self.names.len() as u32;
        let number = *self.numbers.entry(hash(word)).or_insert(next);
        if number == next {
            self.names.push(Name::default());
        }
        number
    }

    /// Counts for so many chunks and files. Places and files beyond are left out.
    fn standings(self, chunks: usize, files: usize) -> Standings {
        let mut standings = Standings { chunks: vec![(0, 0.0); chunks], files: vec![(0, 0.0); files] };
        let (mut rows, mut defined, mut called) = (&self.rows[..], 0, 0);
        while let Some(first) = rows.first() {
            let (of_file, rest) = rows.split_at(rows.iter().take_while(|row| row.file == first.file).count());
            let mut own: Vec<u32> = self.defined[defined..of_file[of_file.len() - 1].defined_end].to_vec();
            own.sort_unstable();
            own.dedup();
            let mut file_calls: f64 =
                own.iter().map(|number| self.names[*number as usize]).map(|name| f64::from(name.callers) * name.share_of_file()).sum();
            for (row, position) in of_file.iter().zip(1..) {
                let (names, calls) = (&self.defined[defined..row.defined_end], &self.called[called..row.called_end]);
                let mut chunk_calls = 0.0;
                for number in names {
                    // What a chunk calls of its own doesn't count for it, nor what a file calls for the file.
                    chunk_calls += self.names[*number as usize].of_chunk(u32::from(calls.contains(number)));
                }
                for number in calls.iter().filter(|number| own.binary_search(number).is_ok()) {
                    file_calls -= self.names[*number as usize].share_of_file();
                }
                if let Some(chunk) = standings.chunks.get_mut(row.place) {
                    *chunk = (position, chunk_calls as f32);
                }
                (defined, called) = (row.defined_end, row.called_end);
            }
            if let Some(file) = standings.files.get_mut(first.file as usize) {
                // What was taken off may leave a little that is nothing.
                *file = (of_file.len() as u32, if file_calls > 1e-6 { file_calls as f32 } else { 0.0 });
            }
            rows = rest;
        }
        standings
    }
}

impl Name {
    /// What the calls of all but `own` chunks are worth to a chunk that defines it.
    fn of_chunk(&self, own: u32) -> f64 {
        f64::from(self.callers - own) / f64::from(self.chunks)
    }

    /// What one call is worth to a file that defines it.
    fn share_of_file(&self) -> f64 {
        1.0 / f64::from(self.files)
    }
}

/// FNV-1a of 64 bits (Fowler, Noll and Vo), with its upper bits mixed into the lower ones.
/// Two names of one hash would count as one: among a million names once in 37 million
/// indexes.
fn hash(word: &str) -> u64 {
    let hash = word.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    hash ^ (hash >> 29)
}

/// Keys that are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        // Keys come as whole numbers; anything else would only be slow here.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (file, definitions, calls) of chunks in the order of their ids.
    fn count(rows: &[(u32, &str, &str)], files: usize) -> Standings {
        let mut names = Names::default();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|place| rows[*place].0);
        let row = |place: usize| Named { place, file: rows[place].0, definitions: rows[place].1, calls: rows[place].2 };
        order.iter().for_each(|place| names.add(row(*place)));
        names.standings(rows.len(), files)
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
