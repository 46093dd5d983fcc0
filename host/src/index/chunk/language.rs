//! The languages that chunking tells apart, and which file has which.

use std::fmt;
use std::str::FromStr;

/// The language of a file. [`Language::Text`] is everything that has no method of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    Rust,
    Python,
    JavaScript,
    TypeScript,
    Tsx,
    Go,
    Java,
    C,
    Cpp,
    CSharp,
    Kotlin,
    Scala,
    Dart,
    Swift,
    Zig,
    Ruby,
    Php,
    Lua,
    Bash,
    Elixir,
    Haskell,
    Markdown,
    Text,
}

/// A name that no [`Language`] has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLanguage {
    pub name: String,
}

impl Language {
    pub const ALL: [Language; 23] = [
        Language::Rust,
        Language::Python,
        Language::JavaScript,
        Language::TypeScript,
        Language::Tsx,
        Language::Go,
        Language::Java,
        Language::C,
        Language::Cpp,
        Language::CSharp,
        Language::Kotlin,
        Language::Scala,
        Language::Dart,
        Language::Swift,
        Language::Zig,
        Language::Ruby,
        Language::Php,
        Language::Lua,
        Language::Bash,
        Language::Elixir,
        Language::Haskell,
        Language::Markdown,
        Language::Text,
    ];

    /// The language of a file: by its path, else by the interpreter that its first line asks for (`#!/usr/bin/env bash`).
    pub fn of(path: &str, text: &str) -> Language {
        match Language::of_path(path) {
            Language::Text => interpreter(text).unwrap_or(Language::Text),
            known => known,
        }
    }

    /// The language by the extension of a path, in any case; `/` and `\` both separate folders. A `.h` file is C here;
    /// chunking reads it as C++ if it looks so.
    pub fn of_path(path: &str) -> Language {
        let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
        let Some((_, extension)) = file.rsplit_once('.') else {
            return match file {
                "SConstruct" | "SConscript" | "wscript" => Language::Python,
                "Rakefile" | "Gemfile" | "Podfile" | "Vagrantfile" | "Guardfile" | "Fastfile" | "Capfile" | "Brewfile" => Language::Ruby,
                "PKGBUILD" | "APKBUILD" => Language::Bash,
                _ => Language::Text,
            };
        };
        match extension.to_ascii_lowercase().as_str() {
            "rs" => Language::Rust,
            "py" | "pyi" | "pyw" => Language::Python,
            "js" | "mjs" | "cjs" | "jsx" => Language::JavaScript,
            "ts" | "mts" | "cts" => Language::TypeScript,
            "tsx" => Language::Tsx,
            "go" => Language::Go,
            "java" => Language::Java,
            "c" | "h" => Language::C,
            "cc" | "cpp" | "cxx" | "c++" | "hh" | "hpp" | "hxx" | "h++" | "inl" | "ipp" | "tpp" | "cu" | "cuh" => Language::Cpp,
            "cs" | "csx" => Language::CSharp,
            "kt" | "kts" => Language::Kotlin,
            "scala" | "sc" | "sbt" => Language::Scala,
            "dart" => Language::Dart,
            "swift" => Language::Swift,
            "zig" => Language::Zig,
            "rb" | "rake" | "gemspec" | "ru" | "podspec" => Language::Ruby,
            "php" | "phtml" => Language::Php,
            "lua" | "rockspec" => Language::Lua,
            "sh" | "bash" | "zsh" | "ksh" | "bats" | "ebuild" | "bashrc" | "bash_profile" | "profile" | "zshrc" => Language::Bash,
            "ex" | "exs" => Language::Elixir,
            "hs" | "hsc" => Language::Haskell,
            "md" | "markdown" | "mdown" | "mkd" | "mdx" => Language::Markdown,
            _ => Language::Text,
        }
    }

    /// The name in indexes and filters: lower case, unique, and read back by [`str::parse`].
    pub fn as_str(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::Python => "python",
            Language::JavaScript => "javascript",
            Language::TypeScript => "typescript",
            Language::Tsx => "tsx",
            Language::Go => "go",
            Language::Java => "java",
            Language::C => "c",
            Language::Cpp => "cpp",
            Language::CSharp => "csharp",
            Language::Kotlin => "kotlin",
            Language::Scala => "scala",
            Language::Dart => "dart",
            Language::Swift => "swift",
            Language::Zig => "zig",
            Language::Ruby => "ruby",
            Language::Php => "php",
            Language::Lua => "lua",
            Language::Bash => "bash",
            Language::Elixir => "elixir",
            Language::Haskell => "haskell",
            Language::Markdown => "markdown",
            Language::Text => "text",
        }
    }
}

/// The language of the interpreter in a `#!` line, without its version (`python3.12`).
fn interpreter(text: &str) -> Option<Language> {
    let line = text.strip_prefix("#!")?.lines().next()?;
    let words = line.split_ascii_whitespace().filter(|word| !word.starts_with('-') && !word.contains('='));
    let program = words.map(|word| word.rsplit('/').next().unwrap_or(word)).find(|word| *word != "env")?;
    let program = program.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    Some(match program {
        "sh" | "bash" | "dash" | "ash" | "ksh" | "zsh" | "bats" => Language::Bash,
        "python" | "pypy" => Language::Python,
        "ruby" | "jruby" => Language::Ruby,
        "lua" | "luajit" | "texlua" => Language::Lua,
        "node" | "nodejs" => Language::JavaScript,
        "deno" | "bun" | "ts-node" | "tsx" => Language::TypeScript,
        "php" => Language::Php,
        "elixir" => Language::Elixir,
        "runhaskell" | "runghc" => Language::Haskell,
        "kotlin" => Language::Kotlin,
        "scala" | "scala-cli" => Language::Scala,
        "swift" => Language::Swift,
        "dart" => Language::Dart,
        _ => return None,
    })
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Language {
    type Err = UnknownLanguage;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Language::ALL.into_iter().find(|l| l.as_str() == name);
        found.ok_or_else(|| UnknownLanguage { name: name.to_owned() })
    }
}

impl fmt::Display for UnknownLanguage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no language is called {:?}; there are", self.name)?;
        for (at, language) in Language::ALL.iter().enumerate() {
            write!(f, "{} {language}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownLanguage {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_languages() {
        let check = |path: &str, expect: Language| assert_eq!(Language::of_path(path), expect, "{path}");
        check("src/lib.rs", Language::Rust);
        check("a/b.PYI", Language::Python);
        check("web\\app.jsx", Language::JavaScript);
        check("x.mts", Language::TypeScript);
        check("x.tsx", Language::Tsx);
        check("main.go", Language::Go);
        check("A.java", Language::Java);
        check("include/a.h", Language::C);
        check("a.cu", Language::Cpp);
        check("README.md", Language::Markdown);
        check("scons/SConstruct", Language::Python);
        check("a/Rakefile", Language::Ruby);
        check("home/.bashrc", Language::Bash);
        check("a.cs", Language::CSharp);
        check("build.gradle.kts", Language::Kotlin);
        check("v1.rs/Makefile", Language::Text);
        check("LICENSE", Language::Text);
        check(".rs", Language::Rust);
        check("", Language::Text);
    }

    #[test]
    fn interpreters_have_languages() {
        let check = |path: &str, line: &str, expect: Language| {
            assert_eq!(Language::of(path, &format!("{line}\nx\n")), expect, "{path} {line}");
        };
        check("bin/run", "#!/usr/bin/env bash", Language::Bash);
        check("bin/run", "#! /bin/sh -e", Language::Bash);
        check("bin/run", "#!/usr/bin/env -S PATH=/x python3.12 -u\r", Language::Python);
        check("bin/run", "#!/usr/bin/ruby", Language::Ruby);
        check("bin/run", "#!/usr/bin/env lua5.4", Language::Lua);
        check("bin/run.in", "#!/usr/bin/env node", Language::JavaScript);
        check("bin/run.py", "#!/bin/sh", Language::Python);
        check("bin/run", "#!/usr/bin/perl", Language::Text);
        check("bin/run", "#!", Language::Text);
        check("bin/run", "# bash", Language::Text);
    }

    #[test]
    fn names_are_read_back() {
        for language in Language::ALL {
            assert_eq!(language.as_str().parse(), Ok(language));
        }
        let error = "cobol".parse::<Language>().unwrap_err().to_string();
        assert!(error.contains("\"cobol\"; there are rust, python,"), "{error}");
    }
}
