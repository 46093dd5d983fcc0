//! Folders: what experiments may not do to each other, and what is no experiment.

use super::*;
use crate::experiments::FILE_BYTES_MAX;

fn text(id: &str, more: &str) -> String {
    format!("id = '{id}'\nversion = 1\nmode = 'ab'\nmetrics.primary = 'success'\narms = [{{ key = 'a' }}, {{ key = 'b' }}]\n{more}")
}

fn layer(salt: &str, start: u32, end: u32) -> String {
    format!("layer = {{ name = 'l', salt = '{salt}', buckets = [{start}, {end}] }}\n")
}

/// Every problem is a line with what is expected, in this order; the folder isn't part of it.
fn check(files: &[(&str, String)], expect: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let told = read_folder(folder.path()).err().map_or(String::new(), |error| error.to_string());
    let told = told.replace(&format!("{}/", folder.path().display()), "");
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told.len(), expect.len(), "{told:#?}");
    for (line, expect) in told.iter().zip(expect) {
        assert!(line.starts_with(expect), "{line}");
    }
}

#[test]
fn experiments_of_a_folder_get_along() {
    let with = |id: &str, layer: String| text(id, &layer);
    check(&[], &[]);
    check(&[("a.toml", text("a", "")), ("b.toml", text("b", "")), ("README.md", "# a".into())], &[]);
    check(&[("a.toml", text("x", "")), ("b.toml", text("x", ""))], &["b.toml: `id` is `x`, as in a.toml; allowed: an id of its own"]);
    check(&[("a.toml", with("a", layer("s", 0, 500))), ("b.toml", with("b", layer("s", 500, 900)))], &[]);
    check(
        &[("a.toml", with("a", layer("s", 0, 500))), ("b.toml", with("b", layer("s", 499, 900)))],
        &["b.toml: `layer.buckets` is [499, 900], which overlaps [0, 500] of `a` in a.toml; allowed: buckets that no other"],
    );
    let stopped = with("b", layer("s", 0, 900) + "state = 'stopped'");
    check(&[("a.toml", with("a", layer("s", 0, 500))), ("b.toml", stopped)], &[]);
    check(
        &[("a.toml", with("a", layer("s", 0, 500))), ("b.toml", with("b", layer("t", 500, 900)))],
        &["b.toml: `layer.salt` is `t`, but `s` in a.toml; allowed: the same in all experiments of layer `l`"],
    );
    let other = layer("s", 500, 900) + "unit.kind = 'query'\nhash.buckets = 1000";
    check(
        &[("a.toml", with("a", layer("s", 0, 500))), ("b.toml", with("b", other))],
        &["b.toml: `unit` is not that in a.toml", "b.toml: `hash.buckets` is 1000, but 10000 in a.toml"],
    );
    check(
        &[("a.toml", with("a", layer("s", 0, 500))), ("b.toml", with("b", layer("s", 500, 900) + "hash.algorithm = 'growthbook_v2'"))],
        &["b.toml: `hash.algorithm` is not that in a.toml"],
    );
}

#[test]
fn every_file_that_is_wrong_is_told() {
    check(
        &[("c.toml", "id = ".into()), ("a.toml", text("A", "coverage = 2")), ("b.toml", text("b", ""))],
        &["a.toml: `id` is `A`", "a.toml: `coverage` is 2", "c.toml:1:6: "],
    );
    check(&[("a.toml", "#".repeat(FILE_BYTES_MAX + 1))], &["a.toml: is longer than 262144 bytes"]);
    check(&[("a.toml", "ä".repeat(FILE_BYTES_MAX / 2 + 1))], &["a.toml: is longer than 262144 bytes"]);
    let cut_in_two = format!("#{}", "ä".repeat(FILE_BYTES_MAX / 2 + 1));
    check(&[("a.toml", cut_in_two)], &["a.toml: is longer than 262144 bytes"]);
}

#[test]
fn what_cant_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none");
    let message = read_folder(&missing).unwrap_err().to_string();
    assert!(message.starts_with(&missing.display().to_string()), "{message}");
    std::fs::create_dir(folder.path().join("folder.toml")).unwrap();
    assert!(read_folder(folder.path()).unwrap().is_empty(), "a folder is no file");
    std::fs::write(folder.path().join("a.toml"), b"id = '\xff'").unwrap();
    assert!(matches!(read_folder(folder.path()), Err(ReadError::Read { .. })), "no text");
}
