//! Removes what is too old of the journal, now and then.

use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime};

use time::{Date, OffsetDateTime};

use super::Experiments;
use crate::experiments::journal::{self, Keep};
use crate::experiments::{State, read_folder};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(3_600);

impl Experiments {
    /// Removes days that are too old, if there was no look for a while. Those that an
    /// experiment may need stay, and all do while nobody knows which experiments there are.
    pub(super) fn sweep(&self, now: SystemTime) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.is_some_and(|at| at.elapsed() < INTERVAL) {
            return;
        }
        *swept = Some(Instant::now());
        let keep = match self.protected_from() {
            Ok(protected_from) => Keep { days_max: self.settings.journal_days_max, protected_from },
            Err(error) => {
                tracing::warn!(error, "no day of the experiments' journal is removed");
                return;
            }
        };
        match journal::sweep(&self.settings.journal, keep, OffsetDateTime::from(now).date()) {
            Ok(swept) if swept.files > 0 => {
                tracing::info!(files = swept.files, bytes = swept.bytes, "old days of the experiments' journal are removed");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "old days of the experiments' journal can't be removed"),
        }
    }

    /// The first day that is needed by an experiment that isn't stopped.
    fn protected_from(&self) -> Result<Option<Date>, String> {
        let folder = &self.settings.folder;
        let files = if folder.is_dir() { read_folder(folder).map_err(|error| error.to_string())? } else { Vec::new() };
        let standing = self.standing.read().map_err(|error| error.to_string())?;
        let of = files.iter().map(|file| &file.experiment).filter(|experiment| experiment.state != State::Stopped);
        let needed = of.filter_map(|experiment| {
            let since = OffsetDateTime::from(standing.since(experiment)?).date();
            since.checked_sub(time::Duration::days(i64::from(experiment.analysis.cuped_days)))
        });
        Ok(needed.min())
    }
}
