//! Puts reports of several test sets together. Each set counts the same, as benchmarks
//! over several repositories have it; differences are tested over the queries of all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::read::ReadError;
use super::report::{Comparison, Kind, QueryReport, Report, SCHEMA, Settings, figures};
use super::statistics::{self, Difference, Estimate};

/// Bytes of a report: some 400 for each query and system.
const REPORT_BYTES_MAX: u64 = 1 << 30;

/// Several sets' reports as one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Merged {
    pub schema: u32,
    pub settings: Settings,
    /// Each report's own means.
    pub sets: Vec<SetMeans>,
    /// Means of the sets' means, by measure.
    pub measures: BTreeMap<String, Estimate>,
    pub comparisons: Vec<MergedComparison>,
    pub warnings: Vec<String>,
}

/// One set's means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetMeans {
    /// The report's file.
    pub report: String,
    pub queries_judged: usize,
    pub measures: BTreeMap<String, f64>,
}

/// A system that all sets hold against the first one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MergedComparison {
    pub kind: Kind,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    pub measures: BTreeMap<String, Estimate>,
    pub differences: BTreeMap<String, Difference>,
}

/// Reads reports that `spanloom eval --json` printed.
///
/// # Errors
/// For a file that can't be read or is no report of this version.
pub fn read(paths: &[PathBuf]) -> Result<Vec<(String, Report)>, ReadError> {
    paths.iter().map(|path| Ok((path.display().to_string(), read_one(path)?))).collect()
}

fn read_one(path: &Path) -> Result<Report, ReadError> {
    let unreadable = |error: std::io::Error| ReadError::of(path, error.to_string());
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > REPORT_BYTES_MAX {
        return Err(ReadError::of(path, format!("has {bytes} bytes; allowed: {REPORT_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|error| ReadError::of(path, format!("is no report ({error}); allowed: what `spanloom eval --json` prints")))?;
    match report.schema {
        SCHEMA => Ok(report),
        other => Err(ReadError::of(path, format!("`schema` is {other}; allowed: {SCHEMA}"))),
    }
}

/// Puts reports together. They have to be measured alike.
///
/// # Errors
/// For the first report that was measured otherwise than the one before it.
pub fn merge(reports: &[(String, Report)]) -> Result<Merged, ReadError> {
    let Some((first_name, first)) = reports.first() else { return Err(ReadError::of(Path::new("--merge"), "names no report")) };
    for (name, report) in reports {
        if (&report.settings, report.set.level) != (&first.settings, first.set.level) {
            let problem = format!("was measured with other settings or at another level than {first_name}; allowed: the same");
            return Err(ReadError::of(Path::new(name), problem));
        }
    }
    let names = &first.settings.measures;
    let base: Vec<&[QueryReport]> = reports.iter().map(|(_, report)| report.system.per_query.as_slice()).collect();
    let sets = reports
        .iter()
        .map(|(name, report)| SetMeans {
            report: name.clone(),
            queries_judged: report.set.queries_judged,
            measures: report.system.measures.iter().map(|(measure, estimate)| (measure.clone(), estimate.mean)).collect(),
        })
        .collect();
    let mut warnings = Vec::new();
    let mut comparisons = Vec::new();
    for comparison in &first.comparisons {
        let own: Vec<&[QueryReport]> =
            reports.iter().filter_map(|(_, report)| Some(same(report, comparison)?.system.per_query.as_slice())).collect();
        if own.len() < reports.len() {
            warnings.push(format!("{}: it is in {} of {} reports, and left out here", comparison.name, own.len(), reports.len()));
            continue;
        }
        let differences = names.iter().map(|name| (name.clone(), statistics::compare_sets(&by_set(&base, name), &by_set(&own, name))));
        comparisons.push(MergedComparison {
            kind: comparison.kind,
            name: comparison.name.clone(),
            instead: comparison.instead.clone(),
            measures: estimates(&own, names),
            differences: differences.collect(),
        });
    }
    for (name, report) in reports {
        warnings.extend(report.warnings.iter().map(|warning| format!("{name}: {warning}")));
        let strange = report.comparisons.iter().filter(|comparison| same(first, comparison).is_none());
        warnings.extend(strange.map(|comparison| format!("{name}: {} is not in every report, and left out here", comparison.name)));
    }
    Ok(Merged { schema: SCHEMA, settings: first.settings.clone(), sets, measures: estimates(&base, names), comparisons, warnings })
}

/// The report's comparison with the same system.
fn same<'a>(report: &'a Report, comparison: &Comparison) -> Option<&'a Comparison> {
    report.comparisons.iter().find(|own| (own.kind, &own.name) == (comparison.kind, &comparison.name))
}

fn estimates(sets: &[&[QueryReport]], names: &[String]) -> BTreeMap<String, Estimate> {
    names.iter().map(|name| (name.clone(), statistics::estimate_sets(&by_set(sets, name)))).collect()
}

fn by_set(sets: &[&[QueryReport]], measure: &str) -> Vec<Vec<f64>> {
    sets.iter().map(|queries| figures(queries, measure)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::report::testing::sample;
    use super::*;

    #[test]
    fn each_set_counts_the_same() {
        let mut small = sample();
        small.system.per_query.truncate(1);
        small.comparisons[0].system.per_query.truncate(1);
        small.comparisons.truncate(1);
        let merged = merge(&[("a.json".into(), sample()), ("b.json".into(), small)]).unwrap();
        // (0.5 + 0.25 + 1) / 3 and 0.5; with the other configuration ½ and 0.75.
        let ndcg = merged.measures["ndcg@10"];
        assert!((ndcg.mean - (1.75 / 3.0 + 0.5) / 2.0).abs() < 1e-12, "{ndcg:?}");
        let difference = merged.comparisons[0].differences["ndcg@10"];
        assert!((difference.mean - (-0.25 / 3.0 + 0.25) / 2.0).abs() < 1e-12, "{difference:?}");
        assert_eq!((difference.wins, difference.losses, difference.ties), (2, 1, 1));
        assert_eq!(merged.warnings[0], "channel dense: it is in 1 of 2 reports, and left out here");
        assert_eq!(merged.sets[1].report, "b.json");
    }

    #[test]
    fn one_report_stays_as_it_is_and_others_have_to_be_alike() {
        let one = sample();
        let merged = merge(&[("a.json".into(), one.clone())]).unwrap();
        assert_eq!(merged.measures, one.system.measures);
        assert_eq!(merged.comparisons[0].differences, one.comparisons[0].differences);
        let mut other = sample();
        other.settings.limit = 50;
        let error = merge(&[("a.json".into(), one), ("b.json".into(), other)]).unwrap_err().to_string();
        assert!(error.starts_with("b.json: was measured with other settings"), "{error}");
    }

    #[test]
    fn what_is_no_report_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        let check = |text: &str, expect: &str| {
            std::fs::write(&path, text).unwrap();
            let error = read(std::slice::from_ref(&path)).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("{}", "r.json: is no report (missing field `schema`");
        let mut newer = sample();
        newer.schema = 99;
        check(&serde_json::to_string(&newer).unwrap(), "`schema` is 99; allowed: 1");
        std::fs::write(&path, serde_json::to_string(&sample()).unwrap()).unwrap();
        assert_eq!(read(std::slice::from_ref(&path)).unwrap()[0].1, sample());
    }
}
