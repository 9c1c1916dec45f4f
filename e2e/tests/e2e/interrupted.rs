//! Tests every operator command, interrupted at every step. Afterwards no store contradicts another, nothing is lost
//! or reported twice, and the operator can complete the command by running it again or by running the command that the
//! error names.
//!
//! The steps of a command are its requests to Redis, the database and Kafka. The command runs once for each step and
//! each kind of interruption, on a separate campaign; the final state is compared with that of the same commands
//! without an interruption. `RUSHGATE_INTERRUPTED=all` runs all cases. A list such as `RaiseQuota/Redis,Killed` runs
//! the cases whose names contain every part. By default a fixed selection runs.

mod command;
mod scene;
mod standing;

use command::OperatorCommand;
use futures::{StreamExt, stream};
use rushgate_e2e::campaign::{Ended, Operator};
use rushgate_e2e::rights::{Logins, Role};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::proxy::{Proxy, Then, Trouble};
use scene::{CODE_KEY, Scene};
use standing::Standing;
use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Cases that run at the same time: most of them wait.
const AT_ONCE: usize = 12;

/// Time limit of a command, whatever happens to it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Number of cases that run by default.
const USUALLY: usize = 160;

/// The connection on which a command is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Link {
    Redis,
    Database,
    Kafka,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interruption {
    /// The answer is lost, and the server stays away.
    LostAndCut,
    /// The answer is lost, once.
    Lost,
    /// The request does not arrive, and the server stays away.
    DroppedAndCut,
    /// The request does not arrive, once.
    Dropped,
    /// The command is killed after the server has done the work.
    Killed,
}

/// What runs after the interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Again,
    /// The command that the error names, then the same command.
    Named,
    Other,
}

#[derive(Clone, Copy)]
struct Case {
    operator_command: OperatorCommand,
    link: Link,
    request: usize,
    interruption: Interruption,
    next: Next,
}

/// The state without interruptions.
struct Control {
    before: Standing,
    after: Standing,
    /// After another command instead.
    other: Option<Standing>,
    /// Whether an audit has no findings then.
    other_agrees: bool,
    both: Option<Standing>,
    requests: BTreeMap<Link, usize>,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_interrupted_the_same_command_or_the_one_that_is_named_leads_out() {
    let settings = [("COUPON_CODE_KEYS", CODE_KEY)];
    let scene = Scene::of(System::start_with(Size::ONLY_A_HANDLER, &settings).await).await;
    let begun = Instant::now();
    let controls: BTreeMap<OperatorCommand, Control> = stream::iter(OperatorCommand::ALL)
        .map(async |operator_command| (operator_command, control(&scene, operator_command).await))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let cases = chosen(cases(&controls));
    let count = cases.len();
    let complaints: Vec<String> = stream::iter(cases)
        .map(async |case| {
            let complaints = case.play(&scene, &controls[&case.operator_command]).await;
            let complaints = complaints.into_iter();
            complaints.map(move |complaint| format!("{case}: {complaint}"))
        })
        .buffer_unordered(AT_ONCE)
        .flat_map(stream::iter)
        .collect()
        .await;
    let took = begun.elapsed().as_secs_f64();
    // Not `eprintln!`, whose output a passing test does not show.
    writeln!(std::io::stderr(), "{count} interruptions in {took:.1} s").expect("written");
    assert!(
        complaints.is_empty(),
        "{} of {count} interruptions did not end well:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

/// All cases.
fn cases(controls: &BTreeMap<OperatorCommand, Control>) -> Vec<Case> {
    let mut cases = vec![];
    for (operator_command, control) in controls {
        for (link, requests) in &control.requests {
            for request in 1..=*requests {
                for interruption in Interruption::ALL {
                    for next in [Next::Again, Next::Named, Next::Other] {
                        // Without output, no command is named.
                        let is_told = interruption != Interruption::Killed || next != Next::Named;
                        if is_told && (next != Next::Other || control.other.is_some()) {
                            cases.push(Case {
                                operator_command: *operator_command,
                                link: *link,
                                request,
                                interruption,
                                next,
                            });
                        }
                    }
                }
            }
        }
    }
    cases
}

fn chosen(mut cases: Vec<Case>) -> Vec<Case> {
    match std::env::var("RUSHGATE_INTERRUPTED").as_deref() {
        Ok("all") => {}
        Ok(parts) => {
            cases.retain(|case| {
                let name = case.to_string();
                parts.split(',').all(|part| name.contains(part))
            });
            assert!(!cases.is_empty(), "no interruption is called {parts}");
        }
        Err(_) => {
            // Coprime to the number of kinds, so that each command meets all of them somewhere.
            let step = (cases.len() / USUALLY).max(1) | 1;
            cases = cases.into_iter().step_by(step).collect();
        }
    }
    cases
}

/// The three servers, each behind a proxy, and the `rushgate` command that uses the proxies.
struct Links {
    proxies: BTreeMap<Link, Proxy>,
    operator: Operator,
}

impl Links {
    async fn of(scene: &Scene) -> Self {
        let logins = &scene.system.logins;
        let redis = Proxy::open(0, logins.redis).await;
        let database = Proxy::open(0, logins.database).await;
        let kafka = Proxy::open_kafka(logins.kafka, logins.kafka).await;
        let links = Logins {
            redis: redis.port,
            database: database.port,
            kafka: kafka.port,
            ..logins.clone()
        };
        let operator = scene.system.operator.logged_in(links.of(Role::Operator));
        let proxies = [
            (Link::Redis, redis),
            (Link::Database, database),
            (Link::Kafka, kafka),
        ];
        Self {
            proxies: proxies.into(),
            operator,
        }
    }
}

/// The state without any interruption, and the requests of the command to each server.
async fn control(scene: &Scene, operator_command: OperatorCommand) -> Control {
    let standing = async |first: bool, second: bool| {
        let campaign = fresh(scene);
        let dead_letter = operator_command.prepare(scene, &campaign).await;
        let before = Standing::of(scene, &campaign).await;
        let links = Links::of(scene).await;
        if first {
            let command = operator_command.command(&campaign, dead_letter.as_deref());
            does(&links.operator, &command).await;
        }
        let requests = links
            .proxies
            .iter()
            .map(|(link, proxy)| (*link, proxy.requests()));
        let requests = requests.collect::<BTreeMap<_, _>>();
        if second {
            does(
                &links.operator,
                &operator_command.other(&campaign).expect("another"),
            )
            .await;
        }
        let after = Standing::of(scene, &campaign).await;
        (before, after, requests, finding(scene, &campaign).await)
    };
    let (before, after, requests, found) = standing(true, false).await;
    assert_eq!(found, None, "{operator_command:?}");
    assert_ne!(after, before, "{operator_command:?}");
    let mut control = Control {
        before,
        after,
        other: None,
        other_agrees: true,
        both: None,
        requests,
    };
    if operator_command.other("c").is_some() {
        control.both = Some(standing(true, true).await.1);
        // A campaign that does not exist cannot be paused.
        if !operator_command.creates() {
            let (_, other, _, found) = standing(false, true).await;
            control.other = Some(other);
            control.other_agrees = found.is_none();
        }
    }
    control
}

async fn finding(scene: &Scene, campaign: &str) -> Option<String> {
    let audit = run(
        &scene.system.operator,
        &["audit", campaign].map(str::to_owned),
        pending(),
    )
    .await;
    (audit.code != Some(0)).then(|| format!("audit: {}{}", audit.stdout, audit.stderr))
}

async fn does(operator: &Operator, command: &[String]) {
    let ended = run(operator, command, pending()).await;
    assert_eq!(ended.code, Some(0), "{command:?}: {ended:?}");
}

async fn run(operator: &Operator, command: &[String], killed: impl Future<Output = ()>) -> Ended {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let ended = timeout(PATIENCE, operator.end_of_unless(&words, killed)).await;
    let ended = ended.unwrap_or_else(|_| panic!("{words:?} has not ended after {PATIENCE:?}"));
    ended.expect("run")
}

/// A name of its own. No name is the beginning of another.
fn fresh(scene: &Scene) -> String {
    format!("i{:06}", scene.number())
}

impl Case {
    /// Runs the case; returns what is wrong.
    async fn play(self, scene: &Scene, control: &Control) -> Vec<String> {
        let campaign = fresh(scene);
        let dead_letter = self.operator_command.prepare(scene, &campaign).await;
        let command = self
            .operator_command
            .command(&campaign, dead_letter.as_deref());
        let links = Links::of(scene).await;
        let proxy = &links.proxies[&self.link];
        proxy.set(self.interruption.at(self.request));
        let killed = async {
            match self.interruption {
                Interruption::Killed => proxy.strikes().await,
                _ => pending().await,
            }
        };
        let ended = run(&links.operator, &command, killed).await;
        let has_struck = proxy.has_struck();
        proxy.set(Trouble::None);
        let left = Standing::of(scene, &campaign).await;

        let mut complaints = vec![];
        if !has_struck && ended.code != Some(0) {
            complaints.push(format!(
                "it failed without having been interrupted: {ended:?}"
            ));
        }
        complaints.extend(self.told_wrong(&ended, control, &left));
        let led = self.leads_out(scene, control, &campaign, &command, &ended, &left);
        complaints.extend(led.await);
        if self.operator_command.restores() {
            // Interrupted when only the answer is missing, a campaign is halted and restored once more, which is
            // logged.
            complaints.retain(|complaint| !is_only_of_the_log(complaint));
        }
        let stands = Standing::of(scene, &campaign).await;
        let is_undone = control.other.as_ref() == Some(&stands) && !control.other_agrees;
        if stands != Standing::default() && !is_undone {
            complaints.extend(finding(scene, &campaign).await);
        }
        if !complaints.is_empty() {
            let said = format!(
                "it had said {:?}: {}{}",
                ended.code, ended.stdout, ended.stderr
            );
            complaints.push(said.trim().to_owned());
        }
        complaints
    }

    /// Exit codes that do not match the state.
    fn told_wrong(self, ended: &Ended, control: &Control, left: &Standing) -> Option<String> {
        match ended.code {
            None => None,
            Some(0) => {
                let wrong = left.differs_from(&control.after)?;
                Some(format!("it said that it was done: {wrong}"))
            }
            // Refused or failed: the command knows that nothing was done, or that the campaign grants nothing until it
            // is restored.
            Some(1)
                if self.operator_command.restores()
                    && left.gate.iter().any(|line| line == "state halted") =>
            {
                None
            }
            Some(1) if left.gate != control.before.gate => {
                let changed = left.differs_from(&control.before)?;
                Some(format!("it said that it was refused: {changed}"))
            }
            Some(1) => None,
            Some(3) if named(&ended.stderr).is_some() => None,
            Some(3) if ended.stderr.contains("Run the same command again") => None,
            Some(3) => Some("no command is named".to_owned()),
            Some(code) => Some(format!("exit code {code}")),
        }
    }

    async fn leads_out(
        self,
        scene: &Scene,
        control: &Control,
        campaign: &str,
        command: &[String],
        ended: &Ended,
        left: &Standing,
    ) -> Vec<String> {
        let operator = &scene.system.operator;
        let mut complaints = vec![];
        let is_done = *left == control.after;
        if is_done && self.operator_command == OperatorCommand::HaltAndRestore {
            // Running it again does the work again.
            return complaints;
        }
        match (self.next, &control.both) {
            (Next::Other, Some(both)) => {
                let command = self.operator_command.other(campaign).expect("another");
                let ended = run(operator, &command, pending()).await;
                let now = Standing::of(scene, campaign).await;
                let has_begun = left.gate != control.before.gate;
                let allowed = match (ended.code, &control.other) {
                    (Some(0), Some(other)) if !has_begun => vec![both, other],
                    (Some(0), _) => vec![both],
                    (Some(1), None) => vec![&control.before],
                    _ => vec![],
                };
                if !allowed.contains(&&now) {
                    let wrong = match allowed.first() {
                        Some(expected) => now.differs_from(expected),
                        None => Some(format!("{ended:?}")),
                    };
                    complaints.push(format!("{command:?}: {}", wrong.unwrap_or_default()));
                }
            }
            (next, _) => {
                let mut is_done = is_done;
                let named = match next {
                    // The named command is the same one without the reason; running it again does the work again.
                    Next::Named if !self.operator_command.restores() => named(&ended.stderr),
                    _ => None,
                };
                if let Some(named) = named {
                    let ended = run(operator, &named, pending()).await;
                    let now = Standing::of(scene, campaign).await;
                    is_done |= now == control.after;
                    let has_ended = [&control.before, &control.after].contains(&&now);
                    // Nothing was created yet, as the error says.
                    let is_none = self.operator_command.creates() && now == control.before;
                    if !is_none && (ended.code != Some(0) || !has_ended) {
                        let wrong = now.differs_from(&control.after).unwrap_or_default();
                        complaints.push(format!("{named:?}: {ended:?}; {wrong}"));
                    }
                }
                let again = run(operator, command, pending()).await;
                let is_refused = again.code == Some(1) && is_done;
                if again.code != Some(0) && !is_refused {
                    complaints.push(format!("again: {:?} {}", again.code, again.stderr.trim()));
                }
                let now = Standing::of(scene, campaign).await;
                complaints.extend(
                    now.differs_from(&control.after)
                        .map(|wrong| format!("in the end {wrong}")),
                );
            }
        }
        complaints
    }
}

/// Whether it names only lines of the log.
fn is_only_of_the_log(complaint: &str) -> bool {
    let mut named = complaint.split(" of [").skip(1).peekable();
    named.peek().is_some() && named.all(|line| line.starts_with("log "))
}

/// The first command in the text that changes something.
fn named(text: &str) -> Option<Vec<String>> {
    let quoted = text.split('`').skip(1).step_by(2);
    let mut commands = quoted.filter_map(|quoted| quoted.strip_prefix("rushgate "));
    let looks = |command: &&str| {
        let looks = [
            "campaign list",
            "campaign show",
            "campaign log",
            "coupon find",
            "failed list",
        ];
        !looks.iter().any(|looks| command.starts_with(looks)) && !command.contains("--help")
    };
    let command = commands.find(looks)?;
    Some(command.split_whitespace().map(str::to_owned).collect())
}

impl Interruption {
    const ALL: [Self; 5] = [
        Self::LostAndCut,
        Self::Lost,
        Self::DroppedAndCut,
        Self::Dropped,
        Self::Killed,
    ];

    fn at(self, request: usize) -> Trouble {
        match self {
            Self::LostAndCut => Trouble::LoseAnswer(request, Then::Cut),
            Self::Lost => Trouble::LoseAnswer(request, Then::Works),
            Self::DroppedAndCut => Trouble::DropRequest(request, Then::Cut),
            Self::Dropped => Trouble::DropRequest(request, Then::Works),
            Self::Killed => Trouble::HoldAnswer(request),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operator_command,
            link,
            request,
            interruption,
            next,
        } = self;
        write!(
            f,
            "{operator_command:?}/{link:?}/{request}/{interruption:?}/{next:?}"
        )
    }
}
