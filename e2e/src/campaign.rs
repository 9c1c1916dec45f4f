//! Runs the `rushgate` command, as an operator does, and returns its output and its exit code.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::future::{Future, pending};
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// The format that tests read.
pub const AS_JSON: [&str; 2] = ["--output", "json"];

/// The `rushgate` command.
#[derive(Clone, Debug)]
pub struct Operator {
    program: PathBuf,
    environment: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Output and errors, without the notes about what it waited for: on a busy machine there are some.
    pub fn said(&self) -> String {
        let is_note = |line: &str| {
            let line = line.trim_end();
            line.contains(": waiting up to ") || line.contains(" s so far")
        };
        let errors = self.stderr.split_inclusive('\n');
        let errors = errors.filter(|line| !is_note(line));
        errors.fold(self.stdout.clone(), |said, line| said + line)
    }

    /// The objects on stdout, one a line, of a command that ran with `--output json`.
    ///
    /// # Errors
    /// When a line is not JSON.
    pub fn objects(&self) -> Result<Vec<Value>> {
        objects(&self.stdout)
    }
}

fn objects(text: &str) -> Result<Vec<Value>> {
    let object = |line| serde_json::from_str(line).with_context(|| format!("reading {line:?}"));
    text.lines().map(object).collect()
}

impl Operator {
    /// The command at `program`, with the addresses of the servers in `environment`.
    pub fn new(program: PathBuf, environment: Vec<(String, String)>) -> Self {
        Self {
            program,
            environment,
        }
    }

    /// The same command with other settings.
    #[must_use]
    pub fn with(&self, settings: &[(&str, &str)]) -> Self {
        let mut operator = self.clone();
        let settings = settings.iter();
        operator
            .environment
            .extend(settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        operator
    }

    /// The same command with these variables, such as those of [`Logins::of`](crate::rights::Logins::of).
    #[must_use]
    pub fn logged_in(&self, variables: Vec<(String, String)>) -> Self {
        let mut operator = self.clone();
        operator.environment.extend(variables);
        operator
    }

    /// The command named by `RUSHGATE_OPERATOR`, or the one beside this program.
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
                "the rushgate command is missing at {}: build it with `cargo build --release --package \
                 rushgate-operator`",
                program.display()
            );
        }
        Ok(Self::new(program, vec![]))
    }

    /// Creates a campaign that is open now.
    ///
    /// # Errors
    /// The error output of the command, when it fails.
    pub async fn create(&self, campaign: &str, quota: u32) -> Result<()> {
        let quota = quota.to_string();
        self.run(&["campaign", "create", "--id", campaign, "--quota", &quota])
            .await
            .map(drop)
    }

    /// Runs the command; returns its output.
    ///
    /// # Errors
    /// The error output of the command, when it fails.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let ended = self.end_of(arguments).await?;
        if ended.code == Some(0) {
            Ok(ended.stdout)
        } else {
            bail!("{}", ended.stderr.trim())
        }
    }

    /// Runs the command with `--output json`; returns the objects that it prints.
    ///
    /// # Errors
    /// As for [`Operator::run`], or when the output is not JSON.
    pub async fn json(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        objects(&self.run(&[arguments, &AS_JSON].concat()).await?)
    }

    /// Runs the command, which may fail; returns how it ended.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn end_of(&self, arguments: &[&str]) -> Result<Ended> {
        self.end_of_unless(arguments, pending()).await
    }

    /// The same, but kills the command (`kill -9`) when `killed` completes first.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn end_of_unless(
        &self,
        arguments: &[&str],
        killed: impl Future<Output = ()>,
    ) -> Result<Ended> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ends = async {
            let ended = tokio::select! {
                status = child.wait() => Some(status),
                () = killed => None,
            };
            match ended {
                Some(status) => status,
                None => {
                    child.start_kill()?;
                    child.wait().await
                }
            }
        };
        let (status, stdout, stderr) = tokio::try_join!(ends, text(stdout), text(stderr))?;
        Ok(Ended {
            code: status.code(),
            stdout,
            stderr,
        })
    }
}

async fn text(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut text = String::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_string(&mut text).await?;
    }
    Ok(text)
}
