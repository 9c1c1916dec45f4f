//! Failpoints for tests: places in the code where a program aborts, or where a known bug can be switched on.
//!
//! They exist only in builds with the feature `failpoints`. The variable `FAILPOINTS` sets them, in the syntax of the
//! crate `fail`. Example: with `bridge::published=3*off->return`, the program aborts when it reaches that place for
//! the fourth time. In other builds these functions do nothing.

/// Aborts the process, without cleanup or message, if the failpoint `name` is active.
#[inline]
pub fn failpoint(name: &str) {
    if is_active(name) {
        std::process::abort();
    }
}

/// Whether the failpoint `name` is active.
#[inline]
pub fn is_active(name: &str) -> bool {
    #[cfg(feature = "failpoints")]
    {
        static SETUP: std::sync::Once = std::sync::Once::new();
        // Never torn down: the scenario must last as long as the process.
        SETUP.call_once(|| std::mem::forget(fail::FailScenario::setup()));
        fail::eval(name, |_| ()).is_some()
    }
    #[cfg(not(feature = "failpoints"))]
    {
        let _ = name;
        false
    }
}
