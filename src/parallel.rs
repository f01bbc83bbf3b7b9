//! Several requests at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// How many requests a wait makes at a time.
pub(crate) const DEFAULT_PARALLEL: usize = 4;

/// Locks the mutex, also after a panic of another thread: what it guards is not left half-changed.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `call` for each item, for at most `parallel` items at a time, and returns the results in the order
/// of the items. The calling thread does its share, so it does not matter if no other can be started.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], parallel: usize, call: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut results = Vec::new();
        while let Some((index, item)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            items.get(index).map(|item| (index, item))
        } {
            results.push((index, call(item)));
        }
        results
    };
    let mut results = thread::scope(|scope| {
        let helpers: Vec<_> = (1..parallel.min(items.len()))
            .map_while(|_| {
                let thread = thread::Builder::new().name("atomiverse-parallel".to_owned());
                thread.spawn_scoped(scope, work).ok()
            })
            .collect();
        let mut results = work();
        for helper in helpers {
            match helper.join() {
                Ok(more) => results.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_have_the_order_of_the_items() {
        let items: Vec<usize> = (0..100).collect();
        for parallel in [0, 1, 4, 1000] {
            assert_eq!(
                map(&items, parallel, |item| item * 2),
                items.iter().map(|item| item * 2).collect::<Vec<_>>()
            );
        }
        assert!(map(&[], 4, |item: &usize| *item).is_empty());
    }

    #[test]
    fn calls_run_at_the_same_time_and_not_more_than_allowed() {
        // Ends only if three calls run at the same time.
        let barrier = Barrier::new(3);
        let running = Mutex::new((0, 0));
        map(&[(); 30], 3, |()| {
            let mut count = running.lock().unwrap();
            count.0 += 1;
            count.1 = count.1.max(count.0);
            drop(count);
            barrier.wait();
            running.lock().unwrap().0 -= 1;
        });
        assert_eq!(running.into_inner().unwrap().1, 3);
    }
}
