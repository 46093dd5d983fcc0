//! Log lines. In a component the host writes them with the ids of trace and run;
//! natively they go to standard error.

use crate::bindings::rerank::spanloom::search::log::Level;

/// For whoever develops the plugin.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Worth knowing, nothing to do.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// The answer may be worse than it could be.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Something does not work.
pub fn error(message: &str) {
    write(Level::Error, message);
}

#[cfg(target_arch = "wasm32")]
fn write(level: Level, message: &str) {
    crate::bindings::rerank::spanloom::search::log::write(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn write(level: Level, message: &str) {
    eprintln!("{level:?}: {message}");
}
