//! Cuts one source file into the chunks that are indexed. In: a language and a text. Out: chunks with their lines,
//! symbols and text, and which method made them.
//!
//! Code follows its syntax tree ([`Method::Syntax`]): neighbouring small items share a chunk, a large container is cut
//! into its members, a large function at its statements (the recursion of cAST, Zhang et al., 2025; here over lines, so
//! that chunks end where lines end). Markdown follows its headings. Everything else, and code that does not parse,
//! becomes overlapping windows of lines. Whatever the method, every line that is not blank is in at least one chunk.

mod definitions;
mod grammar;
mod language;
mod lines;
mod markdown;
mod mentions;
mod names;
mod passages;
mod pieces;
mod syntax;
mod tables;
#[cfg(test)]
mod tests;
mod windows;

use std::time::Duration;

pub use language::{Language, UnknownLanguage};
use lines::Lines;
pub use passages::chunk_record;

/// Chunks `text`, in the order of their first lines. A text without any visible character has no chunks.
///
/// Lines are counted by `\n`, so a file with lone `\r` endings is one line. Nothing fails: when a language's own method
/// cannot be used, windows are made and [`Chunked::fallback`] says why.
pub fn chunk_source(language: Language, text: &str, limits: &ChunkLimits) -> Chunked {
    let limits = limits.checked();
    let lines = Lines::of(text);
    let refused = match language {
        Language::Text => None,
        Language::Markdown => match markdown::chunks(&lines, &limits) {
            Some(chunks) => return Chunked::by(Method::Headings, chunks),
            None => Some("the document has no headings".to_owned()),
        },
        code => match on_deep_stack(text.len(), || syntax::chunks(code, &lines, &limits)) {
            Ok(chunks) => return Chunked::by(Method::Syntax, chunks),
            Err(reason) => Some(reason),
        },
    };
    Chunked { fallback: refused, ..Chunked::by(Method::Windows, windows::chunks(&lines, &limits)) }
}

/// Texts up to this size are parsed on any stack: 8 KiB can't nest deeper than 1 MiB holds.
const SHALLOW_BYTES: usize = 8 << 10;
/// Stack for each byte of a longer text. Tree-sitter frees the stack of its parser by recursion, with
/// some 100 bytes a level, and each byte may open one.
const STACK_BYTES_PER_BYTE: usize = 256;

/// Runs a parse on a stack that no nesting in a text of that size exhausts. Only what is used of it
/// takes memory.
fn on_deep_stack<T: Send>(text_bytes: usize, parse: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    if text_bytes <= SHALLOW_BYTES {
        return parse();
    }
    std::thread::scope(|scope| {
        let stack = text_bytes.saturating_mul(STACK_BYTES_PER_BYTE);
        match std::thread::Builder::new().stack_size(stack).spawn_scoped(scope, parse) {
            // A panic there goes on here.
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => Err(format!("there is no room to parse {text_bytes} bytes: {error}")),
        }
    })
}

/// One stretch of whole lines of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The first line, counted from 1.
    pub start_line: u32,
    /// The last line, counted from 1, inclusive.
    pub end_line: u32,
    /// The main symbol, qualified with its containers (`Router::route`, `Class.method`, `Guide > Install`): the one that
    /// takes more than half of the lines, else the first. None for windows and for code that defines nothing.
    pub symbol: Option<String>,
    pub kind: ChunkKind,
    /// The names, without their containers, of what is defined here (in Markdown: the headings), in order, each once.
    /// A function that was cut in pieces is defined in the first.
    pub definitions: Vec<String>,
    /// The comments and documentation strings among the lines, without their marks.
    pub comments: String,
    /// The names, without receivers or modules, of what is called here, in order, each once.
    pub calls: Vec<String>,
    /// The lines as they stand in the file, without the last line ending. At most [`ChunkLimits::bytes_max`] bytes: a
    /// single line that is longer is cut there, at a character border.
    pub text: String,
}

/// What a chunk mostly is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChunkKind {
    /// A function, a type or a value, or a piece of one.
    Definition,
    /// A class, impl, trait, module or namespace: as a whole, or its head with small members.
    Container,
    /// A section of a document, or a part of one.
    Section,
    /// Lines without regard to their meaning.
    Window,
    /// Statements of a file that define nothing, such as imports.
    Module,
}

/// How the chunks of a file were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// From the syntax tree; the chunks do not overlap.
    Syntax,
    /// From Markdown headings; only the parts of a long section overlap.
    Headings,
    /// Windows of lines that overlap by [`ChunkLimits::window_overlap`].
    Windows,
}

/// The chunks of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunked {
    pub chunks: Vec<Chunk>,
    pub method: Method,
    /// Why the method is not the one that the language would have; None if it is.
    pub fallback: Option<String>,
}

impl Chunked {
    fn by(method: Method, chunks: Vec<Chunk>) -> Chunked {
        Chunked { chunks, method, fallback: None }
    }
}

/// How large chunks may be and how long a parse may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkLimits {
    /// The most lines of a chunk of code or of a section, at least 1.
    pub lines_max: u32,
    /// Items with fewer lines are merged with their neighbours where [`Self::lines_max`] allows it.
    pub lines_min: u32,
    /// The lines of a window, at least 1.
    pub window_lines: u32,
    /// The lines that a window repeats of the one before; at most half of that window.
    pub window_overlap: u32,
    /// The most bytes of a chunk's text, at least 4 (one character).
    pub bytes_max: usize,
    /// The time after which a parse is given up for windows; bounds what hostile or generated input can cost.
    pub parse_time_max: Duration,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        ChunkLimits {
            lines_max: 60,
            lines_min: 8,
            window_lines: 40,
            window_overlap: 8,
            bytes_max: 8_000,
            parse_time_max: Duration::from_secs(2),
        }
    }
}

impl ChunkLimits {
    /// The same limits, raised to the smallest that allow progress.
    fn checked(&self) -> ChunkLimits {
        ChunkLimits {
            lines_max: self.lines_max.max(1),
            window_lines: self.window_lines.max(1),
            bytes_max: self.bytes_max.max(4),
            ..self.clone()
        }
    }
}
