//! Projects of all stages and languages, names, folders, and what is said of a wrong `plugin.toml`.

use super::*;

fn all() -> impl Iterator<Item = (Stage, Language, BTreeMap<String, String>)> {
    let pairs = Stage::ALL.into_iter().flat_map(|stage| Language::ALL.map(|language| (stage, language)));
    pairs.map(|(stage, language)| (stage, language, files("my-plugin", stage, language).unwrap().into_iter().collect()))
}

#[test]
fn names_are_kebab_case_and_not_taken() {
    let check = |name: &str, problem: &str| match files(name, Stage::Gate, Language::Rust) {
        Ok(_) => assert_eq!(problem, "", "`{name}` was taken"),
        Err(error) => {
            let message = error.to_string();
            assert!(!problem.is_empty() && message.contains(problem), "`{problem}` is not in: {message}");
            assert!(message.contains(&format!("`{name}`")) && message.contains("allowed: "), "{message}");
        }
    };
    for name in ["a", "my-fusion", "bm25f", "a-1-b", &"a".repeat(63)] {
        check(name, "");
    }
    check("", "is empty");
    check(&"a".repeat(64), "64 characters");
    check("1st", "begins with no letter");
    check("-a", "begins with no letter");
    check("My-fusion", "`M`");
    check("my_fusion", "`_`");
    check("../up", "`.`");
    check("größe", "`ö`");
    check("a-", "dashes");
    check("a--b", "dashes");
    for name in ["fn", "async", "test", "std", "proc-macro", "serde", "spanloom-plugin"] {
        check(name, "use that name");
    }
}

#[test]
fn each_project_has_its_manifest_its_cases_and_the_contract() {
    for (stage, language, files) in all() {
        let what = format!("{stage} in {}", language.as_str());
        let manifest = Manifest::parse(&files[MANIFEST_FILE], MANIFEST_FILE).unwrap();
        assert_eq!(manifest, Manifest::of_new("my-plugin", stage, language), "{what}");
        assert!(files.keys().any(|path| path.starts_with("cases/") && path.ends_with(".json")), "{what} has no cases");
        assert!(files["wit/package.wit"].contains(&format!("world {stage}-plugin ")), "{what}");
        for path in ["README.md", ".gitignore", "wit/types.wit", "wit/explain.wit", "wit/evidence.wit"] {
            assert!(files.contains_key(path), "{what} has no {path}");
        }
        for (path, text) in &files {
            assert!(!text.contains("{{name}}") && !text.contains("{{crate}}") && !text.contains("{{stage}}"), "{what}: {path}");
            assert!(!text.contains('\u{fffd}'), "{what}: {path} is no text");
        }
        // Build folders that got into the templates would get into the binary.
        let bytes: usize = files.values().map(String::len).sum();
        assert!(bytes < 200_000, "{what} has {bytes} bytes");
    }
}

#[test]
fn rust_projects_need_nothing_around_them() {
    for stage in Stage::ALL {
        let files: BTreeMap<String, String> = files("my-plugin", stage, Language::Rust).unwrap().into_iter().collect();
        let cargo: toml::Table = files["Cargo.toml"].parse().unwrap();
        assert_eq!(cargo["package"]["name"].as_str(), Some("my-plugin"));
        assert!(cargo.contains_key("workspace"));
        assert!(files["src/lib.rs"].contains(&format!("spanloom_plugin::export_{stage}!")));
        // `../../wit` from the SDK's bindings is the project's own.
        assert!(files["vendor/spanloom-plugin/src/bindings.rs"].contains("path: \"../../wit\""));
        assert!(files["vendor/spanloom-plugin/LICENSE"].contains("Apache License"));
        for (path, text) in &files {
            assert!(path.ends_with(".md") || !text.contains(env!("CARGO_MANIFEST_DIR")), "{path}");
        }
    }
}

/// The manifest beside the vendored sources is written by hand.
#[test]
fn the_vendored_manifest_is_in_step_with_the_sdk() {
    let read = |path: &str| -> toml::Table {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        fs::read_to_string(path).unwrap().parse().unwrap()
    };
    let workspace = &read("Cargo.toml")["workspace"];
    let inherited = |value: &toml::Value, of: &str, key: &str| match value.get("workspace") {
        Some(_) => workspace[of][key].clone(),
        None => value.clone(),
    };
    let mut expected = read("plugins/sdk/Cargo.toml");
    for (table, of) in [("package", "package"), ("dependencies", "dependencies")] {
        for (key, value) in expected[table].as_table_mut().unwrap() {
            *value = inherited(value, of, key);
        }
    }
    let files: BTreeMap<String, String> = files("a", Stage::Gate, Language::Rust).unwrap().into_iter().collect();
    let vendored: toml::Table = files["vendor/spanloom-plugin/Cargo.toml"].parse().unwrap();
    assert_eq!(vendored, expected);
}

#[test]
fn a_folder_is_written_as_a_whole_or_not_at_all() {
    let around = tempfile::tempdir().unwrap();
    let files = [("a.txt".to_owned(), "1".to_owned()), ("b/c/d.txt".to_owned(), "2".to_owned())];
    let check = |folder: &str| {
        let folder = around.path().join(folder);
        write(&files, &folder).unwrap();
        assert_eq!(fs::read_to_string(folder.join("a.txt")).unwrap(), "1");
        assert_eq!(fs::read_to_string(folder.join("b/c/d.txt")).unwrap(), "2");
        let names = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        assert_eq!(names(&folder).len(), 2, "{:?}", names(&folder));
        let beside = names(folder.parent().unwrap());
        assert!(!beside.iter().any(|name| name.to_string_lossy().starts_with('.')), "{beside:?}");
    };
    check("new");
    check("deep/er/new");
    fs::create_dir(around.path().join("empty")).unwrap();
    check("empty");

    let again = write(&files, &around.path().join("new")).unwrap_err();
    assert!(matches!(&again, ScaffoldError::NotEmpty { folder } if folder.ends_with("new")), "{again}");
    let into_a_file = write(&files, &around.path().join("new/a.txt")).unwrap_err();
    assert!(into_a_file.to_string().contains("a.txt can't be written"), "{into_a_file}");
    let twisted = [("a".to_owned(), String::new()), ("a/b".to_owned(), String::new())];
    assert!(write(&twisted, &around.path().join("twisted")).is_err());
    assert!(!around.path().join("twisted").exists());
    assert_eq!(fs::read_dir(around.path()).unwrap().count(), 3);
}

const TEXT: &str = r#"
name = "my-fusion"
stage = "fusion"
language = "js"
component = "build/my-fusion.wasm"
cases = "../cases"
wit = "wit"
"#;

#[test]
fn a_manifest_is_read_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Manifest::read(folder.path()).unwrap_err().to_string();
    assert!(missing.contains("plugin.toml: ") && missing.contains("spanloom plugin new"), "{missing}");

    let path = folder.path().join(MANIFEST_FILE);
    fs::write(&path, TEXT).unwrap();
    let manifest = Manifest::read(folder.path()).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.stage, manifest.language), ("my-fusion", Stage::Fusion, Language::Js));
    assert_eq!((manifest.cases, manifest.component), ("../cases".into(), "build/my-fusion.wasm".into()));

    fs::write(&path, " ".repeat(MANIFEST_BYTES_MAX as usize + 1)).unwrap();
    assert!(matches!(Manifest::read(folder.path()), Err(ManifestError::TooLarge { .. })));
}

#[test]
fn what_is_wrong_in_a_manifest_is_named() {
    let check = |from: &str, to: &str, message: &str| {
        assert!(TEXT.contains(from), "{from}");
        let error = Manifest::parse(&TEXT.replace(from, to), "a/plugin.toml").unwrap_err().to_string();
        assert_eq!(error.trim_start_matches("a/plugin.toml: "), message);
    };
    check("\"fusion\"", "\"fuse\"", "`stage` is `fuse`; allowed: gate, fusion, rerank");
    check("\"js\"", "\"ruby\"", "`language` is `ruby`; allowed: rust, js, python");
    check("\"js\"", "3", "`language` is 3; allowed: rust, js, python");
    check("cases", "case", "`case` is unknown; allowed: name, stage, language, component, cases, wit");
    check("wit = \"wit\"", "", "`wit` is missing; allowed: the path of a folder, such as wit");
    check("\"../cases\"", "\"\"", "`cases` is \"\"; allowed: the path of a folder, such as cases");
    check(
        "\"build/my-fusion.wasm\"",
        "\"..\"",
        "`component` is `..`, which names no file; allowed: the path of a file, such as build/my-plugin.wasm",
    );
    check(
        "\"my-fusion\"",
        "\"My\"",
        "`name` is `My`: it has a `M` in it; allowed: small letters, digits and single dashes, beginning with a letter",
    );
    let syntax = Manifest::parse("name = ", "a/plugin.toml").unwrap_err().to_string();
    assert!(syntax.starts_with("a/plugin.toml is no TOML: ") && syntax.contains("line 1"), "{syntax}");
}

#[test]
fn the_examples_have_the_helpers_of_new_projects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (template, example) in
        [("js/common/src/spanloom.js", "js/src/spanloom.js"), ("python/common/src/spanloom.py", "python/src/spanloom.py")]
    {
        let read = |path: std::path::PathBuf| std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let theirs = read(root.join("host/templates/plugin").join(template));
        assert_eq!(read(root.join("examples/fusion-dbsf").join(example)), theirs, "{example}");
    }
}
