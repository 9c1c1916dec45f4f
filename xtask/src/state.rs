//! The state directory of a stack. It contains the stack's data, logs and addresses, and records its processes.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rushgate_testbed::detached::Identity;
use rushgate_testbed::secret;

use crate::stack::{SERVERS, Stack};
use crate::workspace;

/// `.rushgate/`, or the directory of another stack.
#[derive(Clone, Debug)]
pub(crate) struct State {
    dir: PathBuf,
}

impl State {
    /// The state in this directory, which need not exist yet.
    pub(crate) fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Creates the directory for its owner only: it contains passwords.
    pub(crate) fn create(&self) -> Result<()> {
        for dir in [
            self.dir.clone(),
            self.dir.join("log"),
            self.dir.join("run"),
            self.dir.join("tmp"),
        ] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(())
    }

    /// Fails at once if another command holds the lock: two commands must not start or stop the same services.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.path("lock");
        let file =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => bail!(
                "another `cargo xtask` is using {}: wait until it ends, or stop it",
                workspace::from_root(&self.dir).display()
            ),
            Err(fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    pub(crate) fn exists(&self) -> bool {
        self.dir.exists()
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// The log file of a service.
    pub(crate) fn log(&self, service: &str) -> PathBuf {
        self.path(format!("log/{service}.log"))
    }

    /// The process that was started for this service, whether or not it runs.
    pub(crate) fn process(&self, service: &str) -> Result<Option<Identity>> {
        let path = self.pid_file(service);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let identity = text
                    .parse()
                    .with_context(|| format!("in {}", path.display()))?;
                Ok(Some(identity))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Stores the process of a service.
    pub(crate) fn remember(&self, service: &str, process: &Identity) -> Result<()> {
        let path = self.pid_file(service);
        fs::write(&path, format!("{process}\n"))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Forgets a service that is no longer wanted.
    pub(crate) fn forget(&self, service: &str) -> Result<()> {
        let path = self.pid_file(service);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Every service that was started: the servers, then the others by name.
    pub(crate) fn services(&self) -> Result<Vec<String>> {
        let mut services = Vec::new();
        let Ok(entries) = fs::read_dir(self.path("run")) else {
            return Ok(services);
        };
        for entry in entries {
            let name = entry?.file_name();
            services.extend(
                name.to_str()
                    .and_then(|name| name.strip_suffix(".pid"))
                    .map(str::to_owned),
            );
        }
        services.sort_by_key(|service| {
            let server = SERVERS.iter().position(|server| server == service);
            (server.unwrap_or(SERVERS.len()), service.clone())
        });
        Ok(services)
    }

    /// The services with this name: `bridge-2` is one service, `bridge` every bridge.
    pub(crate) fn select(&self, name: &str) -> Result<Vec<String>> {
        let services = self.services()?;
        let chosen: Vec<String> = services
            .iter()
            .filter(|service| {
                let numbered = service
                    .strip_prefix(name)
                    .and_then(|rest| rest.strip_prefix('-'));
                *service == name || numbered.is_some_and(|number| number.parse::<u8>().is_ok())
            })
            .cloned()
            .collect();
        if chosen.is_empty() {
            bail!(
                "there is no service {name:?}: choose one of {}",
                services.join(", ")
            );
        }
        Ok(chosen)
    }

    /// The stack's addresses, if one was started here.
    pub(crate) fn stack(&self) -> Result<Option<Stack>> {
        let path = self.path("stack.env");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(
                Stack::parse(&text).with_context(|| format!("in {}", path.display()))?,
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The running stack; if there is none, the error says how to start one.
    pub(crate) fn running_stack(&self) -> Result<Stack> {
        self.stack()?
            .context("nothing is running in this checkout: run `cargo xtask up` first")
    }

    /// Stores the stack's addresses.
    pub(crate) fn save(&self, stack: &Stack) -> Result<()> {
        let path = self.path("stack.env");
        secret::write(&path, &stack.render())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes the directory.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.dir.display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes the content of the directory, except the lock.
    pub(crate) fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.dir)
            .with_context(|| format!("cannot list {}", self.dir.display()))?
        {
            let path = entry?.path();
            if path == self.path("lock") {
                continue;
            }
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
        self.create()
    }

    fn pid_file(&self, service: &str) -> PathBuf {
        self.path(format!("run/{service}.pid"))
    }
}
