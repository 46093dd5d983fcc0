//! Puts what was written on the disk, for all who wait at once: one thread syncs, and while
//! it does, the next group gathers. Some hundred waiting callers then cost two syncs, not
//! some hundred.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::JournalError;
use super::lines::DayFile;

/// Nobody waits longer for a disk that hangs. A slow disk syncs in a tenth of a second.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Tells when what was written is on the disk.
#[must_use = "only when it was waited for is the event on the disk"]
pub struct Ticket(Arc<Group>);

/// All who wait for the same sync.
#[derive(Default)]
struct Group {
    done: Mutex<Option<Result<(), Arc<io::Error>>>>,
    changed: Condvar,
}

/// The thread that syncs, from the side of those who ask it.
pub struct Syncer(Arc<Desk>);

#[derive(Default)]
struct Desk {
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Default)]
struct Orders {
    /// The group that gathers: it isn't being synced yet.
    group: Arc<Group>,
    /// Its files: two at most, but around midnight.
    files: Vec<Arc<DayFile>>,
    asked: bool,
    closed: bool,
}

impl Ticket {
    /// Waits until the event is on the disk, ten seconds at most.
    ///
    /// # Errors
    /// [`JournalError::Sync`].
    pub fn wait(self) -> Result<(), JournalError> {
        let until = Instant::now() + WAIT_MAX;
        let mut done = lock(&self.0.done);
        loop {
            if let Some(result) = &*done {
                return result.clone().map_err(|error| JournalError::Sync { error });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let error = io::Error::new(io::ErrorKind::TimedOut, format!("the disk didn't answer in {} s", WAIT_MAX.as_secs()));
                return Err(JournalError::Sync { error: Arc::new(error) });
            }
            done = self.0.changed.wait_timeout(done, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Syncer {
    /// # Errors
    /// When the thread can't be started.
    pub fn start() -> io::Result<Syncer> {
        let desk = Arc::new(Desk::default());
        let worker = desk.clone();
        std::thread::Builder::new().name("spanloom-journal".into()).spawn(move || worker.work())?;
        Ok(Syncer(desk))
    }

    /// A ticket for what was written to these files before.
    pub fn ticket(&self, files: Vec<Arc<DayFile>>) -> Ticket {
        let mut orders = lock(&self.0.orders);
        for file in files {
            if !orders.files.iter().any(|known| Arc::ptr_eq(known, &file)) {
                orders.files.push(file);
            }
        }
        orders.asked = true;
        self.0.changed.notify_one();
        Ticket(orders.group.clone())
    }
}

impl Drop for Syncer {
    /// The thread does what it was asked for, and ends. It is not waited for: a disk may
    /// hang, and who needs to know waits for a ticket.
    fn drop(&mut self) {
        lock(&self.0.orders).closed = true;
        self.0.changed.notify_one();
    }
}

impl Desk {
    fn work(&self) {
        loop {
            let mut orders = lock(&self.orders);
            while !orders.asked {
                if orders.closed {
                    return;
                }
                orders = self.changed.wait(orders).unwrap_or_else(PoisonError::into_inner);
            }
            orders.asked = false;
            let group = std::mem::take(&mut orders.group);
            let files = std::mem::take(&mut orders.files);
            drop(orders);
            // All, also when one fails.
            let results: Vec<io::Result<()>> = files.iter().map(|file| file.sync()).collect();
            let result: io::Result<()> = results.into_iter().collect();
            *lock(&group.done) = Some(result.map_err(Arc::new));
            group.changed.notify_all();
        }
    }
}

/// Puts on the disk that a file or folder is there: the entry that its folder has of it.
pub fn sync_folder(of: &Path) -> io::Result<()> {
    let parent = match of.parent() {
        // A relative path of one part.
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    // Where folders can't be opened, they need no sync.
    if cfg!(unix) { File::open(parent)?.sync_all() } else { Ok(()) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
