//! A client that others wrote: the Python SDK, by way of the example that users get.

use std::path::Path;
use std::process::Command;

use crate::support::Sandbox;
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::tools::{or_skip, python};

#[test]
fn the_python_client_searches() {
    let Some(python) = or_skip(python()) else { return };
    let sandbox = Sandbox::indexed(&Repo::sample());
    let server = Server::start(&sandbox);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/clients/mcp_search.py");
    for (mode, protocol) in [("auto", "2026-07-28"), ("legacy", "20")] {
        let mut command = Command::new(&python);
        command.arg(&example).args(["LruCache", "--url", &server.mcp(), "--mode", mode]);
        let output = command.output().expect("python starts");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{mode}: {out}{err}");
        for part in ["1. app/LruCache.java:", "bm25", "ok, trace ", &format!("(protocol {protocol}")] {
            assert!(out.contains(part), "{mode}: `{part}` is not in: {out}{err}");
        }
    }
    // What the server refuses, the client can tell.
    let refused = Command::new(&python).arg(&example).args(["x", "--url", &server.mcp(), "--limit", "0"]).output().expect("python starts");
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("`limit` is 0"), "{refused:?}");
}
