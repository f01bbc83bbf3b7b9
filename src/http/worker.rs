//! Worker threads that are kept for further work, and their results.

use std::io;
use std::process;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SendError, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::{self, Thread, ThreadId};
use std::time::Duration;

use crate::sync::lock;

/// How many workers and agents are kept for further attempts.
pub(crate) const MAX_IDLE: usize = 16;

/// How long they are kept. This is longer than the pauses of a wait, so that its polls share a connection.
pub(crate) const MAX_IDLE_TIME: Duration = Duration::from_secs(60);

/// Runs work on threads. The threads end when this is dropped.
#[derive(Debug)]
pub(crate) struct Workers<T>(Arc<Mutex<Idle<T>>>);

/// The idle workers, the last used one at the end.
type Idle<T> = Vec<(ThreadId, SyncSender<Job<T>>)>;

struct Job<T> {
    work: Box<dyn FnOnce() -> T + Send>,
    reply: Reply<T>,
}

impl<T> Default for Workers<T> {
    fn default() -> Self {
        Workers(Arc::default())
    }
}

impl<T: Send + 'static> Workers<T> {
    /// Starts the work on an idle worker or a new one. Unparks this thread when it is done.
    pub(crate) fn start(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Pending<T>> {
        let (sender, result) = mpsc::sync_channel(1);
        let reply = Reply { sender: Some(sender), caller: thread::current() };
        let mut job = Job { work: Box::new(work), reply };
        // The lock is not held while the job is passed on.
        let take_idle = || lock(&self.0).pop();
        while let Some((_, worker)) = take_idle() {
            match worker.send(job) {
                Ok(()) => return Ok(Pending(result)),
                Err(SendError(refused)) => job = refused,
            }
        }
        let idle = Arc::downgrade(&self.0);
        thread::Builder::new().name("atomiverse-attempt".to_owned()).spawn(move || run(job, &idle))?;
        Ok(Pending(result))
    }
}

/// Does the job and those that follow it.
fn run<T: Send>(first: Job<T>, idle: &Weak<Mutex<Idle<T>>>) {
    let this = thread::current().id();
    let mut next = Some(first);
    while let Some(Job { work, reply }) = next {
        let result = work();
        let (sender, jobs) = mpsc::sync_channel(1);
        // The worker is idle before it responds: otherwise the next attempt of the caller would start a second one.
        let is_kept = idle.upgrade().is_some_and(|idle| {
            let mut idle = lock(&idle);
            let has_room = idle.len() < MAX_IDLE;
            if has_room {
                idle.push((this, sender));
            }
            has_room
        });
        reply.send(result);
        next = if is_kept { receive(&jobs, this, idle) } else { None };
    }
}

fn receive<T>(jobs: &Receiver<Job<T>>, this: ThreadId, idle: &Weak<Mutex<Idle<T>>>) -> Option<Job<T>> {
    match jobs.recv_timeout(MAX_IDLE_TIME) {
        Ok(job) => return Some(job),
        Err(RecvTimeoutError::Disconnected) => return None,
        Err(RecvTimeoutError::Timeout) => {}
    }
    let was_idle = idle.upgrade().is_some_and(|idle| {
        let mut idle = lock(&idle);
        let before = idle.len();
        idle.retain(|(id, _)| *id != this);
        idle.len() < before
    });
    // A worker that is no longer listed has just been taken, so a job follows.
    if was_idle { None } else { jobs.recv().ok() }
}

/// Passes the result on. The caller is woken up in any case, also if the work panics.
struct Reply<T> {
    sender: Option<SyncSender<T>>,
    caller: Thread,
}

impl<T> Reply<T> {
    fn send(self, result: T) {
        if let Some(sender) = &self.sender {
            // Sending fails if the caller has left.
            let _ = sender.send(result);
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        drop(self.sender.take());
        self.caller.unpark();
    }
}

/// The result of work that was started.
#[derive(Debug)]
pub(crate) struct Pending<T>(Receiver<T>);

/// The work panicked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

impl<T> Pending<T> {
    /// Returns the result if the work has ended.
    pub(crate) fn take(&self) -> Option<Result<T, Panicked>> {
        match self.0.try_recv() {
            Ok(result) => Some(Ok(result)),
            Err(TryRecvError::Disconnected) => Some(Err(Panicked)),
            Err(TryRecvError::Empty) => None,
        }
    }
}

/// A value for each process. After a fork, the child gets one of its own and does not touch that of its parent, whose
/// locks may be held by threads that the child does not have.
#[derive(Debug)]
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
    use std::time::Instant;

    use super::*;
    use crate::http::stop::{Stops, Waited};

    fn wait<T>(pending: &Pending<T>) -> Result<T, Panicked> {
        match Stops::default().wait(Instant::now() + Duration::from_secs(60), || pending.take()) {
            Waited::Ready(result) => result,
            _ => panic!("no result"),
        }
    }

    #[test]
    fn calls_in_turn_share_one_worker() {
        let workers = Workers::default();
        let ids: Vec<ThreadId> =
            (0..50).map(|_| wait(&workers.start(|| thread::current().id()).unwrap()).unwrap()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]));
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_next_work_gets_another_worker() {
        let workers = Workers::default();
        assert_eq!(wait(&workers.start(|| -> u8 { panic!("on purpose") }).unwrap()), Err(Panicked));
        assert_eq!(wait(&workers.start(|| 7).unwrap()), Ok(7));
    }

    #[test]
    fn at_most_sixteen_workers_stay_and_they_end_with_their_owner() {
        let workers = Workers::default();
        let begun = Arc::new(std::sync::Barrier::new(40));
        let pending: Vec<_> = (0..40)
            .map(|_| {
                let begun = begun.clone();
                workers.start(move || begun.wait().is_leader()).unwrap()
            })
            .collect();
        assert_eq!(pending.iter().filter(|pending| wait(pending).unwrap()).count(), 1);
        assert_eq!(lock(&workers.0).len(), MAX_IDLE);
        let idle = Arc::downgrade(&workers.0);
        drop(workers);
        assert!(idle.upgrade().is_none());
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
