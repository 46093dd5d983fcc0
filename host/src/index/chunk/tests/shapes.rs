//! Long and nested definitions, comments and what they describe, and what an edit moves.

use super::*;

fn symbols(chunked: &Chunked) -> Vec<(u32, &str)> {
    chunked.chunks.iter().map(|chunk| (chunk.start_line, chunk.symbol.as_deref().unwrap_or("-"))).collect()
}

#[test]
fn classes_in_classes_are_cut_by_their_members() {
    let text = "class A {\n  class B {\n    class C {\n      void f() {\n        g();\n      }\n\n      void h() {\n        g();\n      }\n    }\n  }\n}\n";
    let chunked = chunk_source(Language::Java, text, &small());
    assert_eq!(symbols(&chunked), [(1, "A.B.C.f"), (8, "A.B.C.h")]);
}

#[test]
fn what_a_long_function_defines_names_its_pieces() {
    let inner = |name: &str| format!("    def {name}(x):\n        one(x)\n        two(x)\n        return x\n\n");
    let text = format!("class App:\n  def create(self):\n    app = make()\n\n{}{}    return app\n", inner("index"), inner("show"));
    let chunked = chunk_source(Language::Python, &text, &small());
    assert_eq!(symbols(&chunked), [(1, "App.create"), (5, "App.create.index"), (10, "App.create.show")]);
}

#[test]
fn long_bodies_are_cut_between_their_parts() {
    let arm = |at: usize| format!("        {at} => {{\n            call{at}(\n                x,\n            );\n        }}\n");
    let text = format!("fn f(x: u8) {{\n    match x {{\n{}    }}\n}}\n", (0..400).map(arm).collect::<String>());
    let limits = ChunkLimits::default();
    check_invariants(Language::Rust, &text, &limits);
    let chunked = chunk_source(Language::Rust, &text, &limits);
    assert!(chunked.chunks.len() > 30);
    for chunk in &chunked.chunks[1..] {
        assert!(chunk.text.trim_start().contains(" => {") && chunk.text.lines().next().unwrap().ends_with(" => {"), "{}", chunk.text);
        assert_eq!(chunk.symbol.as_deref(), Some("f"));
    }
    let list = format!("LIST = [\n{}]\n", (0..2_000).map(|at| format!("    {at},\n")).collect::<String>());
    check_invariants(Language::Python, &list, &limits);
    let chunked = chunk_source(Language::Python, &list, &limits);
    assert!(chunked.chunks.iter().all(|chunk| chunk.symbol.as_deref() == Some("LIST")));
}

#[test]
fn comments_stay_with_what_they_describe() {
    let starts = |language, text: &str| chunk_source(language, text, &small()).chunks.iter().map(|c| c.start_line).collect::<Vec<_>>();
    let body = " {\n    a();\n    b();\n}\n";
    // Without a blank line, with one, and as documentation with one.
    assert_eq!(starts(Language::Rust, &format!("fn a(){body}\n// C.\n// C.\nfn b(){body}")), [1, 6]);
    assert_eq!(starts(Language::Rust, &format!("fn a(){body}\n// C.\n// C.\n\nfn b(){body}")), [1, 6, 9]);
    assert_eq!(starts(Language::Rust, &format!("fn a(){body}\n/// C.\n\nfn b(){body}")), [1, 6]);
    assert_eq!(starts(Language::Java, &format!("class A {{\nvoid a(){body}\n/** C. */\n\n@B void b() {{\n    a();\n}}\n}}\n")), [1, 7]);
    assert_eq!(starts(Language::Haskell, "a x =\n  b\n  c\n\n-- | D\n\nd :: e\n\nd x =\n  f\n"), [1, 5]);
}

/// How many chunks of `after` are not in `before`, by their text.
fn moved(language: Language, before: &str, after: &str) -> usize {
    let texts =
        |text: &str| chunk_source(language, text, &ChunkLimits::default()).chunks.into_iter().map(|chunk| chunk.text).collect::<Vec<_>>();
    let before = texts(before);
    assert!(before.len() > 12, "{}", before.len());
    texts(after).iter().filter(|text| !before.contains(text)).count()
}

#[test]
fn an_edit_moves_only_what_is_near() {
    let constants = |from: usize| (from..800).map(|at| format!("const A{at}: u32 = {};\n", at * 7)).collect::<String>();
    let edited = format!("const NEW: u32 = 1;\nconst NEXT: u32 = 1;\n{}", constants(0));
    assert!(moved(Language::Rust, &constants(0), &edited) <= 4);

    let statements = |from: usize| (from..1_500).map(|at| format!("    call_{at}({});\n", at * 3)).collect::<String>();
    let function = |more: &str| format!("void f() {{\n{more}{}}}\n", statements(0));
    assert!(moved(Language::C, &function(""), &function("    one();\n    two();\n    three();\n")) <= 4);

    let functions = |more: &str| {
        (0..40)
            .map(|at| {
                format!(
                    "def f{at}():\n{}    return {at}\n\n",
                    if at == 20 { more } else { "" }.to_owned() + &"    g()\n".repeat(12 + at % 7)
                )
            })
            .collect::<String>()
    };
    assert_eq!(moved(Language::Python, &functions(""), &functions("    h()\n")), 1);
}

#[test]
fn no_text_is_too_deep_or_too_odd() {
    // A parse that fails may take all the time that it has.
    let limits = ChunkLimits { parse_time_max: Duration::from_millis(300), ..ChunkLimits::default() };
    let binary: String = (0..60_000u32).map(|at| char::from((at * 7919 % 251) as u8)).collect();
    for language in Language::ALL {
        for text in ["(".repeat(100_000), "[{".repeat(50_000), "a(".repeat(50_000), binary.clone()] {
            let chunked = chunk_source(language, &text, &limits);
            assert!(!chunked.chunks.is_empty(), "{language}");
        }
    }
}
