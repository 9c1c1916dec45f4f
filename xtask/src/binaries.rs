//! The binaries that xtask builds and runs.

use std::path::PathBuf;

use crate::workspace;

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
    /// The path of its release build.
    pub(crate) fn path(self) -> PathBuf {
        workspace::target().join("release").join(self.name)
    }
}
