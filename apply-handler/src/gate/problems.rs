//! Why calls to the gate failed since the last one that succeeded. An outage is logged once for each of its causes, not
//! for each request: two causes can alternate, such as a refusal and the reset of the connection that loses it.

use std::sync::{Mutex, PoisonError};

pub(super) struct Problems(Mutex<Vec<String>>);

impl Problems {
    pub(super) const fn none() -> Self {
        Self(Mutex::new(vec![]))
    }

    /// A call failed with this advice, which is empty if there is none. Returns whether this is to be logged.
    pub(super) fn is_news(&self, advice: &str) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = logged.iter().all(|logged| logged != advice);
        if is_news {
            logged.push(advice.to_owned());
        }
        is_news
    }

    /// A call succeeded. Returns whether this ends an outage.
    pub(super) fn end(&self) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = !logged.is_empty();
        logged.clear();
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_that_alternate_are_news_once_until_a_call_succeeds() {
        let problems = Problems::none();
        assert!(!problems.end());
        for is_news in [true, false, true] {
            for advice in ["reset", "refused", ""] {
                assert_eq!(problems.is_news(advice), is_news, "{advice}");
            }
            if !is_news {
                assert!(problems.end());
            }
        }
        assert!(problems.end());
        assert!(!problems.end());
    }
}
