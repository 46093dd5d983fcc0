//! A client that others wrote: the Python SDK, by way of the example that users get.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Sandbox;
use crate::support::repo::Repo;
use crate::support::server::Server;

/// What the example needs.
const REQUIREMENT: &str = "mcp>=2,<3";

#[test]
fn the_python_client_searches() {
    let python = match python_with_mcp() {
        Ok(python) => python,
        Err(why) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {why}");
            return;
        }
        Err(why) => panic!("{why}"),
    };
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

/// A Python with the SDK, in an environment that is made once and kept.
fn python_with_mcp() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let python = folder.join("bin/python");
    let ready =
        || Command::new(&python).args(["-c", "import mcp.client.streamable_http"]).output().is_ok_and(|output| output.status.success());
    if ready() {
        return Ok(python);
    }
    let steps: [(&str, &[&str]); 2] = [
        ("python3", &["-m", "venv", folder.to_str().ok_or("the target folder's path is not UTF-8")?]),
        (python.to_str().unwrap_or_default(), &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", REQUIREMENT]),
    ];
    for (program, arguments) in steps {
        let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    if ready() { Ok(python) } else { Err(format!("{REQUIREMENT} is installed, but can't be imported")) }
}
