//! Waiting that the operator is told of.

use std::io::Write;
use std::pin::pin;
use std::time::Duration;

/// For how long nobody wonders.
const UNNOTICED: Duration = Duration::from_secs(1);

/// Does `work`, and says once on the error stream what it is when it takes longer than a second.
pub(crate) async fn announced<T>(
    what: impl FnOnce() -> String,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(UNNOTICED, &mut work).await {
        return done;
    }
    // Nobody there to read it is no failure of ours.
    let _ = writeln!(std::io::stderr(), "{}", what());
    work.await
}
