//! The handlers of a system: processes of Spin, or of the double for it.

use super::{Handler, Size, System};
use crate::program::program;
use crate::rights::Role;
use crate::rush::Rush;
use rushgate_testbed::port::Port;
use rushgate_testbed::process::Process;
use rushgate_testbed::wait::until;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

impl System {
    /// Starts another handler, and waits until it is ready.
    pub async fn start_handler(&mut self) {
        let handler = self.spawn_handler();
        let ready = format!("{}/readyz", handler.url);
        until("the handler is ready", async || {
            let response = reqwest::get(&ready).await;
            response.is_ok_and(|response| response.status().is_success())
        })
        .await;
        self.handlers.push(handler);
    }

    /// Starts a handler that answers, but may not be ready.
    pub async fn start_unready(settings: &[(&str, &str)]) -> Self {
        let mut system = Self::start_with(Size::NONE, settings).await;
        let handler = system.spawn_handler();
        let health = format!("{}/healthz", handler.url);
        until("the handler answers", async || {
            reqwest::get(&health).await.is_ok()
        })
        .await;
        system.handlers.push(handler);
        system
    }

    fn spawn_handler(&self) -> Handler {
        let port = Port::free().expect("a free port");
        let listen = port.address().to_string();
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spin.toml");
        // Spin itself, if `cargo xtask test` has found it.
        let mut command = match std::env::var_os("RUSHGATE_SPIN") {
            Some(spin) => {
                let mut command = Command::new(spin);
                command
                    .args(["up", "--state-dir"])
                    .arg(self.directory.path().join(&listen));
                command
            }
            None => Command::new(program("wasm-host")),
        };
        command
            .arg("--from")
            .arg(manifest)
            .args(["--listen", &listen]);
        let name = format!("handler-{}", self.handlers.len());
        let process = self.run(&mut command, Role::Handler, &name);
        Handler {
            process,
            url: format!("http://{listen}"),
            port,
        }
    }

    /// The addresses of the handlers.
    pub fn handler_addresses(&self) -> Vec<SocketAddr> {
        let ports = self.handlers.iter().map(|handler| &handler.port);
        ports.map(Port::address).collect()
    }

    /// A handler's process.
    pub fn handler(&self, number: usize) -> &Process {
        &self.handlers[number].process
    }

    /// Kills a handler, as in a crash.
    pub fn crash_handler(&mut self, number: usize) {
        self.handlers.remove(number).process.crash();
    }

    /// The URL of the first handler.
    pub fn url(&self) -> &str {
        &self.handlers.first().expect("a handler").url
    }

    /// The handlers' logs.
    pub fn logs(&self) -> String {
        self.handlers
            .iter()
            .map(|handler| handler.process.log())
            .collect()
    }

    /// A rush of this many applicants at `campaign`, over all handlers.
    pub fn rush(&self, campaign: &str, applicants: usize) -> Rush {
        Rush {
            urls: self
                .handlers
                .iter()
                .map(|handler| handler.url.clone())
                .collect(),
            campaign: campaign.to_owned(),
            applicants,
            concurrency: 50,
            repeats: 3,
            outlasts_a_loss: false,
        }
    }
}
