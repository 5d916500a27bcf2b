//! openraft's way to tokio: as openraft's own, but that the looks of a replica at its timers come
//! when its `Timer` says. openraft waits for nothing else with `sleep_until` in the tasks that
//! `run` begins; every other wait of its is as asked for.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::{AsyncRuntime, OptionalSend};
use openraft_rt_tokio::{TokioInstant, TokioRuntime};

use crate::pace::Timer;

tokio::task_local! {
    static TIMER: Arc<Timer>;
}

thread_local! {
    /// Of the tasks that are begun now on this thread.
    static BEGINS: RefCell<Option<Arc<Timer>>> = const { RefCell::new(None) };
}

/// Calls `begin`, and has the tasks that it begins keep to `timer`.
pub(crate) fn keeping_to<T>(timer: Arc<Timer>, begin: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            BEGINS.set(None);
        }
    }
    BEGINS.set(Some(timer));
    let _reset = Reset;
    begin()
}

/// tokio, with the looks of replicas at their timers paced.
#[derive(Debug)]
pub(crate) struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match BEGINS.with_borrow(Clone::clone) {
            Some(timer) => TokioRuntime::spawn(TIMER.scope(timer, future)),
            None => TokioRuntime::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: TokioInstant) -> Self::Sleep {
        let paced = TIMER.try_with(|timer| timer.next(deadline));
        TokioRuntime::sleep_until(paced.unwrap_or(deadline))
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: TokioInstant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use fanfare_core::id::ReplicaId;
    use openraft::Instant as _;

    use super::*;
    use crate::pace::Pace;

    #[tokio::test]
    async fn a_task_that_run_begins_waits_for_its_lines_and_others_do_not() {
        let timer = Timer::new(Pace::default(), ReplicaId(1), Duration::from_millis(150));
        timer.set_leads(true);
        let began = TokioInstant::now();
        // The first line is where the first look is asked for.
        timer.next(began);
        let wanted = began + Duration::from_millis(30);
        let ask = || async move { Runtime::sleep_until(wanted).deadline() };
        let paced = keeping_to(Arc::new(timer), || Runtime::spawn(ask()));
        let other = Runtime::spawn(ask());
        let asked = TokioRuntime::sleep_until(wanted).deadline();
        assert_eq!(other.await.unwrap(), asked);
        let later = paced.await.unwrap().duration_since(asked);
        assert_eq!(later, Duration::from_millis(170));
    }
}
