//! Columns that belong together must have one length. The export macros check
//! what comes in before the plugin sees it, so that plugins may index freely.

use crate::{Candidates, PluginError, Profile, Run};

/// Each run has a score for each id.
pub fn check_runs(runs: &[Run]) -> Result<(), PluginError> {
    runs.iter().try_for_each(|run| {
        let what = format_args!("scores of the run `{}`", run.channel);
        check(what, run.scores.len(), run.ids.len())
    })
}

/// Each term has a document frequency.
pub fn check_profile(query: &Profile) -> Result<(), PluginError> {
    check(format_args!("document frequencies"), query.document_frequencies.len(), query.terms.len())
}

/// Each row has a score.
pub fn check_rows(rows: &Candidates) -> Result<(), PluginError> {
    check(format_args!("scores"), rows.scores.len(), rows.ids.len())
}

/// An internal error that says what is short or long.
pub(crate) fn check(what: std::fmt::Arguments<'_>, got: usize, expected: usize) -> Result<(), PluginError> {
    if got == expected {
        return Ok(());
    }
    Err(PluginError::Internal(format!("{what}: the host sent {got}, expected {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn columns_of_unequal_length_are_refused_by_name() {
        let mut run = testing::run("bm25", 1.0, &[(1, 0.5), (2, 0.4)]);
        assert_eq!(check_runs(std::slice::from_ref(&run)), Ok(()));
        run.scores.pop();
        let Err(PluginError::Internal(message)) = check_runs(&[run]) else {
            panic!("accepted");
        };
        assert_eq!(message, "scores of the run `bm25`: the host sent 1, expected 2");

        let mut query = testing::profile("a b", 10, &[("a", 1), ("b", 2)]);
        assert_eq!(check_profile(&query), Ok(()));
        query.document_frequencies.push(3);
        assert!(check_profile(&query).is_err());

        let rows = Candidates { ids: vec![1], scores: Vec::new() };
        assert!(check_rows(&rows).is_err());
    }
}
