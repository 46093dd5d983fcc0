//! Real git repositories, the same in every run.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A git work tree in a folder of its own.
pub struct Repo {
    _folder: TempDir,
    path: PathBuf,
    commits: std::cell::Cell<u32>,
}

impl Repo {
    /// An empty work tree in a folder called `name`, without a commit.
    pub fn empty(name: &str) -> Repo {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = std::fs::canonicalize(folder.path()).expect("its path").join(name);
        std::fs::create_dir(&path).expect("a folder");
        let repo = Repo { _folder: folder, path, commits: 0.into() };
        repo.git(&["init", "--quiet", "--initial-branch=main"]);
        repo
    }

    /// A small project in many languages, with everything that is not indexed.
    pub fn sample() -> Repo {
        let repo = Repo::empty("sample");
        for (path, text) in FILES {
            repo.write(path, text);
        }
        repo.write(".gitignore", "secret/\n*.log\n");
        repo.write("secret/passwords.md", "# Passwords\n\nopen sesame token bucket\n");
        repo.write("build.log", "token bucket log\n");
        repo.write_bytes("assets/logo.png", b"\x89PNG\r\n");
        repo.write_bytes("assets/raw.dat", b"token\0bucket");
        repo.write_bytes("legacy/latin1.txt", b"caf\xe9 token bucket\n");
        repo.write("data/huge.csv", &"token,bucket\n".repeat(100_000));
        repo.link("links/broken", "nowhere");
        repo.link("links/outside", "/usr");
        repo.commit("the first commit");
        repo
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn text_path(&self) -> &str {
        self.path.to_str().expect("a path that is UTF-8")
    }

    pub fn write(&self, path: &str, text: &str) {
        self.write_bytes(path, text.as_bytes());
    }

    pub fn write_bytes(&self, path: &str, bytes: &[u8]) {
        let full = self.path.join(path);
        std::fs::create_dir_all(full.parent().expect("below the root")).expect("a folder");
        std::fs::write(full, bytes).expect("a file");
    }

    pub fn link(&self, path: &str, target: &str) {
        let full = self.path.join(path);
        std::fs::create_dir_all(full.parent().expect("below the root")).expect("a folder");
        std::os::unix::fs::symlink(target, full).expect("a link");
    }

    /// Commits everything; the commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs git with fixed names and dates and without anybody's settings.
    pub fn git(&self, arguments: &[&str]) -> String {
        let date = format!("2026-01-{:02}T12:00:00Z", 1 + self.commits.get() % 28);
        self.commits.set(self.commits.get() + u32::from(arguments[0] == "commit"));
        let mut git = Command::new("git");
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
            git.env_remove(name);
        }
        for (name, value) in [
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", "Test"),
            ("GIT_AUTHOR_EMAIL", "test@example.com"),
            ("GIT_COMMITTER_NAME", "Test"),
            ("GIT_COMMITTER_EMAIL", "test@example.com"),
            ("GIT_AUTHOR_DATE", &date),
            ("GIT_COMMITTER_DATE", &date),
        ] {
            git.env(name, value);
        }
        let output = git.current_dir(&self.path).args(arguments).output().expect("git is installed");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// The indexed files of [`Repo::sample`], `.gitignore` besides.
pub const FILES: &[(&str, &str)] = &[
    (
        "src/token_bucket.rs",
        r#"//! Limits how often something may happen.

use std::time::Instant;

/// A token bucket: refills at a steady rate and is emptied by requests.
pub struct TokenBucket {
    capacity: f64,
    tokens: f64,
    refill_per_second: f64,
    last_refill: Instant,
}

impl TokenBucket {
    /// A bucket that is full.
    pub fn new(capacity: f64, refill_per_second: f64) -> Self {
        TokenBucket { capacity, tokens: capacity, refill_per_second, last_refill: Instant::now() }
    }

    /// Takes one token when there is one: whether the request may pass the rate limit.
    pub fn try_acquire(&mut self) -> bool {
        self.refill();
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    fn refill(&mut self) {
        let elapsed = self.last_refill.elapsed().as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.refill_per_second).min(self.capacity);
        self.last_refill = Instant::now();
    }
}
"#,
    ),
    (
        "src/checksum.rs",
        "/// The Fletcher checksum of some bytes, for packets on the wire.\npub fn fletcher16(bytes: &[u8]) -> u16 {\n    let (mut low, mut high) = (0_u16, 0_u16);\n    for byte in bytes {\n        low = (low + u16::from(*byte)) % 255;\n        high = (high + low) % 255;\n    }\n    (high << 8) | low\n}\n",
    ),
    (
        "geo/haversine.py",
        r#""""Distances on the globe."""

from math import asin, cos, radians, sin, sqrt

EARTH_RADIUS_KM = 6371.0


def haversine_distance(latitude_a, longitude_a, latitude_b, longitude_b):
    """Great circle distance between two points in kilometres."""
    delta_latitude = radians(latitude_b - latitude_a)
    delta_longitude = radians(longitude_b - longitude_a)
    chord = sin(delta_latitude / 2) ** 2
    chord += cos(radians(latitude_a)) * cos(radians(latitude_b)) * sin(delta_longitude / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(sqrt(chord))


class GeoFence:
    """A circle that points are inside or outside of."""

    def __init__(self, latitude, longitude, radius_km):
        self.center = (latitude, longitude)
        self.radius_km = radius_km

    def contains(self, latitude, longitude):
        return haversine_distance(*self.center, latitude, longitude) <= self.radius_km
"#,
    ),
    (
        "web/debounce.js",
        "/** Delays a callback until no event came for a while. */\nexport function debounce(callback, delayMs) {\n  let timer = null;\n  return (...args) => {\n    clearTimeout(timer);\n    timer = setTimeout(() => callback(...args), delayMs);\n  };\n}\n",
    ),
    (
        "web/router.ts",
        r#"export interface Route {
  pattern: RegExp;
  render(parameters: Record<string, string>): string;
}

/** Finds the page that belongs to an address in the browser. */
export class PageRouter {
  private routes: Route[] = [];

  register(route: Route): void {
    this.routes.push(route);
  }

  navigate(address: string): string {
    for (const route of this.routes) {
      const match = route.pattern.exec(address);
      if (match) return route.render(match.groups ?? {});
    }
    return "404 page not found";
  }
}
"#,
    ),
    (
        "server/retry.go",
        r#"package server

import (
	"math/rand"
	"time"
)

// RetryWithBackoff calls an operation until it succeeds, with exponential backoff and jitter.
func RetryWithBackoff(attempts int, base time.Duration, operation func() error) error {
	var err error
	for attempt := 0; attempt < attempts; attempt++ {
		if err = operation(); err == nil {
			return nil
		}
		wait := base << attempt
		time.Sleep(time.Duration(rand.Int63n(int64(wait))))
	}
	return err
}
"#,
    ),
    (
        "app/LruCache.java",
        r#"package app;

import java.util.LinkedHashMap;
import java.util.Map;

/** Forgets the entry that was used least recently when it is full. */
public class LruCache<K, V> extends LinkedHashMap<K, V> {
    private final int capacity;

    public LruCache(int capacity) {
        super(capacity, 0.75f, true);
        this.capacity = capacity;
    }

    @Override
    protected boolean removeEldestEntry(Map.Entry<K, V> eldest) {
        return size() > capacity;
    }
}
"#,
    ),
    (
        "lib/crc32.c",
        "#include <stdint.h>\n#include <stddef.h>\n\n/* Cyclic redundancy check with the reflected polynomial of Ethernet. */\nuint32_t crc32_update(uint32_t crc, const uint8_t *data, size_t length)\n{\n    crc = ~crc;\n    for (size_t i = 0; i < length; i++) {\n        crc ^= data[i];\n        for (int bit = 0; bit < 8; bit++)\n            crc = (crc >> 1) ^ (0xEDB88320u & -(crc & 1));\n    }\n    return ~crc;\n}\n",
    ),
    (
        "lib/matrix.cpp",
        r#"#include <vector>

namespace linear {

/// A dense matrix, row by row.
class Matrix {
public:
    Matrix(int rows, int columns) : rows_(rows), columns_(columns), values_(rows * columns) {}

    double &at(int row, int column) { return values_[row * columns_ + column]; }

    /// Gaussian elimination with partial pivoting.
    double determinant() const;

private:
    int rows_;
    int columns_;
    std::vector<double> values_;
};

}  // namespace linear
"#,
    ),
    (
        "docs/deploy.md",
        "# Deployment\n\nHow the service gets to production.\n\n## Rolling back a release\n\nWhen a deployment goes wrong, switch the symlink to the previous release and restart the unit.\n\n## Certificates\n\nCertificates are renewed by a timer every night.\n",
    ),
    ("settings.toml", "[database]\nconnection_pool_size = 16\nstatement_timeout_ms = 2500\n"),
    (".github/workflows/ci.yml", "name: ci\non: push\njobs:\n  nightly-smoke:\n    runs-on: ubuntu-latest\n"),
];
