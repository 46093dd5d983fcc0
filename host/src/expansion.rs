//! The weighted terms of a query: its own, what its words are called elsewhere, and words
//! that are written as one in code. In: the text and its terms. Out: terms with weights.
//!
//! Co-occurrence learned from the corpus was measured against the fixed table here and did
//! not win; `docs/quality.md` has the figures.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::engines::text::TextError;
use crate::index::tokenize::{Tokenizer, is_stop_word, lower_parts};

/// Words of a query that are joined; later ones are left out.
const WORDS_MAX: usize = 64;
/// Joined words, and related terms, of a query.
const ADDED_MAX: usize = 32;
/// How many words are joined at most.
const JOINED_MAX: usize = 3;

/// What the terms of a query weigh that are not simply its own, 0 to 1; 0 leaves them out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpansionSettings {
    /// Names of programming languages, beside other terms: they say in what, not what.
    pub language_weight: f64,
    /// Words side by side that something is named with as one: `JSON object` and `JsonObject`.
    pub joined_weight: f64,
    /// Other words of programmers for the same thing: `param` and `parameter`.
    pub related_weight: f64,
}

impl Default for ExpansionSettings {
    fn default() -> Self {
        ExpansionSettings { language_weight: 0.25, joined_weight: 0.5, related_weight: 0.25 }
    }
}

/// Names of programming languages as terms.
const LANGUAGES: &[&str] = &[
    "python",
    "python3",
    "golang",
    "rust",
    "java",
    "javascript",
    "typescript",
    "ruby",
    "php",
    "kotlin",
    "scala",
    "swift",
    "perl",
    "lua",
    "csharp",
    "haskell",
    "elixir",
    "zig",
    "bash",
];

/// In each line the first word and the others stand for one another.
const RELATED: &str = "\
str string
int integer
num number
bool boolean
char character
dict dictionary map mapping
list array vector
len length size count
param parameter argument
arg argument parameter
kwarg keyword
func function method
obj object
attr attribute property
prop property
var variable
val value
idx index
elem element item
msg message
ctx context
cfg config configuration settings
opt option
auth authentication authorization
init initialize constructor
del delete remove
rm remove delete
fetch get retrieve load
add append insert
find search lookup
check verify validate
err error exception
exc exception
req request
res response
resp response
conn connection
addr address
dir directory folder
file filename
img image picture
doc document
db database
tbl table
col column
avg average mean
std deviation
min minimum
max maximum
sum total
rand random
gen generate
calc calculate compute
convert transform cast
ser serialize encode marshal
deser deserialize decode unmarshal
sep separator delimiter
regex pattern regexp
tmp temporary
temp temporary
src source
dst destination target
dest destination
prev previous
cur current
curr current
ts timestamp
sec second
ms millisecond
env environment
pkg package
mod module
lib library
cmd command
proc process
exec execute run
sync synchronous synchronize
async asynchronous
mem memory
buf buffer
ptr pointer
ref reference
iter iterate iterator
cb callback
evt event
btn button
win window
fmt format
print output display
log logging logger
fig figure
df dataframe
url uri link
uuid identifier
usr user
pwd password
perm permission
hdr header
impl implementation
info information
desc description
spec specification
ver version
eq equal
cmp compare
neg negative
pos position
coord coordinate
dim dimension
dup duplicate
uniq unique distinct
rev reverse
empty null none
concat concatenate join merge
split divide separate
strip trim
replace substitute
copy clone
write save store
send transmit emit
recv receive
start begin launch
stop terminate kill
wait sleep delay
close shutdown
route endpoint
mw middleware
hash digest
crypt encrypt
stmt statement
expr expression
ws websocket
ext extension
prefix startswith
suffix endswith
zip compress
thread concurrent parallel";

/// Stem → stems of the words that stand for it.
static TABLE: LazyLock<BTreeMap<String, Vec<String>>> = LazyLock::new(|| {
    let tokenizer = Tokenizer::default();
    let mut table: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut relate = |one: &str, other: &str| {
        let related = table.entry(one.to_owned()).or_default();
        if one != other && !related.iter().any(|known| known == other) {
            related.push(other.to_owned());
        }
    };
    for line in RELATED.lines() {
        let stems: Vec<String> = line.split(' ').map(|word| tokenizer.stem(word)).collect();
        for other in &stems[1..] {
            relate(&stems[0], other);
            relate(other, &stems[0]);
        }
    }
    table
});

static LANGUAGE_STEMS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let tokenizer = Tokenizer::default();
    LANGUAGES.iter().map(|name| tokenizer.stem(name)).collect()
});

/// The terms of a query with their weights: `terms` first, then joined words in the order
/// of the text, then related ones. `is_name` says whether something of the index is
/// defined with a term in its name.
///
/// # Errors
/// What `is_name` says.
pub fn weighted(
    text: &str,
    terms: &[String],
    is_name: &dyn Fn(&str) -> Result<bool, TextError>,
    settings: &ExpansionSettings,
) -> Result<Vec<(String, f32)>, TextError> {
    let is_language = |term: &String| LANGUAGE_STEMS.contains(term);
    let language_weight = if terms.iter().all(is_language) { 1.0 } else { settings.language_weight };
    let mut weighted: Vec<(String, f32)> = terms
        .iter()
        .map(|term| (term.clone(), if is_language(term) { language_weight as f32 } else { 1.0 }))
        .filter(|(_, weight)| *weight > 0.0)
        .collect();
    if settings.joined_weight > 0.0 {
        let mut added = 0;
        for joined in joined(text) {
            if added < ADDED_MAX && !has(&weighted, &joined) && is_name(&joined)? {
                weighted.push((joined, settings.joined_weight as f32));
                added += 1;
            }
        }
    }
    if settings.related_weight > 0.0 {
        let related = terms.iter().filter(|term| !is_language(term)).filter_map(|term| TABLE.get(term)).flatten();
        let mut added = 0;
        for term in related {
            if added < ADDED_MAX && !has(&weighted, term) && !terms.contains(term) {
                weighted.push((term.clone(), settings.related_weight as f32));
                added += 1;
            }
        }
    }
    Ok(weighted)
}

fn has(weighted: &[(String, f32)], term: &str) -> bool {
    weighted.iter().any(|(known, _)| known == term)
}

/// Two and three words side by side, written as one, also with the last one's plural
/// ending off. None begins or ends with a stop word.
fn joined(text: &str) -> Vec<String> {
    let parts: Vec<String> = lower_parts(text).take(WORDS_MAX).collect();
    let mut found = Vec::new();
    for count in 2..=JOINED_MAX {
        for words in parts.windows(count) {
            let [first, .., last] = words else { continue };
            if is_stop_word(first) || is_stop_word(last) {
                continue;
            }
            found.push(words.concat());
            if let Some(singular) = singular(last) {
                found.push(words[..count - 1].concat() + &singular);
            }
        }
    }
    found
}

/// A word without its plural ending, if it seems to have one.
fn singular(word: &str) -> Option<String> {
    match word.strip_suffix("ies") {
        Some(rest) if rest.len() > 1 => Some(format!("{rest}y")),
        _ if word.len() > 3 && !word.ends_with("ss") => word.strip_suffix('s').map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, names: &[&str], expect: &[(&str, f32)]) {
        let terms = Tokenizer::default().query_terms(text);
        let is_name = |term: &str| Ok(names.contains(&term));
        let got = weighted(text, &terms, &is_name, &ExpansionSettings::default()).unwrap();
        let got: Vec<(&str, f32)> = got.iter().map(|(term, weight)| (term.as_str(), *weight)).collect();
        assert_eq!(got, expect, "{text}");
    }

    #[test]
    fn terms_are_weighted_joined_and_related() {
        check("token bucket", &[], &[("token", 1.0), ("bucket", 1.0)]);
        check(
            "reading JSON objects",
            &["jsonobject"],
            &[("read", 1.0), ("json", 1.0), ("object", 1.0), ("jsonobject", 0.5), ("obj", 0.25)],
        );
        check("python token", &[], &[("python", 0.25), ("token", 1.0)]);
        check("python", &[], &[("python", 1.0)]);
        check("path of the router", &["pathrouter", "ofthe"], &[("path", 1.0), ("router", 1.0)]);
        // What the query has already is not added.
        check("param parameter", &[], &[("param", 1.0), ("paramet", 1.0), ("argument", 0.25), ("arg", 0.25)]);
        check("", &[], &[]);
    }

    #[test]
    fn weights_of_zero_leave_terms_out() {
        let off = ExpansionSettings { language_weight: 0.0, joined_weight: 0.0, related_weight: 0.0 };
        let terms = Tokenizer::default().query_terms("rust JSON object");
        let got = weighted("rust JSON object", &terms, &|_| Ok(true), &off).unwrap();
        assert_eq!(got, [("json".to_owned(), 1.0), ("object".to_owned(), 1.0)]);
    }

    #[test]
    fn long_queries_are_bounded() {
        let text = "alpha beta gamma delta ".repeat(2_000);
        let terms = Tokenizer::default().query_terms(&text);
        let got = weighted(&text, &terms, &|_| Ok(true), &ExpansionSettings::default()).unwrap();
        assert!(got.len() <= terms.len() + 2 * ADDED_MAX, "{}", got.len());
    }

    #[test]
    fn plurals_lose_their_ending() {
        let check = |word: &str, expect: Option<&str>| assert_eq!(singular(word).as_deref(), expect, "{word}");
        check("routes", Some("route"));
        check("queries", Some("query"));
        check("class", None);
        check("gas", None);
        check("ties", Some("tie"));
        check("object", None);
    }
}
