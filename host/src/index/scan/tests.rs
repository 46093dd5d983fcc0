use super::*;

/// Writes `files` (path, content) into a new folder.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn scan_roots(roots: &[&Path]) -> Result<Scan, ScanError> {
    let roots: Vec<PathBuf> = roots.iter().map(|root| root.to_path_buf()).collect();
    scan(&roots, &ScanLimits::default(), &|_| ())
}

fn check(root: &Path, files: &[&str], skipped: &[(&str, SkipReason)]) {
    let scan = scan_roots(&[root]).unwrap();
    let found: Vec<&str> = scan.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(found, files);
    let found: Vec<(&str, SkipReason)> = scan.skipped.iter().map(|skipped| (skipped.path.as_str(), skipped.reason)).collect();
    assert_eq!(found, skipped);
}

#[test]
fn ignore_rules_hold_without_git_and_dot_files_are_found() {
    let root = folder(&[
        (".gitignore", b"*.log\n/out/\n!keep.log\n"),
        (".ignore", b"secret.txt\n"),
        ("a.log", b"x"),
        ("keep.log", b"x"),
        ("out/a.rs", b"x"),
        ("sub/out/a.rs", b"x"),
        ("sub/.gitignore", b"local.rs\n"),
        ("sub/local.rs", b"x"),
        ("secret.txt", b"x"),
        (".github/workflows/x.yml", b"x"),
        (".git/config", b"x"),
        ("sub/.git", b"gitdir: elsewhere"),
        (".git/info/exclude", b"excluded.rs\n"),
        ("excluded.rs", b"x"),
        (".spanloom/CURRENT", b"x"),
        ("empty", b""),
    ]);
    check(root.path(), &[".github/workflows/x.yml", ".gitignore", ".ignore", "empty", "keep.log", "sub/.gitignore", "sub/out/a.rs"], &[]);
}

#[test]
fn an_empty_folder_and_no_roots_give_nothing() {
    check(folder(&[]).path(), &[], &[]);
    assert_eq!(scan_roots(&[]).unwrap(), Scan::default());
}

#[test]
fn binaries_by_name_and_large_files_are_skipped_with_detail() {
    let large = vec![b'x'; 1_048_577];
    let root = folder(&[("limit.txt", &large[1..]), ("large.json", &large), ("a.PNG", b"text"), ("lib.so", b"text"), ("png", b"text")]);
    check(
        root.path(),
        &["limit.txt", "png"],
        &[("a.PNG", SkipReason::Binary), ("large.json", SkipReason::TooLarge), ("lib.so", SkipReason::Binary)],
    );
    let skipped = scan_roots(&[root.path()]).unwrap().skipped;
    assert_eq!(skipped[0].detail, "extension .png");
    assert_eq!(skipped[1].detail, "1048577 bytes, limit 1048576");
}

#[cfg(unix)]
#[test]
fn links_are_never_followed_and_pipes_do_not_block() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let outside = folder(&[("secret.rs", b"x")]);
    let root = folder(&[("src/a.rs", b"x")]);
    let at = |path: &str| root.path().join(path);
    symlink("src/a.rs", at("inside.rs")).unwrap();
    symlink("..", at("src/up")).unwrap();
    symlink("nowhere", at("broken")).unwrap();
    symlink("loop", at("loop")).unwrap();
    symlink(outside.path(), at("out-folder")).unwrap();
    symlink(outside.path().join("secret.rs"), at("out.rs")).unwrap();
    let bad_name = OsStr::from_bytes(b"bad\xff.rs");
    fs::write(root.path().join(bad_name), "x").unwrap();
    let made = std::process::Command::new("mkfifo").arg(at("pipe.rs")).status().unwrap();
    assert!(made.success());
    let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    check(
        root.path(),
        &["src/a.rs"],
        &[
            ("bad\u{fffd}.rs", SkipReason::NotUtf8),
            ("broken", SkipReason::BrokenSymlink),
            ("loop", SkipReason::BrokenSymlink),
            ("out-folder", SkipReason::OutsideRoot),
            ("out.rs", SkipReason::OutsideRoot),
            ("pipe.rs", SkipReason::NotAFile),
            ("socket", SkipReason::NotAFile),
        ],
    );
    // A link to what another root holds is no loss either.
    let scan = scan_roots(&[root.path(), outside.path()]).unwrap();
    assert!(scan.skipped.iter().all(|skipped| skipped.reason != SkipReason::OutsideRoot));
    // A file that became a pipe or a link after the scan is not opened.
    for path in ["pipe.rs", "out.rs"] {
        let content = read(root.path(), path, 100);
        assert!(matches!(content, FileContent::Skip(SkipReason::NotAFile, _)), "{content:?}");
    }
    drop(socket);
}

#[test]
fn two_roots_are_ordered_by_root_then_path() {
    let (first, second) = (folder(&[("z", b"1"), ("a/b", b"22")]), folder(&[("a", b"333")]));
    let scan = scan_roots(&[first.path(), second.path()]).unwrap();
    let found: Vec<(usize, &str, u64)> = scan.files.iter().map(|file| (file.root, file.path.as_str(), file.size_bytes)).collect();
    assert_eq!(found, [(0, "a/b", 2), (0, "z", 1), (1, "a", 3)]);
    assert!(scan.files.iter().all(|file| file.modified_ns > 1_600_000_000_000_000_000));
}

#[test]
fn roots_that_cannot_be_scanned_are_named() {
    let root = folder(&[("sub/file", b"x"), ("subway/file", b"x")]);
    let at = |path: &str| root.path().join(path);
    let error = |roots: &[&Path]| scan_roots(roots).unwrap_err();
    let (top, sub, file, missing) = (at(""), at("sub"), at("sub/file"), at("missing"));
    assert!(matches!(error(&[&missing]), ScanError::RootMissing { root } if root == missing));
    assert!(matches!(error(&[&file]), ScanError::RootNotAFolder { root } if root == file));
    let twice = at("sub/../sub");
    assert!(matches!(error(&[&sub, &twice]), ScanError::RootTwice { second, .. } if second == twice));
    for roots in [[&top, &sub], [&sub, &top]] {
        let error = error(&roots.map(PathBuf::as_path));
        assert!(matches!(&error, ScanError::RootsNested { outer, inner } if *outer == top && *inner == sub), "{error}");
    }
    // A common prefix of the name is no nesting.
    assert_eq!(scan_roots(&[&sub, &at("subway")]).unwrap().files.len(), 2);
}

#[test]
fn the_number_of_entries_is_bounded_over_all_roots() {
    let (first, second) = (folder(&[("a", b""), ("b.png", b"")]), folder(&[("c", b"")]));
    let roots = [first.path().to_owned(), second.path().to_owned()];
    let seen = AtomicUsize::new(0);
    let scan_max = |files_max| {
        let limits = ScanLimits { files_max, ..ScanLimits::default() };
        scan(&roots, &limits, &|count| seen.store(count, Ordering::Relaxed))
    };
    assert_eq!(scan_max(3).unwrap().files.len(), 2);
    assert_eq!(seen.load(Ordering::Relaxed), 3);
    assert!(matches!(scan_max(2), Err(ScanError::TooManyFiles { files_max: 2, .. })));
}

fn read(root: &Path, path: &str, file_bytes_max: u64) -> FileContent {
    let file = ScannedFile { root: 0, path: path.to_owned(), size_bytes: 0, modified_ns: 0 };
    read_file(root, &file, &ScanLimits { file_bytes_max, ..ScanLimits::default() })
}

#[test]
fn content_is_text_or_says_why_not() {
    let mut late_nul = vec![b'x'; BINARY_PROBE_BYTES];
    late_nul.push(0);
    let early_nul = &late_nul[1..];
    let text = |text: &str| Ok(text.to_owned());
    let cases: &[(&[u8], Result<String, SkipReason>)] = &[
        (b"", text("")),
        ("gr\u{fc}n".as_bytes(), text("gr\u{fc}n")),
        (b"\xEF\xBB\xBFfn main() {}", text("fn main() {}")),
        (b"\xEF\xBB\xBF", text("")),
        (b"gr\xFCn", Err(SkipReason::NotUtf8)),
        (b"cut \xE2\x82", Err(SkipReason::NotUtf8)),
        (b"\xFF\xFEa\0b\0", Err(SkipReason::NotUtf8)),
        (b"\xFE\xFF\0a\0b", Err(SkipReason::NotUtf8)),
        (b"a\0b\0", Err(SkipReason::Binary)),
        (b"\x7fELF\x02\0", Err(SkipReason::Binary)),
        (early_nul, Err(SkipReason::Binary)),
        (&late_nul, text(str::from_utf8(&late_nul).unwrap())),
        (&[b'x'; 10_000], text(&"x".repeat(10_000))),
        (&[b'x'; 10_001], Err(SkipReason::TooLarge)),
    ];
    for (bytes, expected) in cases {
        let root = folder(&[("f", bytes)]);
        let found = match read(root.path(), "f", 10_000) {
            FileContent::Text(text) => Ok(text),
            FileContent::Skip(reason, _) => Err(reason),
        };
        assert_eq!(found, *expected, "{} bytes", bytes.len());
    }
    let gone = read(folder(&[]).path(), "gone", 10);
    assert!(matches!(gone, FileContent::Skip(SkipReason::Unreadable, _)), "{gone:?}");
}

#[test]
fn the_hash_is_sha_256() {
    // FIPS 180-2, appendix B.1.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(content_hash(b"abc"), abc);
}
