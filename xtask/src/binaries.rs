//! The binaries that xtask builds and runs.

use std::path::PathBuf;

use crate::workspace;

/// A binary that can be built, with its package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binary {
    pub(crate) package: &'static str,
    pub(crate) name: &'static str,
}

pub(crate) const OPERATOR: Binary = Binary {
    package: "rushgate-operator",
    name: "rushgate",
};
pub(crate) const BRIDGE: Binary = Binary {
    package: "rushgate-kafka-bridge",
    name: "kafka-bridge",
};
pub(crate) const CONSUMER: Binary = Binary {
    package: "rushgate-consumer",
    name: "consumer",
};
pub(crate) const WASM_HOST: Binary = Binary {
    package: "rushgate-wasm-host",
    name: "wasm-host",
};
pub(crate) const RUSH: Binary = Binary {
    package: "rushgate-e2e",
    name: "rush",
};
pub(crate) const BENCH: Binary = Binary {
    package: "rushgate-bench",
    name: "rushgate-bench",
};

impl Binary {
    /// The path of its release build.
    pub(crate) fn path(self) -> PathBuf {
        workspace::target().join("release").join(self.name)
    }
}
