//! `spanloom serve` as a process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use super::{Sandbox, wait_for};

/// A running server; ends with the value.
pub struct Server {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
    may_panic: bool,
    /// `http://127.0.0.1:PORT`.
    pub base: String,
    /// `http://127.0.0.1:PORT/metrics`.
    pub metrics: String,
}

impl Server {
    /// Starts a server on free ports and waits until it listens.
    pub fn start(sandbox: &Sandbox) -> Server {
        Server::start_at(sandbox, "127.0.0.1:0")
    }

    /// The same at another address.
    pub fn start_at(sandbox: &Sandbox, bind: &str) -> Server {
        let mut child = sandbox
            .command(&["serve", "--bind", bind, "--metrics-bind", "127.0.0.1:0"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("the binary starts");
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().expect("its standard error"));
        let into = said.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                into.lock().expect("no panic here").push(line);
            }
        });
        let mut server = Server { child, said, reader: Some(reader), may_panic: false, base: String::new(), metrics: String::new() };
        server.base = server.address("MCP endpoint: ").trim_end_matches("/mcp").to_owned();
        server.metrics = server.address("Prometheus:   ");
        server
    }

    /// The same server, in which a panic is no failure of the test.
    pub fn that_may_panic(mut self) -> Server {
        self.may_panic = true;
        self
    }

    /// The MCP endpoint.
    pub fn mcp(&self) -> String {
        format!("{}/mcp", self.base)
    }

    /// Everything on standard error so far.
    pub fn said(&self) -> String {
        self.said.lock().expect("no panic there").join("\n")
    }

    /// Memory of the process that is in use now, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kilobytes.expect("a size") << 10
    }

    /// Tells it to stop, and waits; its exit code.
    pub fn stop(mut self) -> Option<i32> {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill");
        assert!(told.success());
        let status = wait_for("the server to stop", || self.child.try_wait().expect("a child of ours"));
        status.code()
    }

    /// Ends it at once, without telling it.
    pub fn kill(self) {}

    /// The same while others still talk to it.
    pub fn kill_now(&self) {
        let told = Command::new("kill").args(["-KILL", &self.child.id().to_string()]).status().expect("kill");
        assert!(told.success());
    }

    fn address(&mut self, label: &str) -> String {
        wait_for("the server's addresses", || {
            let ended = self.child.try_wait().expect("a child of ours");
            let said = self.said();
            let found = said.lines().find_map(|line| line.strip_prefix(label).map(str::to_owned));
            assert!(found.is_some() || ended.is_none(), "the server ended with {ended:?}: {said}");
            found
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let said = self.said();
        if std::thread::panicking() {
            eprintln!("the server said:\n{said}");
        } else {
            assert!(self.may_panic || !said.contains("panicked"), "the server panicked:\n{said}");
        }
    }
}
