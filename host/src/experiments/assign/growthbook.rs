//! GrowthBook's way of assigning, so that an experiment which runs there gives everybody
//! the same arm here: hash version 2, bucket ranges, and namespaces, which use the hash
//! of version 1. After the JavaScript SDK (MIT); held to its published cases.
//!
//! One hash decides coverage and arm. An arm owns coverage × weight of the buckets,
//! counted from where its weight starts, so growing coverage moves nobody who is in. The
//! buckets between are no arm's.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use super::hash::{Bucket, BucketRange};

/// Values of hash version 2: 0, 0.0001 … 0.9999.
pub const BUCKETS: u32 = 10_000;
/// Values of hash version 1, which namespaces use: 0, 0.001 … 0.999.
pub const NAMESPACE_BUCKETS: u32 = 1_000;
/// Sums of weights that are taken; with any other, all weights are made equal.
pub const WEIGHT_SUMS: RangeInclusive<f64> = 0.99..=1.01;

/// `fnv32a(decimal text of fnv32a(seed + value)) % 10000 / 10000`.
pub fn hash_v2(seed: &str, value: &str) -> f64 {
    f64::from(bucket(seed, value).0) / f64::from(BUCKETS)
}

/// [`hash_v2`] before it is divided.
pub fn bucket(seed: &str, value: &str) -> Bucket {
    Bucket(fnv32a_decimal(fnv32a(units(&[seed, value]))) % BUCKETS)
}

/// `fnv32a(value + seed) % 1000 / 1000`. It divides less evenly than version 2.
pub fn hash_v1(seed: &str, value: &str) -> f64 {
    f64::from(fnv32a(units(&[value, seed])) % NAMESPACE_BUCKETS) / f64::from(NAMESPACE_BUCKETS)
}

/// The bucket of a unit in a namespace: hash version 1 with the seed `__name`.
pub fn namespace_bucket(name: &str, value: &str) -> Bucket {
    Bucket(fnv32a(units(&[value, "__", name])) % NAMESPACE_BUCKETS)
}

/// Whether a unit's hash lies in `start` to before `end` of a namespace.
pub fn in_namespace(value: &str, name: &str, start: f64, end: f64) -> bool {
    let hash = f64::from(namespace_bucket(name, value).0) / f64::from(NAMESPACE_BUCKETS);
    start <= hash && hash < end
}

/// Where each variation starts and ends (`getBucketRanges`). Coverage is clamped to 0..=1.
/// Weights that are missing, of another number, or outside [`WEIGHT_SUMS`] in sum are made
/// equal.
pub fn bucket_ranges(variations: usize, coverage: f64, weights: Option<&[f64]>) -> Vec<(f64, f64)> {
    let coverage = coverage.clamp(0.0, 1.0);
    let fits = |weights: &&[f64]| weights.len() == variations && WEIGHT_SUMS.contains(&weights.iter().sum::<f64>());
    let weights = weights.filter(fits).map_or_else(|| vec![1.0 / variations as f64; variations], <[f64]>::to_vec);
    let mut sum = 0.0;
    weights
        .into_iter()
        .map(|weight| {
            let start = sum;
            sum += weight;
            (start, start + coverage * weight)
        })
        .collect()
}

/// The first range that holds the hash (`chooseVariation`).
pub fn choose_variation(hash: f64, ranges: &[(f64, f64)]) -> Option<usize> {
    ranges.iter().position(|(start, end)| *start <= hash && hash < *end)
}

/// The buckets whose hash lies in a range, compared as doubles, as GrowthBook does.
pub(super) fn whole_buckets((start, end): (f64, f64)) -> BucketRange {
    let below = |limit: f64| (0..BUCKETS).take_while(|bucket| f64::from(*bucket) / f64::from(BUCKETS) < limit).count() as u32;
    BucketRange { start: below(start), end: below(end) }
}

/// FNV-1a of 32 bits, but over UTF-16 code units rather than bytes, as JavaScript's
/// texts are made of. SDKs of other languages differ beyond ASCII.
fn fnv32a(units: impl Iterator<Item = u16>) -> u32 {
    units.fold(0x811c_9dc5, |hash: u32, unit| (hash ^ u32::from(unit)).wrapping_mul(0x0100_0193))
}

fn fnv32a_decimal(number: u32) -> u32 {
    let mut text = Decimal::default();
    // Ten digits hold every number of 32 bits.
    let _ = write!(text, "{number}");
    fnv32a(text.digits[..text.len].iter().map(|digit| u16::from(*digit)))
}

/// A number's digits without an allocation.
#[derive(Default)]
struct Decimal {
    digits: [u8; 10],
    len: usize,
}

impl std::fmt::Write for Decimal {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.digits.get_mut(self.len..self.len + text.len()).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

fn units<'a>(texts: &'a [&'a str]) -> impl Iterator<Item = u16> + 'a {
    texts.iter().flat_map(|text| text.encode_utf16())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// The cases as they are published; [`Cases::source`] says where.
    #[derive(Deserialize)]
    struct Cases {
        source: String,
        hash: Vec<(String, String, u32, Option<f64>)>,
        #[serde(rename = "getBucketRange")]
        bucket_range: Vec<(String, Ranging, Ranges)>,
        #[serde(rename = "chooseVariation")]
        choose_variation: Vec<(String, f64, Ranges, i64)>,
        #[serde(rename = "inNamespace")]
        in_namespace: Vec<(String, String, Namespace, bool)>,
    }

    /// Variations, coverage, weights.
    type Ranging = (usize, f64, Option<Vec<f64>>);
    type Ranges = Vec<(f64, f64)>;
    /// Name, start, end.
    type Namespace = (String, f64, f64);

    fn cases() -> Cases {
        serde_json::from_str(include_str!("../fixtures/growthbook_cases.json")).unwrap()
    }

    #[test]
    fn hashes_are_those_of_the_published_cases() {
        let cases = cases();
        assert!(cases.source.contains("MIT"));
        assert_eq!(cases.hash.len(), 15);
        for (seed, value, version, expect) in cases.hash {
            let hash = match version {
                1 => Some(hash_v1(&seed, &value)),
                2 => Some(hash_v2(&seed, &value)),
                _ => None,
            };
            assert_eq!(hash, expect, "{seed} {value} {version}");
        }
    }

    #[test]
    fn ranges_are_those_of_the_published_cases() {
        // Both sides are rounded there, too, before they are compared.
        let rounded = |at: f64| (at * 1e6).round() / 1e6;
        let cases = cases().bucket_range;
        assert_eq!(cases.len(), 13);
        for (name, (variations, coverage, weights), expect) in cases {
            let ranges = bucket_ranges(variations, coverage, weights.as_deref());
            let ranges: Ranges = ranges.into_iter().map(|(start, end)| (rounded(start), rounded(end))).collect();
            assert_eq!(ranges, expect, "{name}");
        }
    }

    #[test]
    fn variations_are_those_of_the_published_cases() {
        let cases = cases().choose_variation;
        assert_eq!(cases.len(), 13);
        for (name, hash, ranges, expect) in cases {
            assert_eq!(choose_variation(hash, &ranges), usize::try_from(expect).ok(), "{name}");
        }
    }

    #[test]
    fn namespaces_are_those_of_the_published_cases() {
        let cases = cases().in_namespace;
        assert_eq!(cases.len(), 16);
        for (name, value, (namespace, start, end), expect) in cases {
            assert_eq!(in_namespace(&value, &namespace, start, end), expect, "{name}");
        }
    }

    #[test]
    fn whole_buckets_choose_as_the_doubles_do() {
        for (coverage, weights) in
            [(1.0, vec![0.1; 10]), (0.37, vec![0.2, 0.3, 0.5]), (0.999, vec![0.3333, 0.3333, 0.3334]), (0.0, vec![1.0])]
        {
            let ranges = bucket_ranges(weights.len(), coverage, Some(&weights));
            let whole: Vec<BucketRange> = ranges.iter().copied().map(whole_buckets).collect();
            for bucket in 0..BUCKETS {
                let of_whole = whole.iter().position(|range| range.contains(Bucket(bucket)));
                assert_eq!(of_whole, choose_variation(f64::from(bucket) / f64::from(BUCKETS), &ranges), "{coverage} {weights:?} {bucket}");
            }
        }
    }

    #[test]
    fn characters_outside_the_basic_plane_are_two_units() {
        // U+1F600 as its surrogates, hashed by hand: ((basis ^ d83d) × prime ^ de00) × prime.
        let by_hand = [0xd83d_u32, 0xde00].iter().fold(0x811c_9dc5_u32, |hash, unit| (hash ^ unit).wrapping_mul(16_777_619));
        assert_eq!(fnv32a(units(&["\u{1f600}"])), by_hand);
    }
}
