//! A place for one piece of work at a time, and for the tool that does it.

use std::panic::resume_unwind;
use tokio::task::JoinHandle;

/// Holds the tool `T` while nothing is under way, else the work, which gives it back with its outcome `O`. Work is a
/// task of its own: it goes on while whoever began it is busy with something else.
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

    /// The tool, for good, if the slot is free.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.tool.take()
    }

    /// Begins `work`, if the slot is free.
    pub(crate) fn fill<F>(&mut self, work: impl FnOnce(T) -> F)
    where
        F: Future<Output = (T, O)> + Send + 'static,
    {
        if let Some(tool) = self.tool.take() {
            self.under_way = Some(tokio::spawn(work(tool)));
        }
    }

    /// Waits for the outcome of the work under way; for ever if there is none. Not waiting to the end loses
    /// nothing.
    pub(crate) async fn done(&mut self) -> O {
        let Some(work) = &mut self.under_way else {
            return std::future::pending().await;
        };
        // It is not cancelled; if it panicked, so does this.
        let (tool, outcome) = match work.await {
            Ok(done) => done,
            Err(error) => resume_unwind(error.into_panic()),
        };
        self.tool = Some(tool);
        self.under_way = None;
        outcome
    }
}
