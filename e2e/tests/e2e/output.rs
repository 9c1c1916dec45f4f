//! Tests the JSON output of every command, in a success and in an error, against `docs/rushgate-output.schema.json`; and
//! the script in the docs that runs a campaign by it.

use crate::view::{View, granted};
use jsonschema::Validator;
use rushgate_e2e::campaign::{AS_JSON, Ended};
use rushgate_e2e::system::{Size, System};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::task::spawn_blocking;

/// One validator for each definition of the schema.
struct Schemas(BTreeMap<String, Validator>);

impl Schemas {
    fn read() -> Self {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../docs/rushgate-output.schema.json"
        );
        let text = std::fs::read_to_string(path).expect(path);
        let schema: Value = serde_json::from_str(&text).expect("JSON");
        let definitions = schema["$defs"].as_object().expect("definitions").keys();
        let validator = |name: &String| {
            let reference = format!("#/$defs/{}", name.replace(' ', "%20"));
            let one = json!({
                "$schema": schema["$schema"], "$defs": schema["$defs"], "$ref": reference
            });
            let validator = jsonschema::validator_for(&one).expect("a schema");
            (name.clone(), validator)
        };
        Self(definitions.map(validator).collect())
    }

    /// The names of all commands.
    fn commands(&self) -> BTreeSet<&str> {
        let names = self.0.keys().map(String::as_str);
        names
            .filter(|name| name.starts_with(char::is_lowercase) && *name != "stderr")
            .collect()
    }

    fn check(&self, name: &str, line: &Value) {
        let errors = self.0[name].iter_errors(line);
        let errors: Vec<_> = errors
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}: {line}: {errors:#?}");
    }

    /// Checks every line; returns the objects on stdout and the codes of the errors.
    fn check_all(&self, command: &str, ended: &Ended) -> (Vec<Value>, Vec<String>) {
        let printed = ended.objects().expect("JSON");
        for line in &printed {
            self.check(command, line);
        }
        let mut codes = vec![];
        for line in ended.stderr.lines() {
            let line = serde_json::from_str(line).unwrap_or_else(|_| panic!("{ended:?}"));
            self.check("stderr", &line);
            codes.extend(line["code"].as_str().map(str::to_owned));
        }
        (printed, codes)
    }
}

/// Runs commands, and remembers which of them have succeeded and which have failed.
struct Runs<'a> {
    system: &'a System,
    schemas: &'a Schemas,
    done: BTreeSet<&'a str>,
    failed: BTreeSet<&'a str>,
}

impl<'a> Runs<'a> {
    async fn end_of(&self, words: &[&str], settings: &[(&str, &str)]) -> Ended {
        let operator = self.system.operator.with(settings);
        let ended = operator.end_of(&[words, &AS_JSON].concat()).await;
        ended.expect("run")
    }

    /// The command, whose name is the first words, prints objects and no error.
    async fn does(&mut self, name: &'a str, arguments: &[&str]) -> Vec<Value> {
        let words: Vec<&str> = name.split(' ').chain(arguments.iter().copied()).collect();
        let ended = self.end_of(&words, &[]).await;
        let (printed, codes) = self.schemas.check_all(name, &ended);
        assert_eq!((ended.code, &codes[..]), (Some(0), &[][..]), "{ended:?}");
        assert!(!printed.is_empty(), "{words:?}: {ended:?}");
        self.done.insert(name);
        printed
    }

    /// The command ends with this exit code, and with one error, which has this code.
    async fn fails(&mut self, name: &'a str, arguments: &[&str], exit_code: i32, code: &str) {
        self.fails_with(name, arguments, &[], exit_code, code).await;
    }

    async fn fails_with(
        &mut self,
        name: &'a str,
        arguments: &[&str],
        settings: &[(&str, &str)],
        exit_code: i32,
        code: &str,
    ) {
        let words: Vec<&str> = name.split(' ').chain(arguments.iter().copied()).collect();
        let ended = self.end_of(&words, settings).await;
        let (_, codes) = self.schemas.check_all(name, &ended);
        assert_eq!(ended.code, Some(exit_code), "{words:?}: {ended:?}");
        assert_eq!(codes, [code], "{words:?}: {ended:?}");
        self.failed.insert(name);
    }
}

const KEYS: (&str, &str) = ("COUPON_CODE_KEYS", "the first key of the codes: 32 or more");

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_every_command_has_its_schema_and_every_error_its_code() {
    let system = System::start_with(Size::ONE_OF_EACH, &[KEYS]).await;
    let schemas = Schemas::read();
    let mut runs = Runs {
        system: &system,
        schemas: &schemas,
        done: BTreeSet::new(),
        failed: BTreeSet::new(),
    };
    let shop = View::of(&system, "shop");
    let no_redis = [("REDIS_URL", "redis://127.0.0.1:1")];
    let no_kafka = [("KAFKA_BROKERS", "127.0.0.1:1")];

    let set_up = runs.does("setup", &[]).await;
    assert_eq!(set_up[0]["topic"], system.topic());
    runs.fails_with(
        "setup",
        &["--wait", "0s"],
        &no_redis,
        1,
        "server_unavailable",
    )
    .await;

    let create = ["--id", "shop", "--codes", "signed", "--waitlist", "1"];
    let create = [&create[..], &["--self-cancel", "--quota"]].concat();
    let two = [&create[..], &["2"]].concat();
    for changed in [true, false] {
        let created = runs.does("campaign create", &two).await;
        assert_eq!(created[0]["changed"], changed, "{created:?}");
        assert_eq!(created[0]["rounds"][0]["quota"], 2, "{created:?}");
    }
    let three = [&create[..], &["3"]].concat();
    runs.fails("campaign create", &three, 1, "campaign_exists")
        .await;
    runs.fails("campaign create", &["--id", "x"], 1, "usage")
        .await;
    #[rustfmt::skip]
    let daily = [
        "--id", "advent", "--quota", "10", "--one-per", "round", "--from", "2126-12-01", "--to", "2126-12-02",
        "--daily", "10:00", "--for", "2h", "--timezone", "Asia/Seoul",
    ];
    let advent = runs.does("campaign create", &daily).await;
    assert_eq!(advent[0]["daily"]["open_for_seconds"], 7_200, "{advent:?}");
    assert_eq!(
        advent[0]["rounds"][1]["opens_at"], "2126-12-02T01:00:00.000Z",
        "{advent:?}"
    );

    for (user_id, serial) in [("a", 1), ("b", 2)] {
        assert_eq!(shop.apply(user_id).await, granted(serial), "{user_id}");
    }
    shop.apply("c").await;
    shop.has_rows(2).await;
    let raised = runs
        .does("campaign change", &["shop", "--quota", "3"])
        .await;
    assert_eq!(raised[0]["promoted"], 1, "{raised:?}");
    let lower = ["shop", "--quota", "1"];
    runs.fails("campaign change", &lower, 1, "quota_below_granted")
        .await;
    runs.fails(
        "campaign change",
        &["advent", "--opens-at", "2126-12-01T00:00:00Z"],
        1,
        "invalid_terms",
    )
    .await;
    shop.has_rows(3).await;
    system.drained("shop").await;
    for command in ["campaign pause", "campaign resume"] {
        runs.does(command, &["shop", "--reason", "as agreed"]).await;
        runs.fails(command, &["nope"], 1, "no_such_campaign").await;
    }
    let list = runs.does("campaign list", &[]).await;
    let names: BTreeSet<_> = list
        .iter()
        .filter_map(|it| it["campaign"].as_str())
        .collect();
    assert_eq!(names, BTreeSet::from(["advent", "shop"]));
    runs.fails_with("campaign list", &[], &no_redis, 1, "incomplete")
        .await;
    let shown = runs.does("campaign show", &["shop"]).await;
    assert_eq!(shown[0]["round"]["issued"], 3, "{shown:?}");
    runs.fails("campaign show", &["nope"], 1, "no_such_campaign")
        .await;
    runs.fails_with("campaign show", &["shop"], &no_kafka, 1, "incomplete")
        .await;
    let log = runs.does("campaign log", &["shop"]).await;
    assert_eq!(log[2]["reason"], "as agreed", "{log:?}");
    runs.fails("campaign log", &["nope"], 1, "no_such_campaign")
        .await;
    runs.does("campaign finish", &["shop"]).await;
    runs.fails("campaign finish", &["nope"], 1, "no_such_campaign")
        .await;

    let found = runs.does("coupon find", &["a"]).await;
    assert_eq!(found[0]["at_gate"]["decision"], "issued", "{found:?}");
    assert_eq!(found[0]["coupons"][0]["serial"], 1, "{found:?}");
    runs.fails(
        "coupon find",
        &["a", "--campaign", "nope"],
        1,
        "no_such_campaign",
    )
    .await;
    let coupons = runs.does("coupon list", &["--campaign", "shop"]).await;
    assert_eq!(coupons.len(), 3, "{coupons:?}");
    let code = coupons[0]["code"].as_str().expect("a code").to_owned();
    runs.fails(
        "coupon list",
        &["--campaign", "nope"],
        1,
        "no_such_campaign",
    )
    .await;
    for changed in [true, false] {
        let redeemed = runs.does("coupon redeem", &[&code, "--order", "A-1"]).await;
        assert_eq!(redeemed[0]["changed"], changed, "{redeemed:?}");
    }
    let other = [&*code, "--order", "A-2"];
    runs.fails("coupon redeem", &other, 1, "coupon_redeemed")
        .await;
    let shown = runs.does("coupon show", &[&code]).await;
    assert_eq!(shown[0]["state"], "redeemed", "{shown:?}");
    let unused = "0000-0000-0000-0000";
    runs.fails("coupon show", &[unused], 1, "no_such_code")
        .await;
    runs.does("coupon codes", &["--campaign", "shop"]).await;
    runs.fails("coupon codes", &["--campaign", "advent"], 1, "no_codes")
        .await;
    let pool = ["--id", "pool", "--quota", "2", "--codes", "pool"];
    runs.does("campaign create", &pool).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("codes");
    std::fs::write(&file, "AAAA-0001\nAAAA-0002\n").expect("written");
    let codes = file.to_str().expect("a path").to_owned();
    for changed in [true, false] {
        let loaded = runs
            .does("codes load", &["--campaign", "pool", "--input", &codes])
            .await;
        assert_eq!(loaded[0]["changed"], changed, "{loaded:?}");
        assert_eq!(loaded[0]["pool"]["loaded"], 2, "{loaded:?}");
    }
    let of_shop = ["--campaign", "shop", "--input", &codes];
    runs.fails("codes load", &of_shop, 1, "no_codes").await;
    let shown = runs.does("codes show", &["--campaign", "pool"]).await;
    assert_eq!(shown[0]["loaded"], 2, "{shown:?}");
    runs.fails("codes show", &["--campaign", "shop"], 1, "no_codes")
        .await;
    runs.fails("revoke", &["shop", "a"], 1, "coupon_redeemed")
        .await;
    let revoked = runs.does("revoke", &["shop", "b"]).await;
    assert_eq!(revoked[0]["serial"], 2, "{revoked:?}");
    runs.fails("revoke", &["shop", "nobody"], 1, "no_such_grant")
        .await;
    shop.has_rows(2).await;

    shop.publish("shop/once/9", "{").await;
    let list = shop.lists(1).await;
    let id = list[0]["id"].as_str().expect("an id").to_owned();
    runs.does("failed list", &[]).await;
    runs.fails(
        "failed list",
        &["--campaign", "nope"],
        1,
        "no_such_campaign",
    )
    .await;
    let audited = runs.end_of(&["audit"], &[]).await;
    assert_eq!(audited.code, Some(2), "{audited:?}");
    let (audited, codes) = schemas.check_all("audit", &audited);
    let of_shop = audited.iter().find(|audited| audited["campaign"] == "shop");
    let of_shop = of_shop.expect("audited");
    let finding = &of_shop["findings"][0];
    assert_eq!(finding["command"], format!("rushgate failed show {id}"));
    assert!(
        of_shop["agrees"] == false && codes.is_empty(),
        "{audited:?}"
    );
    let shown = runs.does("failed show", &[&id]).await;
    assert_eq!(shown[0]["key"], "shop/once/9", "{shown:?}");
    runs.fails("failed show", &["999"], 1, "no_such_dead_letter")
        .await;
    runs.does("failed replay", &[&id]).await;
    runs.fails("failed replay", &["999"], 1, "no_such_dead_letter")
        .await;
    let id = shop.lists(1).await[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let discarded = runs.does("failed discard", &[&id]).await;
    assert_eq!(discarded[0]["id"], *id, "{discarded:?}");
    runs.fails("failed replay", &[&id], 1, "dead_letter_resolved")
        .await;
    runs.fails("failed discard", &["999"], 1, "no_such_dead_letter")
        .await;

    let samples = runs.does("watch", &["--count", "2"]).await;
    assert_eq!(samples.len(), 2, "{samples:?}");
    runs.fails("watch", &["--campaign", "nope"], 1, "no_such_campaign")
        .await;

    system.drained("shop").await;
    let audited = runs.does("audit", &[]).await;
    assert!(audited.iter().all(|audited| audited["agrees"] == true));
    runs.fails("audit", &["nope"], 1, "no_such_campaign").await;
    runs.fails_with("audit", &["shop"], &no_kafka, 1, "incomplete")
        .await;
    runs.fails("restore", &["shop"], 1, "campaign_not_halted")
        .await;
    let restored = runs.does("restore", &["shop", "--halt"]).await;
    assert_eq!(restored[0]["known_before"], restored[0]["held"]);
    runs.does("campaign close", &["shop"]).await;
    runs.fails("campaign close", &["nope"], 1, "no_such_campaign")
        .await;
    runs.fails("campaign resume", &["shop"], 1, "campaign_closed")
        .await;

    let Runs { done, failed, .. } = runs;
    assert_eq!(done, schemas.commands(), "not seen in a success");
    assert_eq!(failed, schemas.commands(), "not seen in an error");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_and_json_say_the_same() {
    let system = System::welcome().await;
    let welcome = View::of(&system, "welcome");
    let text = welcome.does(&["campaign", "pause", "welcome"]).await;
    assert_eq!(text, "campaign welcome is paused\n");
    let json = welcome.json(&["campaign", "resume", "welcome"]).await;
    assert_eq!(json[0]["message"], "campaign welcome is running");
    assert_eq!(json[0]["state"], "running");
    let refused = ["campaign", "show", "nope"];
    let text = welcome.exits(1, &refused).await;
    let json = welcome.exits(1, &[&refused[..], &AS_JSON].concat()).await;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        text,
        format!("error: {}", json["message"].as_str().expect("text"))
    );
    assert_eq!(json["command"], "rushgate campaign list");
}

/// The shell script below a heading of docs/operating.md.
fn documented_script(heading: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md");
    let page = std::fs::read_to_string(path).expect(path);
    let (_, section) = page.split_once(&format!("\n{heading}\n")).expect(heading);
    let script = section.split("```").nth(1).expect("a script");
    script
        .strip_prefix("sh\n")
        .expect("a shell script")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_in_the_docs_runs_a_campaign_from_creation_to_audit() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let script = documented_script("### A campaign in ten lines");
    assert_eq!(script.lines().count(), 10, "{script}");
    let mut command = system.script(&script);
    let ended = spawn_blocking(move || command.output()).await.expect("run");
    let ended = ended.expect("a shell");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, errors) = (text(&ended.stdout), text(&ended.stderr));
    assert!(ended.status.success(), "{said}{errors}");
    for part in ["the serial goes to park\n", "1,\"park\"\n2,\"lee\"\n"] {
        assert!(said.contains(part), "wanted {part}: {said}{errors}");
    }
    let list = system.operator.json(&["campaign", "list"]).await;
    let list = list.expect("a list");
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!(list[0]["state"], "closed", "{list:?}");
}
