//! Where the evidence of a call comes from: the index that is searched, or columns that are
//! known beforehand.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::evidence::{Column, Found, IndexEvidence, TERM_COLUMNS, row_columns};
use crate::index::catalog::ChunkRow;
use crate::profile::QueryProfile;
use crate::types::ChunkId;

/// A call's evidence. Cheap to clone; nothing is computed before a guest asks.
#[derive(Clone, Default)]
pub enum Evidence {
    /// No columns.
    #[default]
    None,
    Index(Arc<IndexEvidence>),
    Known(Arc<KnownEvidence>),
}

/// Columns by name, as golden cases have them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownEvidence {
    /// One value for each term of the query.
    pub terms: BTreeMap<String, Vec<f32>>,
    /// The chunks that `rows` is about.
    pub ids: Vec<u64>,
    /// One value for each of `ids`.
    pub rows: BTreeMap<String, Vec<f32>>,
}

impl Evidence {
    /// Of the query's terms, in their order.
    pub fn terms(&self) -> Found {
        match self {
            Evidence::None => Found::default(),
            Evidence::Index(index) => index.terms(),
            Evidence::Known(known) => {
                let column = |(name, values): (&String, &Vec<f32>)| Column { name: name.clone(), values: values.clone() };
                Found { columns: known.terms.iter().map(column).collect(), missing: Vec::new() }
            }
        }
    }

    /// Of rows, in their order.
    pub fn rows(&self, rows: &[&ChunkRow]) -> Found {
        match self {
            Evidence::None => Found::default(),
            Evidence::Index(index) => index.rows(rows),
            Evidence::Known(known) => known.rows(rows),
        }
    }
}

impl KnownEvidence {
    /// Plausible numbers under all names that a host has, for calls without an index: each
    /// term and row has values of its own.
    pub fn made_up(profile: &QueryProfile, ids: &[ChunkId]) -> KnownEvidence {
        let column = |count: usize, place: usize| (0..count).map(|at| ((at + place) % 5) as f32 * 0.25).collect();
        let terms = TERM_COLUMNS.iter().enumerate().map(|(place, name)| ((*name).to_owned(), column(profile.terms.len(), place)));
        let rows = row_columns().into_iter().enumerate().map(|(place, name)| (name, column(ids.len(), place)));
        KnownEvidence { terms: terms.collect(), rows: rows.collect(), ids: ids.iter().map(|id| id.0).collect() }
    }

    fn rows(&self, rows: &[&ChunkRow]) -> Found {
        let places: HashMap<u64, usize> = self.ids.iter().copied().zip(0..).collect();
        let value = |values: &Vec<f32>, row: &ChunkRow| places.get(&row.id.0).and_then(|place| values.get(*place)).copied().unwrap_or(0.0);
        let column = |(name, values): (&String, &Vec<f32>)| Column {
            name: name.clone(),
            values: rows.iter().map(|row| value(values, row)).collect(),
        };
        Found { columns: self.rows.iter().map(column).collect(), missing: Vec::new() }
    }
}
