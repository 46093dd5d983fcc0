//! Lists of documents with a frequency each: a term's, as tantivy keeps it, or one
//! that was put together for a query.

use tantivy::TERMINATED;
use tantivy::postings::BlockSegmentPostings;

/// Documents of one segment that hold something, ascending.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    pub docs: Vec<u32>,
    /// As long as `docs`, at least 1 each.
    pub frequencies: Vec<u32>,
}

/// A list of documents that is read from front to back.
pub enum Postings {
    Term(Box<BlockSegmentPostings>),
    Made(Holders),
}

/// A place in a list. It only goes forward.
pub struct Cursor {
    postings: Postings,
    /// Within the current block; its end when the list is at its end.
    at: usize,
}

impl Cursor {
    pub fn new(postings: Postings) -> Cursor {
        Cursor { postings, at: 0 }
    }

    /// The document here, `TERMINATED` at the end.
    pub fn doc(&self) -> u32 {
        self.block().0.get(self.at).copied().unwrap_or(TERMINATED)
    }

    /// Calls `sink` with each document from here to before `end`, and its frequency;
    /// stands on the first one from `end` on.
    pub fn read_up_to(&mut self, end: u32, mut sink: impl FnMut(u32, u32)) {
        loop {
            let (docs, frequencies) = self.block();
            let from = self.at.min(docs.len());
            let whole = docs.last().is_none_or(|last| *last < end);
            let count = if whole { docs.len() - from } else { docs[from..].partition_point(|doc| *doc < end) };
            for (doc, frequency) in docs[from..from + count].iter().zip(&frequencies[from..from + count]) {
                sink(*doc, *frequency);
            }
            let ended = docs.is_empty();
            self.at = from + count;
            if ended || !whole || !self.next_block() {
                return;
            }
        }
    }

    /// The frequency in a document that does not lie before the place; `None` when it
    /// isn't in the list.
    pub fn frequency_at(&mut self, doc: u32) -> Option<u32> {
        if self.doc() < doc {
            match &mut self.postings {
                Postings::Term(blocks) => self.at = blocks.seek(doc),
                Postings::Made(made) => self.at += made.docs[self.at..].partition_point(|known| *known < doc),
            }
        }
        if self.doc() == doc { self.block().1.get(self.at).copied() } else { None }
    }

    fn block(&self) -> (&[u32], &[u32]) {
        match &self.postings {
            Postings::Term(blocks) => (blocks.docs(), blocks.freqs()),
            Postings::Made(made) => (&made.docs, &made.frequencies),
        }
    }

    /// Whether there was another one.
    fn next_block(&mut self) -> bool {
        match &mut self.postings {
            Postings::Term(blocks) => {
                blocks.advance();
                self.at = 0;
                !blocks.docs().is_empty()
            }
            Postings::Made(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_seeks_and_ends() {
        let made = Holders { docs: vec![2, 5, 9, 11], frequencies: vec![1, 7, 3, 4] };
        let mut cursor = Cursor::new(Postings::Made(made));
        let mut read = Vec::new();
        cursor.read_up_to(9, |doc, frequency| read.push((doc, frequency)));
        assert_eq!((read, cursor.doc()), (vec![(2, 1), (5, 7)], 9));
        assert_eq!(cursor.frequency_at(10), None);
        assert_eq!(cursor.frequency_at(11), Some(4));
        assert_eq!(cursor.frequency_at(12), None);
        assert_eq!(cursor.doc(), TERMINATED);
        cursor.read_up_to(TERMINATED, |doc, _| panic!("{doc} was read twice"));
    }
}
