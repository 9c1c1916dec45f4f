//! How fast something gets done that is watched from outside.

use anyhow::{Result, bail};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long nothing may happen.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(10);

/// Waits until so many are done, and says how many a second that was, from the first that are seen to be done: before, those
/// who do it start.
///
/// # Errors
/// When it cannot be seen, or none was done for a minute.
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
