#![doc = include_str!("../README.md")]
//!
//! # Map
//!
//! [`Options`] is the command line, and [`run`] does all the work. `manifest`, `variables` and `allowed_hosts` parse
//! `spin.toml` into values. `guest` compiles the component and links it to its `imports`, which work on the `state` of
//! an instance. `instances` limits how long an instance lives and how many requests it takes, and `serve` passes
//! requests to the instances.

#![allow(missing_docs, reason = "a doc comment says what the name does not")]

mod allowed_hosts;
mod guest;
mod imports;
mod instances;
mod manifest;
mod options;
mod serve;
mod state;
mod variables;

pub use options::Options;

use crate::guest::Guest;
use crate::instances::Instances;
use crate::manifest::Manifest;
use crate::variables::Variables;
use anyhow::{Context, Result, anyhow};
use std::io::ErrorKind;
use std::path::Path;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Limits the instances, as in Spin; the default is Spin's, too.
const MAX_INSTANCE_COUNT: &str = "SPIN_MAX_INSTANCE_COUNT";

/// Serves an application until `shutdown`, and then until its requests in flight are answered.
///
/// Prints `Serving http://<address>` on standard error when it accepts requests.
///
/// # Errors
/// When the manifest, the component, a variable or the address is not usable, or a connection cannot be accepted.
pub async fn run(options: &Options, shutdown: impl Future<Output = ()>) -> Result<()> {
    let path = options.manifest();
    let manifest = Manifest::read(&path)?;
    let environment = |name: &str| std::env::var(name).ok();
    let variables = Variables::resolve(&manifest.variables, options.variables(), environment)?;
    let source = path
        .parent()
        .unwrap_or(Path::new(""))
        .join(&manifest.component.source);
    let most_instances = match environment(MAX_INSTANCE_COUNT) {
        Some(count) => count
            .parse()
            .with_context(|| format!("{MAX_INSTANCE_COUNT} is {count:?}"))?,
        None => 1_000,
    };
    let guest = Guest::load(&manifest, &source, &variables, most_instances)?;

    let listener = TcpListener::bind(options.listen()).await.map_err(|error| {
        let reason = match error.kind() {
            ErrorKind::AddrInUse => "the address is already in use".to_owned(),
            _ => error.to_string(),
        };
        anyhow!("cannot listen on {}: {reason}", options.listen())
    })?;
    eprintln!("Serving http://{}", listener.local_addr()?);

    let (stopper, stop) = watch::channel(false);
    let instances = Instances::new(guest, options.reuse(), stop.clone());
    let stopping = async {
        shutdown.await;
        stopper.send_replace(true);
        Ok(())
    };
    tokio::try_join!(serve::serve(listener, instances, stop), stopping)?;
    Ok(())
}
