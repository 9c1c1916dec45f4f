//! Tests that the containers get every setting of the programs in them: each is handed on from `.env`, or the compose
//! file has a value for it.

use std::collections::{BTreeMap, BTreeSet};

use super::compose::{entries, load};
use super::read;

/// What the compose file sets itself, because it depends on the containers.
const FIXED: [&str; 7] = [
    "DATABASE_URL",
    "EDGE_LISTEN",
    "EDGE_TLS_LISTEN",
    "KAFKA_BROKERS",
    "METRICS_LISTEN",
    "REDIS_URL",
    "SPIN_VARIABLE_REDIS_URL",
];

/// Settings of bridge and consumer that no `env = …` names: `startup/src/log.rs` reads this one.
const OF_DAEMONS: [&str; 1] = ["RUST_LOG"];

/// Limits of Spin that the documentation names.
const OF_SPIN: [&str; 1] = ["SPIN_MAX_INSTANCE_COUNT"];

/// The variables of a struct in a source file: `env = "NAME"`, or `env = VARIABLE` with
/// `const VARIABLE: &str = "NAME"`.
fn variables_of(text: &str, name: &str) -> BTreeSet<String> {
    let (_, from_here) = text.split_once(&format!("pub struct {name} {{")).unwrap();
    let (fields, _) = from_here.split_once("\n}").unwrap();
    let constant = text
        .split_once("const VARIABLE: &str = \"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(name, _)| name);
    fields
        .split("env = ")
        .skip(1)
        .map(|rest| match rest.strip_prefix('"') {
            Some(name) => name.split('"').next().unwrap_or_default().to_owned(),
            None => constant.unwrap_or(rest).to_owned(),
        })
        .collect()
}

/// The variables of a program: those of its own `Config`, and those of the structs of `startup` in it.
fn variables_of_program(directory: &str) -> BTreeSet<String> {
    let config = read(&format!("{directory}/src/config.rs"));
    let mut variables = variables_of(&config, "Config");
    for (part, structs) in [
        ("RedisSettings", &[("redis", "RedisSettings")][..]),
        ("DatabaseSettings", &[("database", "DatabaseSettings")]),
        (
            "KafkaSettings",
            &[
                ("kafka", "KafkaSettings"),
                ("kafka_tls", "KafkaTlsSettings"),
                ("signing", "SigningSettings"),
            ],
        ),
        ("ConsumerGroup", &[("kafka", "ConsumerGroup")]),
        (
            "CouponCodeSettings",
            &[("coupon_codes", "CouponCodeSettings")],
        ),
        ("MetricsSettings", &[("metrics", "MetricsSettings")]),
    ] {
        if config.contains(&format!(": {part},")) {
            for (file, name) in structs {
                let text = read(&format!("startup/src/{file}.rs"));
                variables.extend(variables_of(&text, name));
            }
        }
    }
    variables
}

/// The variables in the configuration of the edge, `"${NAME-default}"`, and their defaults.
fn variables_of_edge() -> BTreeMap<String, String> {
    let text = read("deploy/edge/haproxy.cfg");
    let mut variables = BTreeMap::new();
    for variable in text.split("${EDGE_").skip(1) {
        let inside = variable.split('}').next().unwrap();
        let (name, default) = inside.split_once('-').unwrap_or((inside, ""));
        let name = format!("EDGE_{}", name.trim_end_matches("[*]"));
        let known: &mut String = variables.entry(name).or_default();
        if known.is_empty() {
            *known = default.to_owned();
        }
    }
    variables
}

/// The value of a variable in `.env.sample`, where it may be a comment.
fn sample(name: &str) -> Option<String> {
    let text = read(".env.sample");
    let mut lines = text.lines().map(|line| line.trim_start_matches('#'));
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.map(str::to_owned)
}

/// The variables that each service must get.
fn wanted() -> BTreeMap<&'static str, BTreeSet<String>> {
    let owned = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    let spin: toml::Table = read("spin.toml").parse().unwrap();
    let of_component = spin["variables"].as_table().unwrap().keys();
    let mut handler: BTreeSet<String> = of_component
        .map(|name| format!("SPIN_VARIABLE_{}", name.to_uppercase()))
        .collect();
    handler.extend(owned(&OF_SPIN));
    let mut wanted = BTreeMap::from([
        ("edge", variables_of_edge().into_keys().collect()),
        ("handler", handler),
    ]);
    for (service, directory) in [
        ("bridge", "kafka-bridge"),
        ("consumer", "consumer"),
        ("rushgate", "operator"),
        ("setup", "operator"),
    ] {
        let mut variables = variables_of_program(directory);
        if directory != "operator" {
            variables.extend(owned(&OF_DAEMONS));
        }
        wanted.insert(service, variables);
    }
    wanted
}

/// The variables that a compose file does not hand on to a service.
fn missing(text: &str, wanted: &BTreeMap<&str, BTreeSet<String>>) -> Vec<(String, String)> {
    let file = load(text);
    let mut missing = Vec::new();
    for (service, variables) in wanted {
        let given: BTreeMap<String, bool> = entries(&file["services"][*service]["environment"])
            .map(|(name, value)| {
                let is_handed_on =
                    value.is_null() || value.as_str().is_some_and(|value| value.contains("${"));
                (name, is_handed_on)
            })
            .collect();
        for variable in variables {
            let is_enough = match given.get(variable) {
                Some(is_handed_on) => *is_handed_on || FIXED.contains(&variable.as_str()),
                None => false,
            };
            if !is_enough {
                missing.push(((*service).to_owned(), variable.clone()));
            }
        }
    }
    missing
}

#[test]
fn every_setting_is_handed_on() {
    let wanted = wanted();
    // The scan of the sources finds something of each kind.
    for (service, variable) in [
        ("bridge", "BRIDGE_CLAIM_IDLE"),
        ("bridge", "KAFKA_SASL_PASSWORD"),
        ("consumer", "DATABASE_URL"),
        ("consumer", "CONSUMER_BATCH_AGE"),
        ("consumer", "KAFKA_SIGNING_KEYS_FILE"),
        ("consumer", "COUPON_CODE_KEYS_FILE"),
        ("edge", "EDGE_QUEUE_TIMEOUT"),
        ("handler", "SPIN_VARIABLE_GATE_BUDGET_MS"),
        ("rushgate", "KAFKA_GROUP"),
    ] {
        assert!(
            wanted[service].contains(variable),
            "{variable}: {wanted:#?}"
        );
    }
    let mut missing = missing(&read("docker-compose.yml"), &wanted);
    // Settings that only servers of one's own need.
    let own_servers = load(&read("deploy/own-servers.yml"));
    missing.retain(|(service, variable)| {
        own_servers["services"][service.as_str()]["environment"][variable.as_str()].is_badvalue()
    });
    assert!(missing.is_empty(), "not handed on: {missing:#?}");
}

#[test]
fn the_defaults_of_the_sample_are_those_of_the_programs() {
    let mut shown = 0;
    let file = load(&read("docker-compose.yml"));
    for (name, default) in variables_of_edge() {
        let value = file["services"]["edge"]["environment"][name.as_str()].as_str();
        // The edge and the handler share the settings of CORS.
        let name = name.replace("EDGE_CORS_", "CORS_");
        if let Some((_, rest)) = value.and_then(|value| value.split_once(&format!("{name}:-"))) {
            assert_eq!(rest.trim_end_matches('}'), default, "{name}");
            assert_eq!(sample(&name), Some(default), "{name}");
            shown += 1;
        }
    }
    let spin: toml::Table = read("spin.toml").parse().unwrap();
    for (name, variable) in spin["variables"].as_table().unwrap() {
        // Those of Redis are in deploy/own-servers.yml.
        if let Some(value) = sample(&name.to_uppercase()) {
            assert_eq!(Some(value.as_str()), variable["default"].as_str(), "{name}");
            shown += 1;
        }
    }
    assert!(shown > 15, "{shown}");
}

/// To HAProxy itself, only a variable that is not set has a default.
#[test]
fn a_blank_variable_of_the_edge_has_its_default() {
    let text = read("deploy/edge/haproxy.cfg");
    for (name, default) in variables_of_edge() {
        let is_removed = text.contains(&format!("\n    unsetenv {name}\n"));
        assert!(default.is_empty() || is_removed, "{name}");
    }
}

#[test]
fn addresses_of_servers_are_handed_on_to_all_who_need_them() {
    let own_servers = load(&read("deploy/own-servers.yml"));
    for (service, variables) in wanted() {
        for address in [
            "DATABASE_URL",
            "KAFKA_BROKERS",
            "REDIS_URL",
            "SPIN_VARIABLE_REDIS_URL",
        ] {
            let value = &own_servers["services"][service]["environment"][address];
            assert_eq!(
                variables.contains(address),
                value.as_str().is_some_and(|value| value.contains("${")),
                "{service}: {address}"
            );
        }
    }
}

#[test]
fn a_setting_that_is_missing_or_fixed_is_found() {
    let wanted = BTreeMap::from([(
        "a",
        ["GONE", "GIVEN", "LOCKED", "NULL", "REDIS_URL"]
            .map(str::to_owned)
            .into(),
    )]);
    let text = "services: {a: {environment: {GIVEN: '${X:-}', LOCKED: 3, NULL: , REDIS_URL: x}}}";
    let found = missing(text, &wanted);
    let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["GONE", "LOCKED"]);
}
