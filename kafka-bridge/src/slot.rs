//! Runs one background task at a time. While no task runs, the slot keeps the connection that the tasks use.

use std::panic::resume_unwind;
use tokio::task::JoinHandle;

/// Holds the tool `T` (for example a Redis connection) while no task is running. A task takes the tool and
/// gives it back with its outcome `O`. The task runs on its own: it goes on while the event loop handles
/// something else.
pub(crate) struct Slot<T, O> {
    tool: Option<T>,
    under_way: Option<JoinHandle<(T, O)>>,
}

impl<T, O> Slot<T, O>
where
    T: Send + 'static,
    O: Send + 'static,
{
    pub(crate) fn free(tool: T) -> Self {
        Self {
            tool: Some(tool),
            under_way: None,
        }
    }

    pub(crate) fn is_free(&self) -> bool {
        self.tool.is_some()
    }

    /// Takes the tool out for good, if no task is running.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.tool.take()
    }

    /// Starts `work`, if no task is running.
    pub(crate) fn fill<F>(&mut self, work: impl FnOnce(T) -> F)
    where
        F: Future<Output = (T, O)> + Send + 'static,
    {
        if let Some(tool) = self.tool.take() {
            self.under_way = Some(tokio::spawn(work(tool)));
        }
    }

    /// Waits for the outcome of the running task; waits forever if there is none. Cancelling this wait does not
    /// cancel the task.
    pub(crate) async fn done(&mut self) -> O {
        let Some(work) = &mut self.under_way else {
            return std::future::pending().await;
        };
        // The task is never cancelled. If it panicked, this panics too.
        let (tool, outcome) = match work.await {
            Ok(done) => done,
            Err(error) => resume_unwind(error.into_panic()),
        };
        self.tool = Some(tool);
        self.under_way = None;
        outcome
    }
}
