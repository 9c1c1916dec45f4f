//! The binaries that xtask builds and runs.

use std::path::PathBuf;

use crate::workspace;

/// A profile of `Cargo.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) name: &'static str,
}

/// What a person waits for: it compiles fast.
pub(crate) const LOCAL: Profile = Profile { name: "local" };

/// What is measured and deployed: it runs fast.
pub(crate) const RELEASE: Profile = Profile { name: "release" };

impl Profile {
    /// The directory of its binaries.
    pub(crate) fn directory(self) -> PathBuf {
        workspace::target().join(self.name)
    }
}

/// A binary of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binary {
    pub(crate) name: &'static str,
}

pub(crate) const OPERATOR: Binary = Binary { name: "rushgate" };
pub(crate) const BRIDGE: Binary = Binary {
    name: "kafka-bridge",
};
pub(crate) const CONSUMER: Binary = Binary { name: "consumer" };
pub(crate) const WASM_HOST: Binary = Binary { name: "wasm-host" };
pub(crate) const RUSH: Binary = Binary { name: "rush" };
pub(crate) const BENCH: Binary = Binary {
    name: "rushgate-bench",
};

impl Binary {
    /// The path of the build that `up` runs.
    pub(crate) fn path(self) -> PathBuf {
        LOCAL.directory().join(self.name)
    }
}
