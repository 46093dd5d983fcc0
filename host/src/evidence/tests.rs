//! Columns over a small index, the share of terms in comments, and the page.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::code::git::GitLimits;
use crate::index::build::{BuildSettings, Sources, UpdateLimits, build};
use crate::index::chunk::ChunkLimits;
use crate::index::data_dir::DataDir;
use crate::index::scan::ScanLimits;
use crate::models::EmbedderSettings;

const LIBRARY: &str =
    "//! Layers.\n\n/// Puts a layer on a route.\npub fn route_layer(layer: Layer) -> Route {\n    Route::new(layer)\n}\n";
const TEST: &str = "#[test]\nfn a_layer_is_there() {\n    route_layer(Layer::new()).check();\n}\n";
const PAGE: &str = "# Guide\n\nHow a layer is put on.\n";

struct Index {
    snapshot: Arc<Snapshot>,
    _folder: tempfile::TempDir,
}

impl Index {
    fn of(files: &[(&str, &str)]) -> Index {
        let folder = tempfile::tempdir().unwrap();
        let root: PathBuf = folder.path().join("code");
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let settings = BuildSettings {
            scan: ScanLimits::default(),
            chunks: ChunkLimits::default(),
            git: GitLimits::default(),
            embedder: EmbedderSettings::Off,
            updates: UpdateLimits::default(),
            rebuild: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let data = DataDir::new(folder.path().join("data"));
        build(&data, &Sources { folders: vec![root], ..Sources::default() }, &settings, runtime.handle(), &|_, _, _| {}).unwrap();
        let snapshot = Arc::new(Snapshot::open_current(&data, &EmbedderSettings::Off).unwrap());
        Index { snapshot, _folder: folder }
    }

    /// All chunks, by path.
    fn rows(&self) -> Vec<ChunkRow> {
        let chunks = self.snapshot.catalog.chunks().unwrap();
        let mut rows: Vec<ChunkRow> = chunks.into_iter().map(|chunk| self.snapshot.chunks.row(chunk).unwrap()).collect();
        rows.sort_by(|a, b| a.path.cmp(&b.path));
        rows
    }

    fn evidence(&self, query: &str, found: Vec<(ChannelName, RankedList)>) -> IndexEvidence {
        let profile = QueryProfile::of(query, &self.snapshot.text, vec![ChannelName::Bm25]).unwrap();
        IndexEvidence { snapshot: self.snapshot.clone(), profile: Arc::new(profile), found, asked: Asked::default() }
    }
}

fn by_name(found: Found) -> BTreeMap<String, Vec<f32>> {
    assert_eq!(found.missing, [] as [&str; 0]);
    found.columns.into_iter().map(|column| (column.name, column.values)).collect()
}

#[test]
fn terms_are_counted_in_each_field() {
    let index = Index::of(&[("src/lib.rs", LIBRARY), ("tests/layer.rs", TEST), ("docs/layer.md", PAGE)]);
    let evidence = index.evidence("put route_layer unheard", Vec::new());
    assert_eq!(evidence.profile.terms, ["put", "rout", "layer", "routelayer", "unheard"]);
    let columns = by_name(evidence.terms());
    assert!(columns.keys().map(String::as_str).eq(["comments", "documents", "paths", "symbols"]));
    assert_eq!(columns["documents"], [2.0, 2.0, 3.0, 2.0, 0.0]);
    // `a_layer_is_there` and `route_layer`.
    assert_eq!(columns["symbols"], [0.0, 1.0, 2.0, 1.0, 0.0]);
    assert_eq!(columns["paths"], [0.0, 0.0, 2.0, 0.0, 0.0]);
    assert_eq!(by_name(index.evidence("?", Vec::new()).terms())["symbols"], [] as [f32; 0]);
}

#[test]
fn rows_have_their_own_scores_and_what_is_known_of_their_files() {
    let index = Index::of(&[("src/lib.rs", LIBRARY), ("tests/layer.rs", TEST), ("docs/layer.md", PAGE)]);
    let rows = index.rows();
    assert_eq!(rows.iter().map(|row| row.path.as_str()).collect::<Vec<_>>(), ["docs/layer.md", "src/lib.rs", "tests/layer.rs"]);
    let list = RankedList { ids: vec![rows[1].id, rows[0].id], scores: vec![7.5, -0.5] };
    let evidence = index.evidence("where does a layer get put", vec![(ChannelName::Bm25, list)]);
    let unknown = ChunkRow { id: ChunkId(999), ..rows[0].clone() };
    let asked: Vec<&ChunkRow> = rows.iter().chain([&unknown]).collect();
    let found = evidence.rows(&asked);
    let names: Vec<String> = found.columns.iter().map(|column| column.name.clone()).collect();
    assert_eq!(names, row_columns());
    let columns = by_name(found);
    let check = |name: &str, expect: [f32; 4]| assert_eq!(columns[name], expect, "{name}");
    check("bm25", [-0.5, 7.5, 0.0, 0.0]);
    check("bm25_rank", [2.0, 1.0, 0.0, 0.0]);
    check("dense", [0.0; 4]);
    check("dense_rank", [0.0; 4]);
    check("role_docs", [1.0, 0.0, 0.0, 0.0]);
    check("role_test", [0.0, 0.0, 1.0, 0.0]);
    check("role_vendored", [0.0; 4]);
    check("position", [1.0, 1.0, 1.0, 0.0]);
    check("file_chunks", [1.0, 1.0, 1.0, 0.0]);
    check("age_days", [0.0; 4]);
    // `Layers`, `Puts`, `layer`, `route` of the text's 15 terms.
    check("comment_share", [0.0, 4.0 / 15.0, 0.0, 0.0]);
    // Of `does`, `layer`, `get`, `put` the second and the last.
    let (idf, terms) = (evidence.profile.idf(), &evidence.profile.terms);
    let held: f32 = terms.iter().zip(&idf).filter(|(term, _)| ["layer", "put"].contains(&term.as_str())).map(|(_, weight)| weight).sum();
    let expect = held / idf.iter().sum::<f32>();
    assert!(expect > 0.0 && expect < 1.0);
    check("comment_terms", [0.0, expect, 0.0, 0.0]);
    assert!(by_name(index.evidence("?", Vec::new()).rows(&asked))["comment_terms"] == [0.0; 4]);
    assert!(evidence.rows(&[]).columns.iter().all(|column| column.values.is_empty()));
}

#[test]
fn rows_beyond_a_list_have_the_scores_that_its_channel_would_give() {
    let index = Index::of(&[("src/lib.rs", LIBRARY), ("tests/layer.rs", TEST), ("docs/layer.md", PAGE)]);
    let rows = index.rows();
    let query = Arc::new(TextQuery::of(&["layer".to_owned()]));
    let all = index.snapshot.text.search(&query, 10, None).unwrap();
    let files = index.snapshot.best_files(&query, 10, None).unwrap();
    assert_eq!((all.len(), files.len()), (3, 3));
    let first = RankedList { ids: vec![all[0].0], scores: vec![all[0].1] };
    let mut evidence = index.evidence("layer", vec![(ChannelName::Bm25, first.clone()), (ChannelName::Dense, first.clone())]);
    evidence.asked = Asked { bm25: query.clone(), files: query, dense: None };
    let asked: Vec<&ChunkRow> = rows.iter().collect();
    let columns = by_name(evidence.rows(&asked));
    for (at, row) in rows.iter().enumerate() {
        let place = all.iter().position(|(id, _)| *id == row.id).unwrap();
        assert_eq!(columns["bm25"][at], all[place].1, "{}", row.path);
        assert_eq!(columns["bm25_rank"][at], if place == 0 { 1.0 } else { 0.0 }, "{}", row.path);
        // No vectors here, and the third channel was not asked.
        assert_eq!(columns["dense"][at], if place == 0 { all[0].1 } else { 0.0 });
        assert_eq!(columns["files"][at], 0.0);
    }
    evidence.found = vec![(ChannelName::Files, RankedList::default())];
    let columns = by_name(evidence.rows(&asked));
    for (at, row) in rows.iter().enumerate() {
        let own = files.iter().find(|(file, _)| Some(*file) == index.snapshot.chunks.file_number(row.id)).unwrap();
        assert_eq!(columns["files"][at], own.1, "{}", row.path);
    }
}

#[test]
fn each_role_has_a_column_but_the_one_of_all_others() {
    let named = |name: &str| ROW_COLUMNS.iter().any(|column| column.strip_prefix(ROLE_PREFIX) == Some(name));
    for role in crate::index::role::Role::ALL {
        assert_eq!(named(role.as_str()), role.as_str() != "source", "{role}");
    }
    assert_eq!(ROW_COLUMNS.iter().filter(|column| column.starts_with(ROLE_PREFIX)).count(), 6);
}

#[test]
fn ages_count_from_the_newest_commit() {
    let day = 86_400;
    for (commit, newest, expect) in [
        (Some(0), Some(3 * day), 3.0),
        (Some(day / 2), Some(day), 0.5),
        (Some(5), Some(3), 0.0),
        (None, Some(3), 0.0),
        (Some(3), None, 0.0),
        (Some(i64::MIN), Some(i64::MAX), (i64::MAX as f64 / 86_400.0) as f32),
    ] {
        assert_eq!(age_days(commit, newest), expect, "{commit:?} {newest:?}");
    }
}

#[test]
fn the_page_has_every_column() {
    let page = include_str!("../../../docs/evidence.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let mut named: Vec<String> =
        rows.flat_map(|cell| cell.split('`').step_by(2)).map(str::to_owned).filter(|name| !name.trim().is_empty()).collect();
    let mut expected: Vec<String> = TERM_COLUMNS.map(str::to_owned).into_iter().chain(row_columns()).collect();
    named.sort_unstable();
    expected.sort_unstable();
    assert_eq!(named, expected);
}
