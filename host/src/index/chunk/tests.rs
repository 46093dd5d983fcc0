//! The chunks of small files in every language, and what holds for every text.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod languages;
mod shapes;

/// Small, so that short texts are cut.
fn small() -> ChunkLimits {
    ChunkLimits { lines_max: 6, lines_min: 2, window_lines: 4, window_overlap: 1, bytes_max: 400, parse_time_max: Duration::from_secs(60) }
}

fn render(chunked: &Chunked) -> Vec<String> {
    let line = |chunk: &Chunk| {
        let symbol = chunk.symbol.as_deref().unwrap_or("-");
        let names = chunk.definitions.join(" ");
        format!("{}-{} {:?} {symbol} [{names}]", chunk.start_line, chunk.end_line, chunk.kind)
    };
    chunked.chunks.iter().map(line).collect()
}

fn check(language: Language, text: &str, expect: &[&str]) {
    let chunked = chunk_source(language, text, &small());
    assert_eq!(chunked.fallback, None, "{text}");
    assert_eq!(render(&chunked), expect, "{text}");
    check_invariants(language, text, &small());
}

/// What holds for every text.
fn check_invariants(language: Language, text: &str, limits: &ChunkLimits) {
    let chunked = chunk_source(language, text, limits);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut covered = vec![0; lines.len()];
    let mut last_start = 1;
    for chunk in &chunked.chunks {
        assert!(last_start <= chunk.start_line && chunk.start_line <= chunk.end_line, "{chunk:?}");
        last_start = chunk.start_line;
        let range = chunk.start_line as usize - 1..chunk.end_line as usize;
        assert!(range.len() <= limits.lines_max.max(limits.window_lines) as usize, "{chunk:?}");
        let whole = lines[range.clone()].concat();
        assert!(chunk.text.len() <= limits.bytes_max && whole.starts_with(&chunk.text), "{chunk:?}");
        assert!(chunk.comments.len() <= chunk.text.len() && chunk.calls.len() <= 200, "{chunk:?}");
        assert!(chunk.calls.iter().all(|name| !name.is_empty() && chunk.text.contains(name.as_str())), "{chunk:?}");
        let cut = !whole[chunk.text.len()..].trim_matches(['\r', '\n']).is_empty();
        assert!(!cut || range.len() == 1, "only a single line may be cut: {chunk:?}");
        covered[range].iter_mut().for_each(|count| *count += 1);
    }
    for (line, count) in lines.iter().zip(&covered) {
        assert!(*count > 0 || line.trim().is_empty(), "{line:?} is in no chunk of {text:?}");
        assert!(*count <= 1 || chunked.method != Method::Syntax, "{line:?} is in {count} chunks of {text:?}");
    }
    assert_eq!(chunked, chunk_source(language, text, limits), "the same text has the same chunks");
}

#[test]
fn rust_items() {
    check(
        Language::Rust,
        "//! Doc.\nuse a::b;\n\n/// A router.\n#[derive(Clone)]\nstruct Router {\n    a: u8,\n}\n\n\
         impl<T> fmt::Debug for Router<T> {\n    fn fmt(&self) {\n        one();\n    }\n}\n\n\
         impl Router {\n    const A: u8 = 1;\n\n    /// Adds.\n    #[inline]\n    pub fn route(&self) {\n        one();\n    }\n\n\
         \x20   fn merge(&self) {\n        let x = 1;\n        one();\n        two();\n    }\n}\n\n\
         mod inner {\n    fn one() {\n    }\n\n    fn two() {\n        one();\n    }\n}\n",
        &[
            "1-2 Module - []",
            "4-8 Definition Router [Router]",
            "10-14 Definition Router::fmt [fmt]",
            "16-17 Container Router [A]",
            "19-23 Definition Router::route [route]",
            "25-30 Definition Router::merge [merge]",
            "32-34 Definition inner::one [inner one]",
            "36-39 Definition inner::two [two]",
        ],
    );
}

#[test]
fn a_long_function_is_cut_at_its_statements() {
    check(
        Language::Rust,
        "fn long() {\n    let a = 1;\n    let b = call(\n        a,\n    );\n    // Loops.\n    for x in b {\n        \
         one(x);\n        two(x);\n    }\n    end();\n}\n",
        &["1-5 Definition long [long]", "6-10 Definition long []", "11-12 Definition long []"],
    );
}

#[test]
fn python_items() {
    check(
        Language::Python,
        "import os\nLIMIT = 3\n\n@cached\n# Why.\ndef top(a):\n    def helper():\n        local = 1\n    return a\n\n\
         class Outer(Base):\n    \"\"\"Doc.\"\"\"\n    field = 1\n\n    @property\n    def first(self):\n        return 1\n\n\
         \x20   class Inner:\n        async def second(self):\n            x = 1\n            return x\n",
        &[
            "1-2 Definition LIMIT [LIMIT]",
            "4-9 Definition top [top helper]",
            "11-13 Container Outer [Outer]",
            "15-17 Definition Outer.first [first]",
            "19-22 Container Outer.Inner [Inner second]",
        ],
    );
}

#[test]
fn javascript_items() {
    check(
        Language::JavaScript,
        "import x from 'x';\nexport const limit = 3, { a } = x;\n\n/** Doc. */\nexport class View extends Base {\n  \
         state = 1;\n\n  render() {\n    const local = 1;\n    return local;\n  }\n\n  handle = (event) => {\n    go(event);\n  };\n}\n\n\
         View.prototype.late = function () {\n  go();\n};\n\nexports.run = async () => {\n  go();\n};\n\n\
         (function () {\n  function inner() {\n    go();\n  }\n})();\n",
        &[
            "1-2 Definition limit [limit]",
            "4-5 Container View [View]",
            "6-11 Definition View.render [render]",
            "13-16 Definition View.handle [handle]",
            "18-20 Definition View.late [late]",
            "22-24 Definition run [run]",
            "26-30 Definition inner [inner]",
        ],
    );
}

#[test]
fn typescript_items() {
    let text = "export interface Shape {\n  area(): number;\n}\n\nnamespace Geo {\n  export type Id = string;\n\n  \
                export abstract class Square {\n    abstract side(): number;\n    area(): number {\n      return 1;\n    }\n  }\n}\n\n\
                declare function outer(a: string): void;\nenum Kind { A, B }\n";
    let expect = [
        "1-3 Definition Shape [Shape area]",
        "5-6 Container Geo [Geo Id]",
        "8-9 Container Geo.Square [Square side]",
        "10-14 Definition Geo.Square.area [area]",
        "16-17 Definition outer [outer Kind]",
    ];
    check(Language::TypeScript, text, &expect);
    check(Language::Tsx, text, &expect);
    check(Language::Tsx, "export const App = () => {\n  return <b>x</b>;\n};\n", &["1-3 Definition App [App]"]);
}

#[test]
fn go_items() {
    check(
        Language::Go,
        "package main\n\nimport (\n\t\"fmt\"\n)\n\n// Limit is it.\nconst Limit = 3\n\ntype (\n\tStore struct{}\n\tGetter interface {\n\t\t\
         Get() int\n\t}\n)\n\n// Put puts.\nfunc (s *Store[T]) Put(k string) {\n\tx := 1\n\tuse(x)\n}\n\nfunc main() {\n\tvar a = 1\n\tuse(a)\n}\n",
        &[
            "1-5 Module - []",
            "7-8 Definition Limit [Limit]",
            "10-15 Definition Store [Store Getter Get]",
            "17-21 Definition Store.Put [Put]",
            "23-26 Definition main [main]",
        ],
    );
}

#[test]
fn java_items() {
    check(
        Language::Java,
        "package a.b;\nimport java.util.List;\n\n/** Doc. */\n@Deprecated\npublic class Outer {\n  private int field;\n\n  \
         public Outer() {\n    field = 1;\n  }\n\n  static class Inner {\n    @Override\n    public int method() {\n      \
         return 1;\n    }\n    int other() {\n      return 2;\n    }\n  }\n}\n\nenum Kind { A; int code() { return 1; } }\ninterface I { void run(); }\n",
        &[
            "1-2 Module - []",
            "4-6 Container Outer [Outer]",
            "7-11 Definition Outer.Outer [Outer]",
            "13-17 Definition Outer.Inner.method [Inner method]",
            "18-22 Definition Outer.Inner.other [other]",
            "24-25 Container Kind [Kind code I run]",
        ],
    );
}

#[test]
fn c_items() {
    check(
        Language::C,
        "#ifndef A_H\n#define A_H\n#define LIMIT 3\n\n/* Doc. */\ntypedef struct node {\n  int value;\n  struct node *next;\n} node_t;\n\n\
         static char *name(struct node *n)\n{\n  int local = 1;\n  return 0;\n}\n\nint declared(void);\nextern int (*hook)(int);\n\n#endif\n",
        &[
            "1-3 Definition LIMIT [LIMIT]",
            "5-9 Definition node_t [node_t node]",
            "11-15 Definition name [name]",
            "17-20 Definition hook [declared hook]",
        ],
    );
}

#[test]
fn cpp_items() {
    let text = "#pragma once\n\nnamespace ns {\n\ntemplate <typename T>\nclass Box : public Base {\n public:\n  explicit Box(int a);\n  \
                ~Box() {\n    close();\n  }\n  int field;\n\n  bool operator==(const Box& o) const {\n    return true;\n  }\n};\n\n\
                template <typename T>\nint Box<T>::method(int a) {\n  return a;\n}\n\n}  // namespace ns\n";
    let expect = [
        "1-6 Container ns [Box]",
        "7-8 Definition ns::Box::Box [Box]",
        "9-11 Definition ns::Box::~Box [~Box]",
        "12-17 Definition ns::Box::operator== [operator==]",
        "19-24 Definition ns::Box::method [method]",
    ];
    check(Language::Cpp, text, &expect);
    // A header whose path says C.
    check(Language::C, text, &expect);
}

#[test]
fn small_neighbours_share_a_chunk() {
    let text = "use a;\nuse b;\n\nconst A: u8 = 1;\n\nfn one() {}\n\nfn two() {}\n";
    let chunked = chunk_source(Language::Rust, text, &ChunkLimits::default());
    assert_eq!(render(&chunked), ["1-8 Definition A [A one two]"]);
    assert_eq!(chunked.chunks[0].text, text.trim_end());
}

#[test]
fn what_does_not_parse_becomes_windows() {
    let reason = |language, text: &str, limits: &ChunkLimits| {
        let chunked = chunk_source(language, text, limits);
        assert_eq!(chunked.method, Method::Windows);
        check_invariants(language, text, limits);
        chunked.fallback
    };
    let prose = "Dear reader, this is no program; it's a letter!\n".repeat(20);
    let broken = reason(Language::Rust, &prose, &small()).unwrap();
    assert!(broken.ends_with("% of the file is not valid rust"), "{broken}");
    let hasty = ChunkLimits { parse_time_max: Duration::ZERO, ..small() };
    let late = reason(Language::Java, &"class A { int f() { return g(1); } }\n".repeat(2_000), &hasty);
    assert_eq!(late.as_deref(), Some("parsing took longer than 0 ms"));
    assert_eq!(reason(Language::Markdown, "text\n", &small()).as_deref(), Some("the document has no headings"));
    assert_eq!(reason(Language::Text, "text\n", &small()), None);
}

#[test]
fn one_error_does_not_spoil_a_file() {
    check(
        Language::Rust,
        "fn one() {\n    a();\n}\n\nfn two( {\n\nfn three() {\n    a();\n}\n",
        &["1-3 Definition one [one]", "5-9 Definition three [three]"],
    );
}

#[test]
fn long_lines_are_cut() {
    let limits = small();
    let text = format!("let a = 1;\nlet s = '{}';\nlet b = 2;\n", "é".repeat(400));
    check_invariants(Language::JavaScript, &text, &limits);
    let chunked = chunk_source(Language::JavaScript, &text, &limits);
    let long = &chunked.chunks[1];
    assert_eq!((long.start_line, long.end_line), (2, 2));
    assert!(long.text.len() <= 400 && long.text.len() > 390 && long.text.ends_with('é'));
}

#[test]
fn a_minified_file_is_one_chunk() {
    let text: String = (0..20_000).map(|at| format!("function f{at}(){{return {at}}}")).collect();
    let chunked = chunk_source(Language::JavaScript, &text, &small());
    let chunk = &chunked.chunks[0];
    assert_eq!((chunked.chunks.len(), chunk.text.len()), (1, 400));
    let shown = chunk.text.matches("function").count();
    assert_eq!(chunk.definitions.len(), shown, "what is cut off is not defined here");
}

#[test]
fn what_shares_a_line_with_a_container_is_kept() {
    check(
        Language::Cpp,
        "class A {\n  int f() {\n    return 1;\n  }\n\n  int g() {\n    return 2;\n  }\n}; class B {}; int h() { return 3; }\n",
        &["1-4 Definition A::f [A f]", "6-9 Definition A::g [g B h]"],
    );
}

#[test]
fn line_endings_and_empty_texts() {
    for language in Language::ALL {
        for text in ["", "\n", " \r\n\t\n", "\r"] {
            assert!(chunk_source(language, text, &small()).chunks.is_empty(), "{language} {text:?}");
        }
        check_invariants(language, "a = 1\rb = 2\rc", &small());
    }
    check(Language::Rust, "fn a() {\r\n    b();\r\n}\r\n\r\nfn c() {\r\n}\r\n", &["1-3 Definition a [a]", "5-6 Definition c [c]"]);
}

#[test]
fn zero_limits_still_make_progress() {
    let limits = ChunkLimits {
        lines_max: 0,
        lines_min: 0,
        window_lines: 0,
        window_overlap: 9,
        bytes_max: 0,
        parse_time_max: Duration::from_secs(60),
    };
    for language in Language::ALL {
        let chunked = chunk_source(language, "# é🦀\nfn a() {\n}\n", &limits);
        assert!(chunked.chunks.iter().all(|chunk| chunk.text.len() <= 4 && chunk.start_line == chunk.end_line));
        assert_eq!(chunked.chunks.len(), 3, "{language}");
    }
}

#[test]
fn deep_nesting_is_survived() {
    let cases = [
        (Language::Rust, "mod a {\n".repeat(3_000) + &"}\n".repeat(3_000)),
        (Language::Rust, "fn f() { ".to_owned() + &"(\n".repeat(20_000)),
        (Language::C, "#if A\nint a;\n".repeat(2_000)),
        (Language::C, "#if A\n".to_owned() + &"#elif B\nint b;\n".repeat(2_000) + "#endif\n"),
        (Language::Python, (0..300).map(|at| format!("{}class A:\n", " ".repeat(at))).collect()),
        (Language::JavaScript, "x = ".to_owned() + &"[{a:\n".repeat(5_000)),
        (Language::Go, "func (".repeat(3_000)),
    ];
    let limits = ChunkLimits { parse_time_max: Duration::from_secs(2), ..ChunkLimits::default() };
    for (language, text) in cases {
        check_invariants(language, &text, &limits);
    }
}

/// Texts of pieces that mean something to some language, in any order.
fn texts() -> impl Strategy<Value = String> {
    let fragments = [
        "\n",
        "\n",
        "\n\n",
        " ",
        "    ",
        "\t",
        "\r\n",
        "\r",
        "{",
        "}",
        "{\n",
        "}\n",
        "(",
        ")",
        ";\n",
        ":\n",
        "#",
        "# A\n",
        "===\n",
        "---\n",
        "```\n",
        "<!--",
        "/// doc\n",
        "// c\n",
        "/* x\n",
        "*/",
        "#[a]\n",
        "@d\n",
        "fn f() ",
        "impl X ",
        "mod m ",
        "struct S ",
        "def f(a)",
        "class C",
        "function f() ",
        "const a = () => ",
        "func (r *T) M() ",
        "type T struct ",
        "namespace n ",
        "template <class T>\n",
        "public:\n",
        "#ifdef A\n",
        "#else\n",
        "#endif\n",
        "int x = 1;\n",
        "return x;\n",
        "x\n",
        "\"",
        "'",
        "é",
        "🦀",
        "import a\n",
        "do |x|\n",
        "end\n",
        "defmodule M do\n",
        "@doc \"d\"\n",
        "-- | d\n",
        "f :: a\n",
        "f x = g x\n",
        "local x = ",
        "fun f() ",
        "object O ",
        "a.b(c)(d) ",
        "new A<b>() ",
        "m!(n(o)) ",
        "<?php ",
        "\"\"\"",
    ];
    proptest::collection::vec(proptest::sample::select(fragments.to_vec()), 0..120).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn every_line_is_in_a_chunk(text in texts(), at in 0..Language::ALL.len(), lines_max in 1u32..20, bytes_max in 4usize..300) {
        let limits = ChunkLimits { lines_max, bytes_max, lines_min: lines_max / 3, ..small() };
        check_invariants(Language::ALL[at], &text, &limits);
    }

    #[test]
    fn any_text_is_chunked(text in "\\PC*\n?\\PC*\n?\\PC*", at in 0..Language::ALL.len()) {
        check_invariants(Language::ALL[at], &text, &small());
    }
}
