//! A place for one piece of work at a time, and for the tool that does it.

use std::pin::Pin;

/// Holds the tool `T` while nothing is under way, else the work, which gives it back with its outcome `O`.
pub(crate) struct Slot<T, O> {
    tool: Option<T>,
    under_way: Option<UnderWay<T, O>>,
}

type UnderWay<T, O> = Pin<Box<dyn Future<Output = (T, O)> + Send>>;

impl<T, O> Slot<T, O> {
    pub(crate) fn free(tool: T) -> Self {
        Self {
            tool: Some(tool),
            under_way: None,
        }
    }

    pub(crate) fn is_free(&self) -> bool {
        self.tool.is_some()
    }

    /// Begins `work`, if the slot is free.
    pub(crate) fn fill<F>(&mut self, work: impl FnOnce(T) -> F)
    where
        F: Future<Output = (T, O)> + Send + 'static,
    {
        if let Some(tool) = self.tool.take() {
            self.under_way = Some(Box::pin(work(tool)));
        }
    }

    /// Waits for the outcome of the work under way; for ever if there is none. Not waiting to the end loses
    /// nothing.
    pub(crate) async fn done(&mut self) -> O {
        let Some(work) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let (tool, outcome) = work.await;
        self.tool = Some(tool);
        self.under_way = None;
        outcome
    }
}
