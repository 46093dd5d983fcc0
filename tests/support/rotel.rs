//! Rotel, a collector that others wrote, as a process: what it prints of what it took.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::{wait_for, wait_until};

/// Ports are chosen before the collector takes them, so another may be first.
const STARTS_MAX: usize = 5;

/// A running collector; ends with the value.
pub struct Rotel {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
    /// `http://127.0.0.1:PORT`, for gRPC.
    pub grpc: String,
    /// `http://127.0.0.1:PORT`, for HTTP.
    pub http: String,
}

impl Rotel {
    pub fn start(agent: &Path) -> Rotel {
        (0..STARTS_MAX).find_map(|_| Rotel::try_start(agent)).expect("a collector that listens")
    }

    /// `None` when it ends before it listens.
    fn try_start(agent: &Path) -> Option<Rotel> {
        let (grpc, http) = (free_address(), free_address());
        let mut command = Command::new(agent);
        command.env_clear().args(["start", "--otlp-grpc-endpoint", &grpc, "--otlp-http-endpoint", &http, "--exporter", "blackhole"]);
        for signal in ["traces", "metrics", "logs"] {
            command.args(["--debug-log", signal]);
        }
        command.args(["--debug-log-verbosity", "detailed"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the collector starts");
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        let into = said.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                into.lock().expect("no panic here").push(line);
            }
        });
        let mut rotel = Rotel { child, said, reader: Some(reader), grpc: format!("http://{grpc}"), http: format!("http://{http}") };
        let listens = wait_for("the collector", || match rotel.child.try_wait().expect("a child of ours") {
            Some(_) => Some(false),
            None => (TcpStream::connect(&grpc).is_ok() && TcpStream::connect(&http).is_ok()).then_some(true),
        });
        listens.then_some(rotel)
    }

    /// What it printed so far.
    pub fn said(&self) -> String {
        self.said.lock().expect("no panic there").join("\n")
    }

    /// The names of the spans of a trace so far, sorted.
    pub fn spans(&self, trace_id: &str) -> Vec<String> {
        let lines = self.said.lock().expect("no panic there");
        let mut within = false;
        let mut names = Vec::new();
        // Four blanks, the key, a colon: for spans only.
        for (key, value) in lines.iter().filter_map(|line| line.strip_prefix("    ")?.split_once(": ")) {
            match key.trim_end() {
                "Trace ID" => within = value.trim() == trace_id,
                "Name" if within => names.push(value.trim().to_owned()),
                _ => {}
            }
        }
        names.sort_unstable();
        names
    }

    /// Waits until a line ends in this.
    pub async fn line(&self, end: &str) {
        wait_until(&format!("`{end}` at the collector"), async || {
            self.said.lock().expect("no panic there").iter().any(|line| line.trim_end().ends_with(end)).then_some(())
        })
        .await;
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// An address where nobody listens at this moment.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").to_string()
}
