//! What a component sees of the outside through WASI, written on its span.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use spanloom_plugin::Span;

/// Random bytes that are shown.
const RANDOM_BYTES: usize = 16;

/// Attributes: the time of day in seconds, whether the other clock runs, random bytes,
/// and the environment.
pub fn look_around(stage: &Span) {
    let start = Instant::now();
    for n in 0..1_000_000_u64 {
        black_box(n);
    }
    let runs = start.elapsed().as_nanos() > 0;
    let wall_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(-1, |since| since.as_secs() as i64);
    let random = random_bytes().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    });
    let environment: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    stage.set(|| {
        [
            ("hostile.wall_s", wall_s.into()),
            ("hostile.clock_runs", runs.into()),
            ("hostile.random", random.into()),
            ("hostile.environment", environment.join(" ").into()),
        ]
    });
}

#[cfg(target_arch = "wasm32")]
fn random_bytes() -> [u8; RANDOM_BYTES] {
    unsafe extern "C" {
        /// The C library's, since the standard library has none of its own.
        fn getentropy(buffer: *mut u8, bytes: usize) -> i32;
    }
    let mut bytes = [0; RANDOM_BYTES];
    // Sound: the buffer is as long as is said, and writable.
    let failed = unsafe { getentropy(bytes.as_mut_ptr(), bytes.len()) };
    assert_eq!(failed, 0, "there are random bytes");
    bytes
}

#[cfg(not(target_arch = "wasm32"))]
fn random_bytes() -> [u8; RANDOM_BYTES] {
    [0; RANDOM_BYTES]
}
