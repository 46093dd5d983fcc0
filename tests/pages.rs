//! Pages in a real browser, where there is one: they show, complain of nothing and load
//! nothing from elsewhere.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::experiments::{DEPTHS, write};
use crate::support::Sandbox;
use crate::support::mcp::raw_call;
use crate::support::projects::skipped;
use crate::support::repo::Repo;
use crate::support::server::Server;

const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The page's document as the browser has it, and the picture of it in bytes; `None`
/// without a browser.
fn look_at(address: &str, sandbox: &Sandbox) -> Option<(String, Vec<u8>)> {
    let Some(browser) = BROWSERS.into_iter().find(|browser| Command::new(browser).arg("--version").output().is_ok()) else {
        skipped("no Chromium is there");
        return None;
    };
    let picture = sandbox.path("page.png");
    let look = |option: &str| {
        // Whatever isn't of this machine is asked of a proxy that nobody runs.
        let ended = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1100,3000"])
            .args(["--proxy-server=127.0.0.1:9", "--proxy-bypass-list=<local>;127.0.0.1"])
            .arg(format!("--user-data-dir={}", sandbox.path("browser").display()))
            .args([option, address])
            .output()
            .expect("the browser starts");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{said}");
        let complaints: Vec<&str> = said.lines().filter(|line| line.contains("CONSOLE") || line.contains("ERR_")).collect();
        assert!(complaints.is_empty(), "{address}: {complaints:?}");
        String::from_utf8_lossy(&ended.stdout).into_owned()
    };
    let document = look("--dump-dom");
    look(&format!("--screenshot={}", picture.display()));
    Some((document, std::fs::read(&picture).expect("a picture")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_an_experiment_shows_in_a_browser() {
    let sandbox = Sandbox::indexed(&Repo::sample());
    write(&sandbox, "depths.toml", DEPTHS);
    let server = Server::start(&sandbox);
    for number in 0..20 {
        let session = format!("s{number}");
        raw_call(&server, "semantic_search", json!({"query": "token bucket"}), &[("x-session-id", &session)], json!({})).await;
    }
    let served = format!("{}/reports/experiments/depths.html", server.base);
    let Some((document, picture)) = look_at(&served, &sandbox) else { return };
    for part in ["<h1", "depths", "<table"] {
        assert!(document.contains(part), "{part} is not in {document}");
    }
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{} bytes", picture.len());

    // One with everything that a report can have.
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/experiments/report/golden");
    for (name, plots) in [("ab", 3), ("interleave", 3), ("shadow", 3), ("rolled_back", 1)] {
        let address = format!("file://{}", golden.join(format!("{name}.html")).display());
        let Some((document, picture)) = look_at(&address, &sandbox) else { return };
        assert!(document.matches("<svg").count() >= plots, "{name} has {} plots", document.matches("<svg").count());
        assert!(picture.len() > 50_000, "{name}: {} bytes", picture.len());
    }
}
