//! Runs each k6 script of `load/`, with few applicants. All must pass on a system that works. They must fail where the gate
//! does not enforce the quota, or grants one person several coupons.

use rushgate_e2e::program::program;
use rushgate_e2e::rights::Role;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::port::Port;
use rushgate_testbed::process::Process;
use rushgate_testbed::wait::{DEADLINE, until, until_within};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// k6's exit code when a threshold was crossed.
const CROSSED: i32 = 99;
/// When the script has ended the test.
const ABORTED: i32 = 108;
/// When the script cannot be loaded.
const BROKEN: i32 = 107;

/// One run of k6.
struct Run<'a> {
    script: &'a str,
    /// The arguments of `campaign create`.
    terms: &'a [&'a str],
    /// Settings of the script.
    settings: &'a [&'a str],
}

const RUSH: Run<'_> = Run {
    script: "rush",
    terms: &["--quota", "20"],
    settings: &["QUOTA=20", "APPLICANTS=200", "CONCURRENCY=20"],
};
const OPENING: Run<'_> = Run {
    script: "opening",
    terms: &["--quota", "5"],
    settings: &["QUOTA=5", "PEOPLE=20"],
};
const BOTS: Run<'_> = Run {
    script: "bots",
    terms: &["--quota", "5"],
    settings: &["QUOTA=5", "ACCOUNTS=20", "CLICKS=40", "CONCURRENCY=10"],
};
const STEADY: Run<'_> = Run {
    script: "steady",
    terms: &["--quota", "20"],
    // As many clients as applicants, so that no pause of the machine drops one.
    settings: &["QUOTA=20", "RATE=25", "SECONDS=2", "READY_VUS=50"],
};
const RETRY: Run<'_> = Run {
    script: "retry",
    terms: &["--quota", "30"],
    settings: &[
        "QUOTA=30",
        "APPLICANTS=100",
        "CONCURRENCY=10",
        "METHOD=POST",
    ],
};
/// Ends as soon as every winner has a row, and every applicant on the waitlist is promoted.
const WAITERS: Run<'_> = Run {
    script: "waiters",
    terms: &["--quota", "10", "--waitlist", "5"],
    settings: &[
        "QUOTA=10",
        "WAITLIST=5",
        "PEOPLE=15",
        "POLL=1",
        "SECONDS=120",
    ],
};
const BROWSER: Run<'_> = Run {
    script: "browser",
    terms: &["--quota", "2"],
    settings: &["QUOTA=2", "VISITORS=3", "CONCURRENCY=1"],
};

/// How long k6 and the others may take to start before `OPENING` opens.
const OPENS_IN: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

/// How k6 ended.
struct Ended {
    script: String,
    code: Option<i32>,
    output: String,
}

impl Run<'_> {
    /// Creates a campaign named after the script, and runs the script.
    async fn play(&self, system: &System, url: &str) -> Ended {
        self.create(system).await;
        self.run(url).await
    }

    async fn create(&self, system: &System) {
        let opens_at = format!("{:.3}", jiff::Timestamp::now() + OPENS_IN);
        let mut create = vec!["campaign", "create", "--id", self.script];
        create.extend(self.terms);
        if self.script == OPENING.script {
            create.extend(["--opens-at", &opens_at]);
        }
        system.operator.run(&create).await.expect("created");
    }

    async fn run(&self, url: &str) -> Ended {
        k6(url, self.script, self.script, self.settings).await
    }
}

impl Ended {
    fn must(&self, code: i32, says: &[&str]) {
        let report = format!("{}: {:?}\n{}", self.script, self.code, self.output);
        assert_eq!(self.code, Some(code), "{report}");
        for text in says {
            assert!(self.output.contains(text), "wanted {text:?}: {report}");
        }
    }
}

async fn k6(url: &str, script: &str, campaign: &str, settings: &[&str]) -> Ended {
    let program =
        std::env::var_os("RUSHGATE_K6").expect("RUSHGATE_K6 is not set: run `cargo xtask test`");
    let browser = std::env::var_os("RUSHGATE_BROWSER")
        .expect("RUSHGATE_BROWSER is not set: run `cargo xtask test`");
    // A name, or the whole path of another script.
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../load")
        .join(script)
        .with_extension("js");
    let mut command = tokio::process::Command::new(program);
    command
        .args(["run", "--no-usage-report", "--no-color", "--quiet"])
        .args(["-e", &format!("RUSHGATE_URL={url}")])
        .args(["-e", &format!("CAMPAIGN={campaign}")])
        .args(settings.iter().flat_map(|setting| ["-e", *setting]))
        .arg(path)
        .env("K6_BROWSER_EXECUTABLE_PATH", browser)
        .env(
            "K6_BROWSER_ARGS",
            "no-sandbox,disable-gpu,disable-dev-shm-usage",
        )
        .kill_on_drop(true);
    let output = command.output().await.expect("k6 runs");
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ended {
        script: script.to_owned(),
        code: output.status.code(),
        output: stdout + &stderr,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_passes() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let play = async |run: &Run<'_>| run.play(&system, system.url()).await;
    let (rush, opening, bots, steady, retry, waiters, browser) = tokio::join!(
        play(&RUSH),
        play(&OPENING),
        play(&BOTS),
        play(&STEADY),
        play(&RETRY),
        play_and_promote(&system),
        play(&BROWSER),
    );
    for ended in [rush, opening, bots, steady, retry, waiters, browser] {
        ended.must(0, &[]);
        let campaign = ended.script.as_str();
        system.drained(campaign).await;
        system
            .operator
            .run(&["audit", campaign])
            .await
            .expect("all stores agree");
    }
    let again = k6(system.url(), RUSH.script, RUSH.script, RUSH.settings).await;
    again.must(
        ABORTED,
        &["campaign rush has granted 20 coupons: create a new one"],
    );
    let other = k6(system.url(), RUSH.script, "no-such", RUSH.settings).await;
    other.must(
        ABORTED,
        &["there is no campaign no-such: rushgate campaign create"],
    );
    let unnamed = k6(system.url(), RUSH.script, "", &[]).await;
    unnamed.must(BROKEN, &["CAMPAIGN is not set"]);
    let senseless = k6(system.url(), RUSH.script, RUSH.script, &["QUOTA=some"]).await;
    senseless.must(BROKEN, &["whole number of at least 1"]);
}

/// Plays `WAITERS`, and promotes its waitlist meanwhile. A script that ends before is told by its output.
async fn play_and_promote(system: &System) -> Ended {
    // An instance that was asked before would not know the campaign for a second, and tell the script's applicants so.
    WAITERS.create(system).await;
    let playing = WAITERS.run(system.url());
    tokio::pin!(playing);
    tokio::select! {
        ended = &mut playing => ended,
        () = promote_all(system) => playing.await,
    }
}

/// Revokes coupons of `WAITERS` until its whole waitlist is promoted.
async fn promote_all(system: &System) {
    let campaign = WAITERS.script;
    let client = reqwest::Client::new();
    let url = format!("{}/v1/campaigns/{campaign}", system.url());
    let get = async |path: &str| {
        let response = client.get(format!("{url}{path}")).send().await.ok()?;
        response.json::<serde_json::Value>().await.ok()
    };
    // The script ends long before.
    until_within(DEADLINE * 3, "the waitlist is full", async || {
        (get("").await?["round"]["waitlisted"] == 5).then_some(())
    })
    .await;
    let mut revoked = 0;
    for person in 0..15 {
        let user_id = format!("k6-{person}");
        let application = get(&format!("/applications/{user_id}")).await;
        let is_winner = application.is_some_and(|found| !found["serial"].is_null());
        if is_winner && revoked < 5 {
            let revoke = ["revoke", campaign, &user_id, "--reason", "test"];
            system.operator.run(&revoke).await.expect("revoked");
            revoked += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_signed_where_they_are_needed() {
    const SECRET: &str = "correct horse battery staple 32!";
    let key = "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSAzMiE";
    let keys = format!(r#"{{"keys":[{{"kty":"oct","kid":"2026","k":"{key}"}}]}}"#);
    let jwt = [
        ("SPIN_VARIABLE_AUTH_MODE", "jwt"),
        ("SPIN_VARIABLE_JWT_KEYS", keys.as_str()),
        ("SPIN_VARIABLE_JWT_AUDIENCE", "rushgate"),
        ("SPIN_VARIABLE_JWT_ISSUER", "k6"),
    ];
    let system = System::start_with(Size::ONLY_A_HANDLER, &jwt).await;
    let secret = format!("JWT_SECRET={SECRET}");
    let token = [
        secret.as_str(),
        "JWT_KID=2026",
        "JWT_AUDIENCE=rushgate",
        "JWT_ISSUER=k6",
    ];
    let settings = [RETRY.settings, &token].concat();
    let run = Run {
        settings: &settings,
        ..RETRY
    };
    run.play(&system, system.url()).await.must(0, &[]);
}

/// The first example after this heading of docs/load.md.
fn example(heading: &str, begins: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/load.md");
    let page = std::fs::read_to_string(page).expect("docs/load.md");
    let (_, section) = page.split_once(heading).expect("the heading");
    let (_, example) = section.split_once(begins).expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    example.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_of_the_docs_sees_each_serial_once() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    system.operator.create("load-3", 30).await.expect("created");
    let example = example("## From a shell", "```sh\n");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = tokio::process::Command::new("sh")
        .args([
            "-c",
            &example.replace("http://127.0.0.1:3000", system.url()),
        ])
        .current_dir(directory.path())
        .output()
        .await
        .expect("a shell");
    let report = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = report.lines().map(str::trim).collect();
    let counted = lines
        .last()
        .is_some_and(|line| line.contains(r#""granted":30,"#));
    assert!(
        lines.starts_with(&["30 201 granted", "470 410 sold_out", "30"]) && counted,
        "{report}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Evaluates the example for the console of a browser on the page of the handler, and prints what it counts.
const CONSOLE: &str = r#"
import { browser } from "k6/browser";
export const options = {
  scenarios: { console: { executor: "per-vu-iterations", options: { browser: { type: "chromium" } } } },
};
export default async function () {
  const page = await browser.newPage();
  try {
    await page.goto(__ENV.RUSHGATE_URL);
    console.log(JSON.stringify(await page.evaluate(EXAMPLE)));
  } finally {
    await page.close();
  }
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_console_of_the_docs_sees_each_serial_once() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    system.operator.create("load-2", 30).await.expect("created");
    let example = example("## From a browser", "```js\n");
    let example = example.replace("console.table(", "return (");
    let function = serde_json::to_string(&format!("async () => {{{example}}}")).expect("JSON");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = directory.path().join("console.js");
    std::fs::write(&script, CONSOLE.replace("EXAMPLE", &function)).expect("written");
    let ended = k6(system.url(), &script.display().to_string(), "load-2", &[]).await;
    let counts = [
        r#"\"granted\":30"#,
        r#"\"sold_out\":970"#,
        r#"\"serials\":30"#,
        r#"\"different\":30"#,
        r#"\"highest\":30"#,
    ];
    ended.must(0, &counts);
}

/// A handler whose component has other text in its scripts.
struct Planted {
    url: String,
    _handler: Process,
    _directory: TempDir,
}

impl Planted {
    /// `bug` replaces `code`, and must be as long.
    async fn start(system: &System, code: &str, bug: &str) -> Self {
        assert_eq!(code.len(), bug.len());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let manifest = std::fs::read_to_string(root.join("spin.toml")).expect("the manifest");
        let (_, source) = manifest.split_once("source = \"").expect("a source");
        let (source, _) = source.split_once('"').expect("a path");
        let mut component = std::fs::read(root.join(source)).expect("the component");
        let places = component.windows(code.len()).enumerate();
        let mut found = places.filter(|(_, text)| *text == code.as_bytes());
        let (at, _) = found.next().expect("this code in a script of the gate");
        assert!(found.next().is_none(), "{code:?} is there twice");
        component[at..at + code.len()].copy_from_slice(bug.as_bytes());

        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("planted.wasm"), component).expect("written");
        let planted = directory.path().join("spin.toml");
        std::fs::write(&planted, manifest.replace(source, "planted.wasm")).expect("written");
        let port = Port::free().expect("a free port");
        let listen = port.address().to_string();
        let mut command = Command::new(program("wasm-host"));
        command
            .arg("--from")
            .arg(planted)
            .args(["--listen", &listen])
            .envs(system.logins.of(Role::Handler))
            .env("SPIN_VARIABLE_GATE_BUDGET_MS", "0");
        let log = directory.path().join("handler.log");
        let handler = Process::start(&mut command, log).expect("it starts");
        let url = format!("http://{listen}");
        until("the handler is ready", async || {
            let response = reqwest::get(format!("{url}/readyz")).await;
            response.is_ok_and(|response| response.status().is_success())
        })
        .await;
        Self {
            url,
            _handler: handler,
            _directory: directory,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_fail_where_the_quota_is_not_enforced() {
    let system = System::start(Size::NONE).await;
    let planted = Planted::start(
        &system,
        "local has_place = waiting == 0 and (free > 0 or granted < quota)",
        "local has_place = waiting == 0 and (free > 0 or granted < 99999)",
    )
    .await;
    let play = async |run: &Run<'_>| run.play(&system, &planted.url).await;
    let (rush, opening, bots) = tokio::join!(play(&RUSH), play(&OPENING), play(&BOTS));
    for ended in [rush, opening, bots] {
        ended.must(
            CROSSED,
            &[
                "thresholds on metrics 'checks, granted, serial_fingerprint, serials_out_of_quota, winners' have been crossed",
                "✗ the gate has granted at most the quota",
                "✗ no serial is above the quota",
            ],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_fail_where_one_person_wins_twice() {
    let system = System::start(Size::NONE).await;
    let planted = Planted::start(
        &system,
        "local held = redis.call('HGET', KEYS[4], holder)\nif held then",
        "local held = redis.call('HGET', KEYS[4], holder)\nif nil  then",
    )
    .await;
    // Coupons enough for every click that is one too many.
    let rush = Run {
        terms: &["--quota", "300"],
        settings: &["QUOTA=300", "APPLICANTS=200", "CONCURRENCY=20"],
        ..RUSH
    };
    let retry = Run {
        terms: &["--quota", "300"],
        settings: &["QUOTA=300", "APPLICANTS=60", "CONCURRENCY=10"],
        ..RETRY
    };
    let bots = Run {
        terms: &["--quota", "19"],
        settings: &["QUOTA=19", "ACCOUNTS=20", "CLICKS=40", "CONCURRENCY=10"],
        ..BOTS
    };
    let play = async |run: &Run<'_>| run.play(&system, &planted.url).await;
    let (rush, retry, bots) = tokio::join!(play(&rush), play(&retry), play(&bots));
    for ended in [rush, retry, bots] {
        let says = [
            "was told serial",
            "serials_changed",
            "✗ the gate counts each holder once",
        ];
        ended.must(CROSSED, &says);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiters_fail_where_positions_grow() {
    let system = System::start(Size::NONE).await;
    let planted = Planted::start(
        &system,
        "return { 'waitlisted', at_round, position, tonumber(since)",
        "return { 'waitlisted', at_round, now%1e09, tonumber(since)",
    )
    .await;
    let waiters = Run {
        settings: &["QUOTA=10", "WAITLIST=5", "PEOPLE=15", "POLL=1", "SECONDS=1"],
        ..WAITERS
    };
    let ended = waiters.play(&system, &planted.url).await;
    let says = [
        "thresholds on metrics 'checks, positions_grown' have been crossed",
        "went back from position",
        "✗ each position of the waitlist is held once",
    ];
    ended.must(CROSSED, &says);
}
