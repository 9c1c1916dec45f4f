//! One page.

use super::plan::Load;
use super::template::Template;
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::time::Duration;

/// The body of the page at `path`, as text. It blocks, for five seconds at most.
///
/// # Errors
/// When the answer is not 200, or there is none.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut load = Load {
        patience: Duration::from_secs(5),
        ..Load::new(address, vec![Template::get(path)])
    };
    let page = load.run()?.all(200)?.sample;
    let (_, body) = page
        .split_once("\r\n\r\n")
        .context("a page without a head")?;
    Ok(body.to_owned())
}
