//! Creating a campaign as an operator does.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use tokio::process::Command;

/// The `rushgate` command.
#[derive(Clone, Debug)]
pub struct Operator {
    program: PathBuf,
    environment: Vec<(String, String)>,
}

/// How the command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Operator {
    /// The command at `program`, with the addresses of the servers in `environment`.
    pub fn new(program: PathBuf, environment: Vec<(String, String)>) -> Self {
        Self {
            program,
            environment,
        }
    }

    /// The command that `RUSHGATE_OPERATOR` names, or the one beside this program.
    ///
    /// # Errors
    /// When there is neither.
    pub fn find() -> Result<Self> {
        let program = match std::env::var_os("RUSHGATE_OPERATOR") {
            Some(program) => PathBuf::from(program),
            None => std::env::current_exe()?.with_file_name("rushgate"),
        };
        if !program.exists() {
            bail!(
                "the rushgate command is not at {}: build it with `cargo build --release --package rushgate-operator`",
                program.display()
            );
        }
        Ok(Self::new(program, vec![]))
    }

    /// Creates a campaign that is open now.
    ///
    /// # Errors
    /// What the command says, when it fails.
    pub async fn create(&self, campaign: &str, quota: u32) -> Result<()> {
        let quota = quota.to_string();
        self.run(&["campaign", "create", "--id", campaign, "--quota", &quota])
            .await
            .map(drop)
    }

    /// Runs the command; what it prints.
    ///
    /// # Errors
    /// What the command says, when it fails.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let ended = self.end_of(arguments).await?;
        if ended.code == Some(0) {
            Ok(ended.stdout)
        } else {
            bail!("{}", ended.stderr.trim())
        }
    }

    /// Runs the command, which may fail; how it ended.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn end_of(&self, arguments: &[&str]) -> Result<Ended> {
        let output = Command::new(&self.program)
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .output()
            .await
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        Ok(Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }
}
