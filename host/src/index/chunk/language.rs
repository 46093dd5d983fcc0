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
    Markdown,
    Text,
}

/// A name that no [`Language`] has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLanguage {
    pub name: String,
}

impl Language {
    pub const ALL: [Language; 11] = [
        Language::Rust,
        Language::Python,
        Language::JavaScript,
        Language::TypeScript,
        Language::Tsx,
        Language::Go,
        Language::Java,
        Language::C,
        Language::Cpp,
        Language::Markdown,
        Language::Text,
    ];

    /// The language by the extension of a path, in any case; `/` and `\` both separate folders. A `.h` file is C here;
    /// chunking reads it as C++ if it looks so.
    pub fn of_path(path: &str) -> Language {
        let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
        let Some((_, extension)) = file.rsplit_once('.') else {
            return match file {
                "SConstruct" | "SConscript" | "wscript" => Language::Python,
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
            Language::Markdown => "markdown",
            Language::Text => "text",
        }
    }
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
        check("v1.rs/Makefile", Language::Text);
        check("LICENSE", Language::Text);
        check(".rs", Language::Rust);
        check("", Language::Text);
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
