use super::*;

fn file(id: u32, path: &str) -> FileRow {
    FileRow {
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
    }
}

fn chunk(id: u64, file: u32) -> NewChunk {
    NewChunk {
        id: ChunkId(id),
        file,
        start_line: 1,
        end_line: 2,
        symbol: id.is_multiple_of(3).then(|| format!("S::{id}")),
        kind: "definition".into(),
        definitions: "S".into(),
        comments: "Says so.".into(),
        calls: "f g".into(),
        text: format!("text {id}\n"),
    }
}

fn span(first: u64, count: u32) -> ChunkSpan {
    ChunkSpan { first: ChunkId(first), count }
}

fn write(path: &Path, files: &[(FileRow, ChunkSpan)], chunks: &[NewChunk]) {
    let writer = CatalogWriter::create(path).unwrap();
    writer.write_files(files.iter().map(|(file, span)| (file, *span))).unwrap();
    writer.write_chunks(chunks.iter()).unwrap();
    writer.write_skipped(&[SkippedRow { root: 0, path: "x".into(), reason: "binary".into(), detail: String::new() }]).unwrap();
    writer.finish().unwrap();
}

#[test]
fn rows_come_back_as_they_went_in_and_in_the_order_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.duckdb");
    let files = [(file(0, "a.rs"), span(60, 40)), (file(1, "ü \"'.rs"), span(0, 60))];
    let chunks: Vec<NewChunk> = (0..100).map(|id| chunk(id, u32::from(id < 60))).collect();
    write(&path, &files, &chunks);

    let catalog = Catalog::open(&path).unwrap();
    assert_eq!(catalog.files().unwrap(), files);
    assert_eq!(catalog.chunks().unwrap(), chunks);
    assert_eq!(catalog.chunks_beyond_base().unwrap(), []);
    assert_eq!(catalog.skipped_by_reason().unwrap(), [("binary".to_owned(), 1)]);
    let (rows, facts) = catalog.hydrate(&[ChunkId(99), ChunkId(3), ChunkId(12_345)]).unwrap();
    assert_eq!(rows.iter().map(|row| row.id.0).collect::<Vec<_>>(), [99, 3]);
    let hydrated = |chunk: NewChunk| NewChunk { kind: String::new(), comments: String::new(), calls: String::new(), ..chunk };
    assert_eq!(rows[0], hydrated(chunks[99].clone()));
    assert_eq!((facts.statement, facts.statement_bytes, facts.cached), (Some(HYDRATE), HYDRATE.len(), 0));
    assert_eq!(catalog.hydrate(&[]).unwrap(), (vec![], HydrationFacts::default()));
    // The second time they are in memory, and those beside them are not.
    let (again, facts) = catalog.hydrate(&[3, 4, 99].map(ChunkId)).unwrap();
    assert_eq!((again[0].id, again[1].id, &again[2]), (ChunkId(3), ChunkId(4), &rows[0]));
    assert_eq!((facts.statement, facts.cached), (Some(HYDRATE), 2));
    catalog.warm().unwrap();
    let all: Vec<ChunkId> = (0..100).map(ChunkId).collect();
    let (rows, facts) = catalog.hydrate(&all).unwrap();
    assert_eq!(rows, chunks.iter().cloned().map(hydrated).collect::<Vec<_>>());
    assert_eq!(facts, HydrationFacts { cached: 100, ..HydrationFacts::default() });
    let mut names = Vec::new();
    catalog.names(&mut |id, file, definitions, calls| names.push((id.0, file, format!("{definitions} | {calls}")))).unwrap();
    assert_eq!(names[59..61], [(59, 1, "S | f g".to_owned()), (60, 0, "S | f g".to_owned())]);
    assert_eq!((names.len(), names[99].0), (100, 99));
    // A second reader beside the first one.
    assert_eq!(Catalog::open(&path).unwrap().chunk_files().len(), 100);
}

#[test]
fn a_base_gives_what_is_still_there_under_the_files_of_today() {
    let folder = tempfile::tempdir().unwrap();
    let (base, newer) = (folder.path().join("base.duckdb"), folder.path().join("newer.duckdb"));
    write(&base, &[(file(0, "a.rs"), span(0, 3)), (file(1, "b.rs"), span(3, 2))], &(0..5).map(|id| chunk(id, 9)).collect::<Vec<_>>());
    // `a.rs` was written anew, `empty.rs` has no chunks, and `b.rs` has another place.
    let files = [(file(0, "empty.rs"), span(7, 0)), (file(1, "a.rs"), span(5, 2)), (file(2, "b.rs"), span(3, 2))];
    write(&newer, &files, &[chunk(5, 0), chunk(6, 0)]);
    let catalog = Catalog::open_with_base(&newer, Some((&base, ChunkId(5)))).unwrap();
    let wanted = [chunk(3, 2), chunk(4, 2), chunk(5, 1), chunk(6, 1)];
    assert_eq!(catalog.files().unwrap(), files);
    assert_eq!(catalog.chunks().unwrap(), wanted);
    assert_eq!(catalog.chunks_beyond_base().unwrap(), wanted[2..]);
    assert_eq!(catalog.chunk_files(), wanted.each_ref().map(|chunk| (chunk.id, chunk.file)));
    let mut names = Vec::new();
    catalog.names(&mut |id, file, _, _| names.push((id, file))).unwrap();
    assert_eq!(names, catalog.chunk_files());
    let rows = catalog.hydrate(&[6, 0, 3, 7, 4].map(ChunkId)).unwrap().0;
    let hydrated = |chunk: NewChunk| NewChunk { kind: String::new(), comments: String::new(), calls: String::new(), ..chunk };
    assert_eq!(rows, [chunk(6, 1), chunk(3, 2), chunk(4, 2)].map(hydrated));
}

#[test]
fn what_is_no_catalog_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Catalog::open(&folder.path().join("none.duckdb")).is_err());
    let path = folder.path().join("garbage.duckdb");
    std::fs::write(&path, "garbage").unwrap();
    assert!(Catalog::open(&path).is_err());
}
