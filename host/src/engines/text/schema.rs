//! The fields of a text index, and our tokenizer in tantivy's terms.

use tantivy::Index;
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{TextAnalyzer, Token, TokenStream};

use crate::index::tokenize::Tokenizer;

const TOKENIZER: &str = "spanloom";

/// What a text index is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One document for each chunk; phrases can be searched.
    Chunks,
    /// One document for each file; they can't.
    Files,
}

impl Kind {
    /// The field that holds the id, of a chunk or of a file's first chunk: documents are
    /// deleted by it.
    fn id(self) -> &'static str {
        match self {
            Kind::Chunks => "id",
            Kind::Files => "file",
        }
    }
}

/// How many text fields there are.
pub const FIELDS: usize = 4;
/// Their names, in the order of [`Fields::texts`].
pub const NAMES: [&str; FIELDS] = ["body", "names", "path", "comments"];
/// Those in which phrases are looked for: comments repeat words of the body.
pub const WITH_PHRASES: usize = 3;

/// A text index's fields.
pub struct Fields {
    /// `u64`, indexed and fast.
    pub id: Field,
    /// Terms with frequencies, those of chunks but for comments with positions.
    pub texts: [Field; FIELDS],
    /// `u64`, fast: how many terms each of `texts` has. Tantivy keeps that in one byte.
    pub lengths: [Field; FIELDS],
}

/// The name of the field with a text field's length.
pub fn length_name(text: &str) -> String {
    format!("{text}_length")
}

/// The schema of a new index.
pub fn schema(kind: Kind) -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let id = builder.add_u64_field(kind.id(), FAST | INDEXED);
    let texts = std::array::from_fn(|at| {
        let positions = kind == Kind::Chunks && at < WITH_PHRASES;
        let option = if positions { IndexRecordOption::WithFreqsAndPositions } else { IndexRecordOption::WithFreqs };
        let indexing = TextFieldIndexing::default().set_tokenizer(TOKENIZER).set_index_option(option);
        builder.add_text_field(NAMES[at], TextOptions::default().set_indexing_options(indexing))
    });
    let lengths = NAMES.map(|name| builder.add_u64_field(&length_name(name), FAST));
    (builder.build(), Fields { id, texts, lengths })
}

/// The fields of an index that is there.
///
/// # Errors
/// When it has others.
pub fn fields(kind: Kind, found: &Schema) -> tantivy::Result<Fields> {
    let all = |names: [String; FIELDS]| -> tantivy::Result<[Field; FIELDS]> {
        let mut fields = [Field::from_field_id(0); FIELDS];
        for (field, name) in fields.iter_mut().zip(names) {
            *field = found.get_field(&name)?;
        }
        Ok(fields)
    };
    Ok(Fields { id: found.get_field(kind.id())?, texts: all(NAMES.map(str::to_owned))?, lengths: all(NAMES.map(length_name))? })
}

/// Has an index that was made or opened cut texts as we do.
pub fn register(index: &Index) {
    index.tokenizers().register(TOKENIZER, TextAnalyzer::builder(Adapter::default()).build());
}

/// Our tokenizer in tantivy's terms.
#[derive(Clone, Default)]
struct Adapter {
    /// Those of the last text and of longer ones before it, made once and written over.
    tokens: Vec<Token>,
    tokenizer: Tokenizer,
}

/// Tokens that are kept for the next text: a chunk's, and most files'.
const TOKENS_KEPT_MAX: usize = 1 << 14;

struct Stream<'a> {
    tokens: &'a mut [Token],
    at: usize,
}

impl tantivy::tokenizer::Tokenizer for Adapter {
    type TokenStream<'a> = Stream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Stream<'a> {
        let tokens = &mut self.tokens;
        tokens.truncate(TOKENS_KEPT_MAX);
        let mut count = 0;
        self.tokenizer.terms(text, &mut |term, position| {
            match tokens.get_mut(count) {
                Some(token) => {
                    token.position = position;
                    token.text.clear();
                    token.text.push_str(term);
                }
                None => tokens.push(Token { position, text: term.to_owned(), ..Token::default() }),
            }
            count += 1;
        });
        Stream { tokens: &mut tokens[..count], at: 0 }
    }
}

impl TokenStream for Stream<'_> {
    fn advance(&mut self) -> bool {
        self.at += 1;
        self.at <= self.tokens.len()
    }

    fn token(&self) -> &Token {
        &self.tokens[self.at - 1]
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.tokens[self.at - 1]
    }
}
