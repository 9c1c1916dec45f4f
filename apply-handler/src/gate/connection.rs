//! The one connection of an instance to Redis, which all its requests share.
//!
//! Spin opens a TCP connection for each [`Connection::open`], and neither reconnects nor times out. So the connection
//! is kept in a static variable, and work on it has a timeout.

use super::error::reply_code;
use crate::deadline;
use futures::lock::Mutex;
use spin_sdk::redis::{Connection, Error};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

static CONNECTION: Mutex<Option<Arc<Connection>>> = Mutex::new(None);

/// Does `work` on the connection to `address`, and a second time on a new one if the first gets no reply; `None` if
/// both together are not done when `timeout` has passed since `begun`.
///
/// # Errors
/// When Redis replies with an error, or there is no reply on the second connection either.
pub(super) async fn within<T>(
    address: &str,
    begun: Instant,
    timeout: Duration,
    work: impl AsyncFn(&Connection) -> Result<T, Error>,
) -> Option<Result<T, Error>> {
    let used = RefCell::new(None);
    let attempts = async {
        let first = connection(address, None, &used).await?;
        match work(&first).await {
            // The server has become a replica. The next request opens a connection, to the new master.
            Err(error) if reply_code(&error) == Some("READONLY") => {
                discard(Some(&first)).await;
                Err(error)
            }
            Err(error) if reply_code(&error).is_none() => {
                let second = connection(address, Some(&first), &used).await?;
                work(&second).await
            }
            done => done,
        }
    };
    // An unfinished future is dropped here, and with it a lock that it may hold.
    let finished = deadline::within_since(begun, timeout, attempts).await;
    if finished.is_none() {
        // The connection may be half open. The next request must not wait for it as well.
        discard(used.take().as_ref()).await;
    }
    finished
}

/// The shared connection. Opens a new one if there is none, or if it is the one that `failed`.
async fn connection(
    address: &str,
    failed: Option<&Arc<Connection>>,
    used: &RefCell<Option<Arc<Connection>>>,
) -> Result<Arc<Connection>, Error> {
    let mut shared = CONNECTION.lock().await;
    let usable = shared
        .as_ref()
        .filter(|shared| failed.is_none_or(|failed| !Arc::ptr_eq(shared, failed)));
    let connection = match usable {
        Some(connection) => connection.clone(),
        None => {
            *shared = None;
            let opened = Arc::new(Connection::open(address).await?);
            shared.insert(opened).clone()
        }
    };
    used.replace(Some(connection.clone()));
    Ok(connection)
}

/// Removes `connection` from the static, unless another request has replaced it already.
async fn discard(connection: Option<&Arc<Connection>>) {
    let mut shared = CONNECTION.lock().await;
    if let (Some(current), Some(connection)) = (shared.as_ref(), connection)
        && Arc::ptr_eq(current, connection)
    {
        *shared = None;
    }
}
