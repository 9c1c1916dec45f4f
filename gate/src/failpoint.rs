//! Where a program dies when it is told to, and known bugs that it can be told to have: for tests.
//!
//! Only a build with the feature `failpoints` listens. What it does is in the variable `FAILPOINTS`, as the crate
//! `fail` reads it: `bridge::published=3*off->return` dies when it comes there for the fourth time. In any other
//! build all of this is nothing.

/// Dies here, at once and without a word, if it is told to.
#[inline]
pub fn failpoint(at: &str) {
    if is_active(at) {
        std::process::abort();
    }
}

/// Whether this bug is planted.
#[inline]
pub fn is_active(bug: &str) -> bool {
    #[cfg(feature = "failpoints")]
    {
        static LISTEN: std::sync::Once = std::sync::Once::new();
        // For as long as the program runs.
        LISTEN.call_once(|| std::mem::forget(fail::FailScenario::setup()));
        fail::eval(bug, |_| ()).is_some()
    }
    #[cfg(not(feature = "failpoints"))]
    {
        let _ = bug;
        false
    }
}
