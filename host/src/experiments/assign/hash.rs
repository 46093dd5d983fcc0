//! From a unit to a bucket, by our own hash.
//!
//! The hash is XXH3 of 64 bits, seed 0, over four fields: [`DOMAIN`], the purpose, the
//! salt, the unit's value. Each field is its length in bytes as eight bytes, the lowest
//! first, and then its UTF-8 bytes; nothing is normalized. The lengths keep "ab" + "c"
//! from being "a" + "bc". `fixtures/assign_vectors.json` has values to hold another
//! implementation against.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The first field of every hash. Another way of hashing takes another name.
pub const DOMAIN: &str = "spanloom.assign.v1";

/// Prefix, length and unit up to this many bytes are hashed in one piece.
const PIECE_BYTES: usize = 256;

/// What is drawn. Each purpose is a hash of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    Layer,
    Coverage,
    Arm,
    Holdout,
}

impl Purpose {
    /// The field that is hashed.
    pub fn text(self) -> &'static str {
        match self {
            Purpose::Layer => "layer",
            Purpose::Coverage => "coverage",
            Purpose::Arm => "arm",
            Purpose::Holdout => "holdout",
        }
    }
}

/// One of a number of buckets, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bucket(pub u32);

/// The buckets from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRange {
    pub start: u32,
    pub end: u32,
}

impl BucketRange {
    /// Whether the bucket is one of them.
    pub fn contains(self, bucket: Bucket) -> bool {
        self.start <= bucket.0 && bucket.0 < self.end
    }
}

impl std::fmt::Display for BucketRange {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}..{}", self.start, self.end)
    }
}

/// A hash that waits for the unit: the fields before it are written already.
#[derive(Clone, Debug)]
pub struct Salted {
    before: Vec<u8>,
}

impl Salted {
    /// The hash of a purpose and a salt.
    pub fn new(purpose: Purpose, salt: &str) -> Salted {
        let mut before = Vec::new();
        for field in [DOMAIN, purpose.text(), salt] {
            before.extend_from_slice(&length(field));
            before.extend_from_slice(field.as_bytes());
        }
        Salted { before }
    }

    /// The 64 bits of a unit.
    pub fn hash(&self, unit: &str) -> u64 {
        let mut piece = [0; PIECE_BYTES];
        let parts = [self.before.as_slice(), &length(unit), unit.as_bytes()];
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if bytes > PIECE_BYTES {
            let mut hash = Xxh3::new();
            parts.iter().for_each(|part| hash.update(part));
            return hash.digest();
        }
        let mut at = 0;
        for part in parts {
            piece[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        xxh3_64(&piece[..bytes])
    }

    /// hash × buckets / 2⁶⁴, rounded down: a bucket's share of all hashes is off by less
    /// than 1 in 2⁶⁴. `buckets` is at least 1.
    pub fn bucket(&self, unit: &str, buckets: u32) -> Bucket {
        // Below `buckets`, so it fits.
        Bucket(((u128::from(self.hash(unit)) * u128::from(buckets)) >> 64) as u32)
    }
}

fn length(field: &str) -> [u8; 8] {
    (field.len() as u64).to_le_bytes()
}
