//! How urgent the system takes a thread to be.

/// The least urgent that `nice` knows.
#[cfg(target_os = "linux")]
const LEAST: libc::c_int = 19;

/// Has the calling thread, and those that it starts, run on what others leave. Where the
/// system can't, nothing happens.
#[cfg(target_os = "linux")]
pub fn yield_to_others() {
    // To the scheduler a processor that only does such work is free: whoever wakes up has
    // it at once; man 7 sched, "SCHED_IDLE".
    let idle = libc::sched_param { sched_priority: 0 };
    // SAFETY: it reads one structure, which lives as long as the call.
    let refused = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const idle) } != 0;
    // On Linux, 0 is the calling thread alone; man 2 setpriority, "C library/kernel differences".
    // SAFETY: it takes numbers and changes no memory of this process.
    let refused = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, LEAST) } != 0 || refused;
    if refused {
        tracing::debug!(error = %std::io::Error::last_os_error(), "a thread's priority can't be lowered");
    }
}

/// Elsewhere a process has one priority for all of its threads.
#[cfg(not(target_os = "linux"))]
pub fn yield_to_others() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn niceness() -> (i32, i32) {
        // SAFETY: they take numbers and change no memory of this process.
        unsafe { (libc::sched_getscheduler(0), libc::getpriority(libc::PRIO_PROCESS, 0)) }
    }

    #[test]
    fn one_thread_steps_back_and_the_others_do_not() {
        let before = niceness();
        let other = std::thread::spawn(|| {
            yield_to_others();
            (niceness(), std::thread::spawn(niceness).join().unwrap_or_default())
        });
        let least = (libc::SCHED_IDLE, LEAST);
        assert_eq!(other.join().unwrap_or_default(), (least, least));
        assert_eq!(niceness(), before);
    }
}
