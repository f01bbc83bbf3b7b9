//! Worker threads that are kept for further work.

use std::io;
use std::process;
use std::sync::OnceLock;
use std::sync::mpsc::{self, SendError, SyncSender};
use std::thread;
use std::time::Duration;

/// How long a worker is kept. This is longer than the pauses of a wait, so that its polls share a connection.
pub(crate) const MAX_IDLE_TIME: Duration = Duration::from_secs(60);

/// A thread that does one job after the other. It ends when this is dropped, or after an idle time.
pub(crate) struct Worker(SyncSender<Job>);

type Job = Box<dyn FnOnce() + Send>;

/// Starts the job on a worker that has ended its last one, or else on a new one.
pub(crate) fn start(idle: Option<Worker>, job: impl FnOnce() + Send + 'static) -> io::Result<Worker> {
    let mut job: Job = Box::new(job);
    if let Some(worker) = idle {
        match worker.0.send(job) {
            Ok(()) => return Ok(worker),
            Err(SendError(refused)) => job = refused,
        }
    }
    // Without a buffer, a job is either received or refused: none is lost in a worker that ends at this moment.
    let (sender, jobs) = mpsc::sync_channel::<Job>(0);
    let work = move || {
        job();
        while let Ok(job) = jobs.recv_timeout(MAX_IDLE_TIME) {
            job();
        }
    };
    thread::Builder::new().name("atomiverse-attempt".to_owned()).spawn(work)?;
    Ok(Worker(sender))
}

/// A value for each process. After a fork, the child gets one of its own and does not touch that of its parent, whose
/// locks may be held by threads that the child does not have.
pub(crate) struct PerProcess<T> {
    process: u32,
    value: T,
    next: OnceLock<Box<PerProcess<T>>>,
}

impl<T: Default> Default for PerProcess<T> {
    fn default() -> Self {
        PerProcess { process: process::id(), value: T::default(), next: OnceLock::new() }
    }
}

impl<T: Default> PerProcess<T> {
    pub(crate) fn get(&self) -> &T {
        let (mut entry, process) = (self, process::id());
        while entry.process != process {
            entry = entry.next.get_or_init(Box::default);
        }
        &entry.value
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Mutex;
    use std::thread::ThreadId;

    use super::*;
    use crate::sync::lock;

    /// Returns the thread that does a job, once it is done.
    fn run(idle: Option<Worker>) -> (Worker, ThreadId) {
        let (sender, id) = mpsc::channel();
        let worker = start(idle, move || sender.send(thread::current().id()).unwrap()).unwrap();
        (worker, id.recv().unwrap())
    }

    #[test]
    fn a_worker_does_one_job_after_the_other() {
        let (mut worker, first) = run(None);
        for _ in 0..50 {
            let (same, id) = run(Some(worker));
            assert_eq!(id, first);
            worker = same;
        }
    }

    #[test]
    fn a_new_worker_replaces_one_that_has_ended() {
        let (sender, jobs) = mpsc::sync_channel::<Job>(0);
        drop(jobs);
        let (worker, first) = run(Some(Worker(sender)));
        assert_eq!(run(Some(worker)).1, first);
    }

    #[test]
    fn a_worker_ends_with_its_owner() {
        thread_local!(static ALIVE: Cell<Option<mpsc::Sender<()>>> = const { Cell::new(None) });
        let (alive, ended) = mpsc::channel();
        let worker = start(None, move || ALIVE.set(Some(alive))).unwrap();
        drop(worker);
        assert!(ended.recv().is_err());
    }

    #[test]
    fn another_process_gets_a_value_of_its_own() {
        let mut value = PerProcess::<Mutex<u8>>::default();
        *lock(value.get()) = 1;
        value.process += 1;
        assert_eq!(*lock(value.get()), 0);
        *lock(value.get()) = 2;
        assert_eq!((*lock(&value.value), *lock(value.get())), (1, 2));
    }
}
