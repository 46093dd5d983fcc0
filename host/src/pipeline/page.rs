//! Pages of a ranking. A cursor names the query it belongs to and keeps the limit of
//! the first page, so that every page is cut from one and the same ranking.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::request::{LIMIT_MAX, RequestError, SearchRequest};

/// Bytes of a cursor; ours have about a hundred.
const CURSOR_BYTES_MAX: usize = 512;

/// The part of the ranking that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows before this page.
    pub offset: usize,
    pub limit: usize,
    /// The limit of the first page: what the stages are told.
    pub first_limit: u32,
    /// Of the first page; `None` on the first page itself.
    pub first: Option<FirstPage>,
    /// Hash of what is asked.
    pub query: u64,
}

/// Where the first page came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstPage {
    pub generation: String,
    /// Empty where nothing depends on it.
    pub run_id: String,
    /// Hash of the arms that ranked; 0 without any.
    pub arms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    /// Generation.
    g: String,
    /// Hash of the query.
    q: u64,
    /// Offset.
    o: usize,
    /// First limit.
    l: u32,
    /// Run of the first page.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    r: String,
    /// Hash of the arms that ranked.
    #[serde(default, skip_serializing_if = "is_nought")]
    a: u64,
}

impl Page {
    /// # Errors
    /// [`RequestError::Invalid`] for a cursor that isn't one or is of another query.
    pub fn of(request: &SearchRequest) -> Result<Page, RequestError> {
        let query = identity(request);
        let limit = request.reach.rows.unwrap_or(request.limit as usize);
        let Some(text) = &request.cursor else {
            return Ok(Page { offset: 0, limit, first_limit: request.limit, first: None, query });
        };
        let refused = |why: &str| RequestError::Invalid(format!("`cursor` {why}; allowed: `next_cursor` of an answer to the same query"));
        let cursor: Option<Cursor> = (text.len() <= CURSOR_BYTES_MAX)
            .then(|| BASE64_URL_SAFE_NO_PAD.decode(text).ok())
            .flatten()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let cursor = cursor.ok_or_else(|| refused("is not a cursor"))?;
        if cursor.q != query {
            return Err(refused("is of another query"));
        }
        if !(1..=LIMIT_MAX).contains(&cursor.l) || cursor.o > 100_000 {
            return Err(refused("is not a cursor"));
        }
        let first = FirstPage { generation: cursor.g, run_id: cursor.r, arms: cursor.a };
        Ok(Page { offset: cursor.o, limit, first_limit: cursor.l, first: Some(first), query })
    }

    /// Rows that must be hydrated for this page, given how many are reranked.
    pub fn needs(&self, rerank_depth: u32) -> usize {
        self.end().max(rerank_depth as usize)
    }

    /// The first row after this page.
    pub fn end(&self) -> usize {
        self.offset + self.limit
    }

    /// The cursor of the page after this one, of which `here` tells what a first page would.
    pub fn next(&self, here: FirstPage) -> String {
        let run_id = self.first.as_ref().map_or(here.run_id, |first| first.run_id.clone());
        let cursor = Cursor { g: here.generation, q: self.query, o: self.end(), l: self.first_limit, r: run_id, a: here.arms };
        // Texts and numbers always serialize; an empty cursor would be refused.
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
    }
}

fn is_nought(hash: &u64) -> bool {
    *hash == 0
}

/// The run of the first page, when the request goes on from one.
pub fn first_run(request: &SearchRequest) -> Option<String> {
    // Most are first pages, whose ranking need not be told from others yet.
    request.cursor.as_ref()?;
    Page::of(request).ok()?.first.map(|first| first.run_id).filter(|id| !id.is_empty())
}

/// Everything that decides the ranking, as a number. The limit is not part of it.
fn identity(request: &SearchRequest) -> u64 {
    let mut hash = Xxh3::new();
    let mut add = |text: String| {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    add(request.query.clone());
    add(format!("{:?}", request.path_globs));
    add(format!("{:?} {:?} {:?} {:?}", request.languages, request.channels, request.depths, request.weights));
    add(format!("{:?} {:?}", request.plugins, request.rerank_enabled));
    add(format!("{} {:?}", request.reach.depth_min, request.reach.without));
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{SearchArguments, SearchRequest};

    fn request(query: &str, cursor: Option<String>) -> SearchRequest {
        SearchRequest::simple(SearchArguments { query: query.into(), limit: Some(7), cursor, ..SearchArguments::default() }).unwrap()
    }

    #[test]
    fn an_answer_may_hold_more_rows_than_the_stages_are_told() {
        let mut request = request("a", None);
        request.reach.rows = Some(5_000);
        let page = Page::of(&request).unwrap();
        assert_eq!((page.offset, page.limit, page.first_limit), (0, 5_000, 7));
    }

    #[test]
    fn a_cursor_leads_on_and_belongs_to_its_query() {
        let first = Page::of(&request("a", None)).unwrap();
        let here = |run_id: &str| FirstPage { generation: "g000001".into(), run_id: run_id.into(), arms: 5 };
        let cursor = first.next(here("r1"));
        let asked = request("a", Some(cursor.clone()));
        let second = Page::of(&asked).unwrap();
        assert_eq!((second.offset, second.limit, second.first_limit), (7, 7, 7));
        assert_eq!(second.first, Some(here("r1")));
        assert_eq!((first_run(&request("a", None)), first_run(&asked).as_deref()), (None, Some("r1")));
        // Further pages name the first run, too.
        let third = Page::of(&request("a", Some(second.next(here("r2"))))).unwrap();
        assert_eq!((third.offset, third.first), (14, Some(here("r1"))));
        for (query, cursor, expect) in
            [("b", cursor, "another query"), ("a", "%%".into(), "not a cursor"), ("a", "x".repeat(5_000), "not a cursor")]
        {
            assert!(Page::of(&request(query, Some(cursor))).unwrap_err().to_string().contains(expect));
        }
    }
}
