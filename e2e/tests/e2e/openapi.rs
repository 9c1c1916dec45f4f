//! Tests the running component against `/openapi.json`: schemathesis sends thousands of valid and invalid requests,
//! and checks that the description allows each response. All its checks are on.

use rushgate_e2e::system::{Size, System};
use std::path::PathBuf;
use std::process::Command;

/// Campaigns in different states, so that all kinds of answers occur; `None` lets schemathesis choose names.
const CAMPAIGNS: [Option<&str>; 6] = [
    None,
    Some("open"),
    Some("sold-out"),
    Some("waiting"),
    Some("not-yet"),
    Some("closed"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_as_its_description_says() {
    let upstream = [("SPIN_VARIABLE_IDENTITIES", "upstream")];
    let system = System::start_with(Size::ONLY_A_HANDLER, &upstream).await;
    for arguments in [
        vec![
            "campaign",
            "create",
            "--id",
            "open",
            "--quota",
            "1000000",
            "--self-cancel",
        ],
        vec!["campaign", "create", "--id", "sold-out", "--quota", "1"],
        vec![
            "campaign",
            "create",
            "--id",
            "waiting",
            "--quota",
            "1",
            "--waitlist",
            "10000",
        ],
        vec![
            "campaign",
            "create",
            "--id",
            "not-yet",
            "--quota",
            "1",
            "--opens-at",
            "2126-01-01T00:00:00Z",
        ],
        vec!["campaign", "create", "--id", "closed", "--quota", "1"],
        vec!["campaign", "close", "closed"],
    ] {
        system.operator.run(&arguments).await.expect("done");
    }
    // The same cases every time; others by `RUSHGATE_SEED`.
    let seed = std::env::var("RUSHGATE_SEED").unwrap_or_else(|_| "77".to_owned());
    let runs = CAMPAIGNS.map(|campaign| {
        let (url, seed) = (system.url().to_owned(), seed.clone());
        tokio::task::spawn_blocking(move || schemathesis(&url, campaign, &seed))
    });
    let mut cases = 0;
    for run in runs {
        cases += run.await.expect("no panic");
    }
    assert!(cases >= 2_000, "only {cases} cases");
}

/// To JSON Schema, 42.0 is an integer. To this API it is none, and no schema can say so: its description does.
const HOOKS: &str = r#"
import schemathesis

@schemathesis.hook
def filter_body(context, body):
    return not (isinstance(body, dict) and isinstance(body.get("user_id"), float))
"#;

/// One run; how many cases it made.
fn schemathesis(url: &str, campaign: Option<&str>, seed: &str) -> u64 {
    // Sequences of requests only where it chooses the campaign: where that is given to it, schemathesis 4.32 takes
    // good requests that follow a link for bad ones.
    let phases = match campaign {
        None => "examples,coverage,fuzzing,stateful",
        Some(_) => "examples,coverage,fuzzing",
    };
    let program = std::env::var_os("RUSHGATE_SCHEMATHESIS")
        .map(PathBuf::from)
        .expect("RUSHGATE_SCHEMATHESIS is not set: run `cargo xtask test`");
    let directory = tempfile::tempdir().expect("a temporary directory");
    // A refusal is an answer to good data too: 410 is not among the statuses that the check knows by itself.
    let mut config = "hooks = \"hooks.py\"\n[checks.positive_data_acceptance]\n\
         expected-statuses = [\"2xx\", 304, 401, 403, 404, 409, 410]\n"
        .to_owned();
    if let Some(campaign) = campaign {
        config.push_str(&format!("[parameters]\ncampaign = \"{campaign}\"\n"));
    }
    let file = directory.path().join("schemathesis.toml");
    std::fs::write(&file, config).expect("written");
    std::fs::write(directory.path().join("hooks.py"), HOOKS).expect("written");
    let output = Command::new("python3")
        .arg(program)
        .arg("--config-file")
        .arg(&file)
        .args(["run", &format!("{url}/openapi.json"), "--checks", "all"])
        .args(["--max-examples", "60", "--seed", seed, "--phases", phases])
        // How long it takes to make a case is the machine's business.
        .arg("--suppress-health-check=too_slow")
        .current_dir(directory.path())
        .output()
        .expect("python3 is not installed: run `cargo xtask test`");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "campaign {campaign:?}, seed {seed}:\n{report}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let cases = report.lines().find_map(|line| {
        let (count, _) = line.trim().split_once(" generated")?;
        count.parse().ok()
    });
    cases.unwrap_or_else(|| panic!("no number of cases in:\n{report}"))
}
