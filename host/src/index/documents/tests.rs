use super::*;

const LIMIT: u64 = 1_000;

fn rules() -> RecordRules {
    RecordRules { text_bytes_max: LIMIT, title_bytes_max: 1_000, records_max: 10, language: None }
}

/// Everything that is found in a file, and what is said about it.
fn read(text: impl AsRef<[u8]>, rules: &RecordRules) -> Result<(Vec<Found>, Vec<String>), String> {
    let mut found = Vec::new();
    let said = read_records(text.as_ref(), Path::new("c.jsonl"), rules, &mut Ids::default(), &mut |item| found.push(item));
    said.map(|said| (found, said)).map_err(|error| error.to_string())
}

/// The only record of a line.
fn record(line: &str, rules: &RecordRules) -> Record {
    match read(line, rules) {
        Ok((found, _)) => match found.as_slice() {
            [Found::Record(record)] => record.clone(),
            other => panic!("{line}: {other:?}"),
        },
        Err(error) => panic!("{line}: {error}"),
    }
}

#[test]
fn members_are_taken_as_they_are_meant() {
    let line = r#"{"id": "a", "text": "\n \n  def f():\n    pass\n\n", "title": " On\n\tf ", "path": "src/f.py", "language": "Python", "time": 7, "n": [1, {}]}"#;
    let expect = Record {
        line: 1,
        id: "a".into(),
        text: "  def f():\n    pass".into(),
        title: Some("On f".into()),
        path: Some("src/f.py".into()),
        language: Language::Python,
        time_s: Some(7),
    };
    assert_eq!(record(line, &rules()), expect);
    // What is null or empty is not there.
    let bare = Record { text: "x".into(), title: None, path: None, language: Language::Text, time_s: None, ..expect };
    assert_eq!(record(r#"{"id":"a","text":"x"}"#, &rules()), bare);
    assert_eq!(record(r#"{"id":"a","text":"x","title":null,"path":null,"language":null,"time":null}"#, &rules()), bare);
    assert_eq!(record("{\"id\":\"a\",\"text\":\"x\",\"title\":\"\",\"path\":\" \",\"language\":\"\"}\r\n", &rules()), bare);
    assert_eq!(record("\u{feff}{\"id\":\"a\",\"text\":\"x\"}", &rules()), bare);
}

#[test]
fn times_are_seconds_or_rfc_3339() {
    let check = |time: &str, expect: i64| {
        assert_eq!(record(&format!(r#"{{"id":"a","text":"x","time":{time}}}"#), &rules()).time_s, Some(expect), "{time}");
    };
    check("0", 0);
    check("-1", -1);
    check("1700000000.9", 1_700_000_000);
    check("\"2026-01-31T12:00:00Z\"", 1_769_860_800);
    check("\"2026-01-31T13:00:00.5+01:00\"", 1_769_860_800);
    check("\"1969-12-31T23:59:59Z\"", -1);
}

#[test]
fn languages_come_from_the_record_then_its_path_then_the_rules() {
    let check = |members: &str, rule: Option<Language>, expect: Language| {
        let rules = RecordRules { language: rule, ..rules() };
        assert_eq!(record(&format!(r#"{{"id":"a","text":"x"{members}}}"#), &rules).language, expect, "{members}");
    };
    let go = Some(Language::Go);
    check("", go, Language::Go);
    check(r#","path":"a.py""#, go, Language::Python);
    check(r#","path":"a.unheard""#, go, Language::Go);
    check(r#","path":"a.py","language":"RUST""#, go, Language::Rust);
    check(r#","path":"a.py","language":"klingon""#, go, Language::Python);
    check(r#","language":"klingon""#, None, Language::Text);
    check(r#","language":"text""#, go, Language::Text);
    for (name, expect) in [
        ("py", Some(Language::Python)),
        (" JavaScript ", Some(Language::JavaScript)),
        ("C++", Some(Language::Cpp)),
        ("golang", Some(Language::Go)),
        ("md", Some(Language::Markdown)),
        ("txt", Some(Language::Text)),
        ("a/b.py", None),
        ("", None),
    ] {
        assert_eq!(language_named(name), expect, "{name}");
    }
}

#[test]
fn what_is_no_record_is_refused_with_its_place_and_value() {
    let check = |text: &str, parts: &[&str]| {
        let error = read(text, &rules()).expect_err(text);
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
        assert!(error.len() < 400, "an error is short: {error}");
    };
    let good = r#"{"id":"a","text":"x"}"#;
    check("nonsense", &["c.jsonl:1: not a JSON object", "`nonsense`"]);
    check(&format!("{good}\n\n[\"b\", \"x\"]"), &["c.jsonl:3: not a JSON object: it does not begin with `{`", "[\"b\", \"x\"]"]);
    check("\"a\"", &["not a JSON object"]);
    check(r#"{"id":"a","text":"x""#, &["c.jsonl:1", "EOF while parsing an object at column 20"]);
    check(r#"{"id":"a","text":"x"} {"id":"b","text":"x"}"#, &["trailing characters"]);
    check("{\"id\":\"a\",\"text\":\"\0\"}", &["control character", "\\u{0}"]);
    check(r#"{"id":"a","id":"b","text":"x"}"#, &["duplicate field `id`"]);
    check(r#"{"text":"x"}"#, &["c.jsonl:1: `id` is missing; allowed: text of 1 to 1024 bytes"]);
    check(r#"{"id":null,"text":"x"}"#, &["`id` is missing"]);
    check(r#"{"id":"","text":"x"}"#, &["`id` is empty"]);
    check(r#"{"id":7,"text":"x"}"#, &["`id` is `7`"]);
    check(r#"{"id":["a"],"text":"x"}"#, &["`id` is `[\"a\"]`"]);
    check(r#"{"id":"a\u0000b","text":"x"}"#, &["`id` is `a\\u{0}b`"]);
    check(&format!(r#"{{"id":"{}","text":"x"}}"#, "i".repeat(1_025)), &["`id` is 1025 bytes long, `iii"]);
    check(r#"{"id":"a","text":["x"]}"#, &["`text` is `[\"x\"]`; allowed: text"]);
    check(r#"{"id":"a","text":"x","title":1}"#, &["`title` is `1`"]);
    check(r#"{"id":"a","text":"x","path":{}}"#, &["`path` is `{}`"]);
    check(r#"{"id":"a","text":"x","path":"a\nb"}"#, &["`path` is `a\\nb`"]);
    check(r#"{"id":"a","text":"x","language":[]}"#, &["`language` is `[]`"]);
    for time in ["\"yesterday\"", "\"2026-01-31\"", "1700000000000", "true", "1e+300", "\"\""] {
        check(&format!(r#"{{"id":"a","text":"x","time":{time}}}"#), &["c.jsonl:1: `time` is", time, "Unix seconds, or RFC 3339"]);
    }
    check(&format!("{good}\n{good}"), &["c.jsonl:2: the id \"a\" is that of c.jsonl:1, too"]);
    // An id counts also where the record is left out.
    check(&format!("{{\"id\":\"a\"}}\n{good}"), &["c.jsonl:2: the id \"a\" is that of c.jsonl:1"]);
    let many: Vec<String> = (0..11).map(|n| format!(r#"{{"id":"{n}","text":"x"}}"#)).collect();
    check(&many.join("\n"), &["c.jsonl:11: more than 10 records", "`index.files_max`"]);
    assert_eq!(read(many[..10].join("\n"), &rules()).map(|(found, _)| found.len()), Ok(10));
}

#[test]
fn ids_are_their_own_over_all_files() {
    let mut ids = Ids::default();
    let line = r#"{"id":"a","text":"x"}"#;
    read_records(line.as_bytes(), Path::new("one.jsonl"), &rules(), &mut ids, &mut |_| {}).unwrap();
    let error = read_records(line.as_bytes(), Path::new("two.jsonl"), &rules(), &mut ids, &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "two.jsonl:1: the id \"a\" is that of one.jsonl:1, too; every record has an id of its own");
}

#[test]
fn what_holds_nothing_to_index_is_left_out_and_counted() {
    let check = |line: &[u8], id: Option<&str>, reason: SkipReason, detail: &str| {
        let (found, said) = read(line, &rules()).unwrap();
        let expect = LeftOut { line: 1, id: id.map(str::to_owned), reason, detail: detail.to_owned() };
        assert_eq!(found, [Found::LeftOut(expect)]);
        assert_eq!(said[0], "c.jsonl holds no record that can be indexed");
        assert_eq!(said[1], format!("c.jsonl: left out as {reason}: 1, the first at line 1"));
    };
    check(br#"{"id":"a"}"#, Some("a"), SkipReason::NoText, "c.jsonl:1: `text` is missing");
    check(br#"{"id":"a","text":null}"#, Some("a"), SkipReason::NoText, "c.jsonl:1: `text` is missing");
    check(br#"{"id":"a","text":" \n\t"}"#, Some("a"), SkipReason::NoText, "c.jsonl:1: `text` is empty or white space");
    check(br#"{"id":"a","text":"x\u0000"}"#, Some("a"), SkipReason::Binary, "c.jsonl:1: `text` has NUL characters");
    check(b"{\"id\":\"a\",\"text\":\"\xff\"}", None, SkipReason::NotUtf8, "c.jsonl:1: the line is not UTF-8");
    let long = format!(r#"{{"id":"a","text":"{}"}}"#, "x".repeat(1_001));
    check(long.as_bytes(), Some("a"), SkipReason::TooLarge, "c.jsonl:1: `text` has 1001 bytes, limit 1000");
    let longer = format!(r#"{{"id":"a","text":"{}"}}"#, "x".repeat(50_000_000));
    check(longer.as_bytes(), None, SkipReason::TooLarge, "c.jsonl:1: a line of 50000020 bytes, limit 1054576");
    // A text of nothing but escapes is as long as it says.
    let escaped = format!(r#"{{"id":"a","text":"{}"}}"#, "\\u0041".repeat(1_000));
    assert_eq!(record(&escaped, &rules()).text.len(), 1_000);
}

#[test]
fn what_is_odd_is_said() {
    let said = |text: &str| read(text, &rules()).unwrap().1;
    assert_eq!(said(""), ["c.jsonl holds no record that can be indexed"]);
    assert_eq!(said("\n \n"), ["c.jsonl holds no record that can be indexed"]);
    let title = "t".repeat(1_001);
    let lines = format!(
        "{}\n{}\n{}\n{}\n{}\n",
        r#"{"id":"a","text":"x","language":"klingon"}"#,
        r#"{"id":"b","text":""}"#,
        r#"{"id":"c","text":"","language":"elvish"}"#,
        r#"{"id":"d","text":"x","title":"fine"}"#,
        format_args!(r#"{{"id":"e","text":"x","title":"{title}"}}"#)
    );
    let expect = [
        "c.jsonl: left out as no_text: 2, the first at line 2",
        "c.jsonl: of an unknown language: 2, the first \"klingon\" at line 1; taken by their path, or as text",
        "c.jsonl: titles too long and cut: 1, the first at line 5",
    ];
    assert_eq!(said(&lines), expect);
    let (found, _) = read(&lines, &rules()).unwrap();
    assert!(matches!(&found[4], Found::Record(record) if record.title.as_ref().is_some_and(|title| title.len() == 1_000)));
}

#[test]
fn files_are_checked_before_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.jsonl");
    std::fs::write(&file, "").unwrap();
    let link = folder.path().join("link.jsonl");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let check = |given: &[&Path], expect: &str| {
        let given: Vec<PathBuf> = given.iter().map(|path| (*path).to_owned()).collect();
        let error = check_files(&given).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(&[&folder.path().join("none")], "none does not exist; --documents takes a file of records");
    check(&[folder.path()], "is a folder; --documents takes");
    check(&[Path::new("/dev/null")], "is no regular file");
    check(&[&file, &link], "link.jsonl is given twice");
    let files = check_files(std::slice::from_ref(&link)).unwrap();
    assert_eq!(files[0].given, link);
    assert_eq!(files[0].path, std::fs::canonicalize(&file).unwrap());
    assert!(check_files(&[]).unwrap().is_empty());
}
