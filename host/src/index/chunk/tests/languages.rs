//! A small file in each language: what its chunks define, call and say. The files and what is expected of them are in
//! `samples/`, a line for each chunk.

use super::*;

fn check_sample(language: Language, text: &str, expect: &str) {
    let chunked = chunk_source(language, text, &small());
    assert_eq!(chunked.fallback, None, "{language}");
    let lines = render(&chunked).into_iter().zip(&chunked.chunks).map(|(line, chunk)| {
        let calls = if chunk.calls.is_empty() { String::new() } else { format!(" calls {}", chunk.calls.join(" ")) };
        let says = if chunk.comments.is_empty() { String::new() } else { format!(" says {:?}", chunk.comments) };
        format!("{line}{calls}{says}\n")
    });
    assert_eq!(lines.collect::<String>(), expect, "{language}");
    check_invariants(language, text, &small());
    check_invariants(language, text, &ChunkLimits::default());
}

macro_rules! samples {
    ($($test:ident: $language:ident, $file:literal;)*) => {$(
        #[test]
        fn $test() {
            let text = include_str!(concat!("samples/", $file));
            check_sample(Language::$language, text, include_str!(concat!("samples/", $file, ".chunks")));
            assert_eq!(Language::of($file, text), Language::$language);
        }
    )*};
}

samples! {
    csharp: CSharp, "orders.cs";
    ruby: Ruby, "orders.rb";
    php: Php, "orders.php";
    kotlin: Kotlin, "orders.kt";
    scala: Scala, "orders.scala";
    scala_by_indentation: Scala, "colors.scala";
    swift: Swift, "orders.swift";
    lua: Lua, "orders.lua";
    bash: Bash, "orders.sh";
    elixir: Elixir, "orders.ex";
    haskell: Haskell, "Orders.hs";
    zig: Zig, "orders.zig";
    dart: Dart, "orders.dart";
}

/// The calls and comments of a text that is one chunk.
fn check_mentions(language: Language, text: &str, calls: &str, comments: &str) {
    let chunked = chunk_source(language, text, &ChunkLimits::default());
    let [chunk] = chunked.chunks.as_slice() else { panic!("{language}: {chunked:?}") };
    assert_eq!(chunk.calls.join(" "), calls, "{text}");
    assert_eq!(chunk.comments, comments, "{text}");
}

#[test]
fn calls_and_comments_of_the_older_languages() {
    check_mentions(
        Language::Rust,
        "/// Adds one.\n#[derive(Debug)]\nfn f() {\n    // Loops.\n    let v = a::b::<T>(x).collect::<Vec<_>>(); /* to\n     * the end */\n    \
         format!(\"{}\", g(1));\n    Point { x: Self::new() }\n}\n",
        "b collect format g Point new",
        "Adds one.\nLoops.\nto\nthe end",
    );
    check_mentions(
        Language::Python,
        "#!/usr/bin/env python\n@app.route\n@cached(3)\ndef f():\n    r\"\"\"Says 'it'.\n\n    * More.\n    \"\"\"\n    x = 'no'\n    \
         return super().g(lambda: h.i(f\"{j(x)}\"))(1)\n",
        "route cached g i j",
        "/usr/bin/env python\nSays 'it'.\n* More.",
    );
    check_mentions(
        Language::JavaScript,
        "/** Doc.\n * @param a\n **/\nconst f = async () => {\n  await new api.Client(a).send?.(b);\n  (function () {})();\n  tag`x`; //\n};\n",
        "Client send tag",
        "Doc.\n@param a",
    );
    check_mentions(Language::Tsx, "const A = () => <View.Row a={make<T>(1)} />; // <A>\n", "Row make", "<A>");
    check_mentions(
        Language::Go,
        "// Put puts.\nfunc (s *S) Put() {\n\ts.m.Lock()\n\tx := []string{\"a\"}\n\ty := Point{1}\n\treturn gen[int](x, map[string]int{}, &pkg.T{})\n}\n",
        "Lock Point gen T",
        "Put puts.",
    );
    check_mentions(
        Language::Java,
        "/* A */ class A {\n  // b\n  int f() { return this.g(new ArrayList<String>()).h(Map.Entry::getKey); }\n}\n",
        "g ArrayList h",
        "A\nb",
    );
    check_mentions(Language::C, "/* a */\nint f(void) {\n  return g(*p) + s->h(1); // b\n}\n", "g h", "a\nb");
    check_mentions(
        Language::Cpp,
        "/// a\nint f() {\n  auto p = new ns::Box<int>(1);\n  return std::max<int>(p->get(), a.b<T>());\n}\n",
        "Box max get b",
        "a",
    );
}

#[test]
fn a_piece_of_a_function_has_what_stands_in_its_lines() {
    let text = "fn long() {\n    one(\n        two(),\n    );\n    // Three\n    // comes.\n    three();\n    /* Four\n\n    comes. */\n    four();\n    one();\n}\n";
    let chunked = chunk_source(Language::Rust, text, &small());
    let found: Vec<_> = chunked.chunks.iter().map(|chunk| (chunk.start_line, chunk.calls.join(" "), chunk.comments.as_str())).collect();
    assert_eq!(found, [(1, "one two".into(), ""), (5, "three".into(), "Three\ncomes."), (8, "four one".into(), "Four\ncomes.")]);
}

#[test]
fn calls_are_bounded() {
    let text: String = (0..500).map(|at| format!("f{at}(); ")).collect();
    let chunked = chunk_source(Language::C, &format!("void f() {{ {text} }}\n"), &ChunkLimits::default());
    assert_eq!(chunked.chunks[0].calls.len(), 200);
    let limits = ChunkLimits { bytes_max: 40, ..ChunkLimits::default() };
    let cut = &chunk_source(Language::C, &format!("void f() {{ {text} /* c */ }}\n"), &limits).chunks[0];
    assert_eq!((cut.calls.join(" ").as_str(), cut.comments.as_str()), ("f0 f1 f2 f3 f4", ""), "{}", cut.text);
}
