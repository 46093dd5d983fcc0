//! What the index knows beyond words: named columns of numbers, of the query's terms and of
//! a reranker's rows. In a component they come from the host; natively from the test.

use crate::bindings::rerank::spanloom::search::evidence::Column;
use crate::{PluginError, Profile, columns};

/// Columns of one length, found by name. Which names there are stands in the host's
/// documentation; one that isn't there is no error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    columns: Vec<Column>,
}

impl Evidence {
    /// The values under a name, one for each term or row; `None` when the host has no such
    /// column.
    pub fn column(&self, name: &str) -> Option<&[f32]> {
        self.columns.iter().find(|column| column.name == name).map(|column| column.values.as_slice())
    }

    /// One value; 0 when there is no such column or row.
    pub fn value(&self, name: &str, row: usize) -> f32 {
        self.column(name).and_then(|values| values.get(row)).copied().unwrap_or(0.0)
    }

    /// The names, in the host's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Columns that have `length` values each, all finite.
    pub(crate) fn checked(columns: Vec<Column>, length: usize) -> Result<Evidence, PluginError> {
        for Column { name, values } in &columns {
            columns::check(format_args!("values of the column `{name}`"), values.len(), length)?;
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Err(PluginError::Internal(format!("the host sent {value} in the column `{name}`, expected finite numbers")));
            }
        }
        Ok(Evidence { columns })
    }
}

/// Evidence of the query's terms, one value for each of `query.terms` in each column. For
/// gates and rerankers; a fusion that calls it doesn't fit its world and is not loaded. Ask
/// once in a call.
///
/// # Errors
/// [`PluginError::Internal`] when the host's columns are not as they should be.
pub fn terms(query: &Profile) -> Result<Evidence, PluginError> {
    Evidence::checked(ask_terms(), query.terms.len())
}

#[cfg(target_arch = "wasm32")]
fn ask_terms() -> Vec<Column> {
    crate::bindings::rerank::spanloom::search::evidence::terms()
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::RefCell;

    use super::Column;

    std::thread_local! {
        static TERMS: RefCell<Vec<Column>> = RefCell::default();
    }

    /// Sets what [`super::terms`] gives on this thread from now on; for tests. Without it
    /// there are no columns.
    pub fn set_terms(columns: &[(&str, &[f32])]) {
        let column = |(name, values): &(&str, &[f32])| Column { name: (*name).to_owned(), values: values.to_vec() };
        TERMS.set(columns.iter().map(column).collect());
    }

    pub(super) fn ask_terms() -> Vec<Column> {
        TERMS.with_borrow(Vec::clone)
    }
}

#[cfg(not(target_arch = "wasm32"))]
use native::ask_terms;
#[cfg(not(target_arch = "wasm32"))]
pub use native::set_terms;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn columns_are_found_by_name_and_missing_ones_are_zeros() {
        let query = testing::profile("a b", 10, &[("a", 1), ("b", 2)]);
        assert_eq!(terms(&query), Ok(Evidence::default()));
        set_terms(&[("symbols", &[3.0, 0.0]), ("moon_phase", &[0.5, 0.5])]);
        let evidence = terms(&query).expect("columns that fit");
        assert_eq!(evidence.column("symbols"), Some(&[3.0, 0.0][..]));
        assert_eq!(evidence.column("paths"), None);
        assert_eq!((evidence.value("symbols", 0), evidence.value("symbols", 2), evidence.value("paths", 0)), (3.0, 0.0, 0.0));
        assert_eq!(evidence.names().collect::<Vec<_>>(), ["symbols", "moon_phase"]);
    }

    #[test]
    fn columns_that_do_not_fit_are_refused_by_name() {
        let query = testing::profile("a b", 10, &[("a", 1), ("b", 2)]);
        let check = |values: &[f32], part: &str| {
            set_terms(&[("symbols", values)]);
            let Err(PluginError::Internal(message)) = terms(&query) else { panic!("{values:?} were taken") };
            assert!(message.contains("`symbols`") && message.contains(part), "{message}");
        };
        check(&[1.0], "the host sent 1, expected 2");
        check(&[1.0, f32::NAN], "the host sent NaN");
    }
}
