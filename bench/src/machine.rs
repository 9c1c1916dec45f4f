//! Describes the machine and the versions of the programs. Figures can be compared only together with this
//! description.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::process::Command;

/// The machine and the programs of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Processor model.
    pub cpu: String,
    /// Processor cores for everything: servers, programs and generator.
    pub cores: usize,
    pub memory_gib: f64,
    pub kernel: String,
    pub rustc: String,
    pub redis: String,
    pub kafka: String,
    /// Name and version of the database.
    pub database: String,
    pub host: String,
}

impl Machine {
    /// This machine. The versions of the servers are filled in by the caller.
    pub fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kibibytes = field(&meminfo, "MemTotal");
        let kibibytes = kibibytes.split(' ').next().and_then(|kib| kib.parse().ok());
        Self {
            cpu: field(&cpuinfo, "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: kibibytes.map_or(0.0, |kib: f64| (kib / 1024.0 / 102.4).round() / 10.0),
            kernel: kernel.trim().to_owned(),
            rustc: printed("rustc", "--version"),
            redis: String::new(),
            kafka: String::new(),
            database: String::new(),
            host: String::new(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cores of {} and {} GiB for everything, the load generator among it; Linux {}; {}; Redis {}, Kafka {}, {}; \
             components on {}",
            self.cores,
            self.cpu,
            self.memory_gib,
            self.kernel,
            self.rustc,
            self.redis,
            self.kafka,
            self.database,
            self.host
        )
    }
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or("?", |(_, value)| value.trim()).to_owned()
}

fn printed(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    output.map_or("?".to_owned(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}
