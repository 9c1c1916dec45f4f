//! Measures the speed of work in another process, in items per second, by polling how many items are done. The
//! start-up time of the process does not count.

use anyhow::{Result, bail};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest time without progress.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(10);

/// Waits until this much is done; returns the rate from the first progress on, so without the start-up time.
///
/// # Errors
/// When the progress cannot be read, or there is none for a minute.
pub(super) fn progress(all: u64, mut done: impl FnMut() -> Result<u64>) -> Result<f64> {
    let mut begun = Instant::now();
    let mut moved = begun;
    let (mut before, mut last) = (0, 0);
    while last < all {
        sleep(LOOK);
        let now_done = done()?;
        let now = Instant::now();
        if now_done > last {
            moved = now;
        }
        if last == 0 && (1..all).contains(&now_done) {
            (begun, before) = (now, now_done);
        }
        last = now_done;
        if now - moved > PATIENCE {
            bail!("no progress: {last} of {all} are done");
        }
    }
    Ok((all - before) as f64 / begun.elapsed().as_secs_f64())
}
