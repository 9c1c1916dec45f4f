//! Tests `docker-compose.yml`: its images are pinned, its containers have few rights and bounded memory, it has health
//! checks and the right start order, and it contains no secrets.

use std::collections::BTreeSet;

use yaml_rust2::{Yaml, YamlLoader};

/// Images whose containers need a disk of their own: the comments in the file say why.
const WRITABLE: [&str; 2] = ["kafka", "mysql"];

/// A compose file, with its merge keys (`<<`) replaced by what they merge.
pub(crate) fn load(text: &str) -> Yaml {
    let documents = YamlLoader::load_from_str(text).unwrap();
    merged(&documents[0])
}

fn merged(yaml: &Yaml) -> Yaml {
    match yaml {
        Yaml::Array(items) => Yaml::Array(items.iter().map(merged).collect()),
        Yaml::Hash(hash) => {
            let mut result = yaml_rust2::yaml::Hash::new();
            let (merges, own): (Vec<_>, Vec<_>) =
                hash.iter().partition(|(key, _)| key.as_str() == Some("<<"));
            for (_, value) in merges {
                let sources = value
                    .as_vec()
                    .map_or_else(|| std::slice::from_ref(value), |sources| sources.as_slice());
                for source in sources.iter().rev() {
                    result.extend(merged(source).into_hash().unwrap());
                }
            }
            result.extend(
                own.iter()
                    .map(|(key, value)| ((*key).clone(), merged(value))),
            );
            Yaml::Hash(result)
        }
        other => other.clone(),
    }
}

/// The problems of a compose file.
fn problems(text: &str) -> Vec<String> {
    let file = &load(text);
    let mut problems = Vec::new();
    for (name, service) in entries(&file["services"]) {
        let mut found = Vec::new();
        found.extend(image_problem(service));
        found.extend(health_problems(&name, service, file));
        found.extend(order_problems(service, file));
        found.extend(secret_problems(service));
        found.extend(exposure_problems(service));
        found.extend(volume_problems(service, file));
        found.extend(rights_problems(&name, service));
        if !service["ulimits"].is_badvalue() {
            found.push(
                "has ulimits, with which it starts only where the engine may have as much".into(),
            );
        }
        if service["restart"].as_str().is_none() {
            found.push("has no restart policy".into());
        }
        if !is_one_shot(&name, file) && service["stop_grace_period"].as_str().is_none() {
            found.push("has no stop_grace_period".into());
        }
        problems.extend(
            found
                .into_iter()
                .map(|problem| format!("{name}: {problem}")),
        );
    }
    problems
}

fn image_problem(service: &Yaml) -> Option<String> {
    let image = service["image"].as_str().unwrap_or_default();
    (!is_pinned(image)).then(|| format!("image {image:?} is not pinned to a version"))
}

/// A complete version; tags such as `latest`, `8` or `8.4` move.
pub(crate) fn is_pinned(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or_default();
    let tag = name.split_once(':').map_or("", |(_, tag)| tag);
    let version = tag.trim_start_matches('v');
    let numbers = version
        .split('-')
        .next()
        .unwrap_or_default()
        .split('.')
        .filter(|number| number.parse::<u32>().is_ok())
        .count();
    // Debian numbers its releases with two parts.
    numbers >= 3 || (numbers == 2 && name.starts_with("debian:"))
}

/// A service that ends by itself: others wait for its end, or it runs only when it is called.
fn is_one_shot(name: &str, file: &Yaml) -> bool {
    let is_called = !file["services"][name]["profiles"].is_badvalue();
    is_called
        || entries(&file["services"]).any(|(_, other)| {
            other["depends_on"][name]["condition"].as_str()
                == Some("service_completed_successfully")
        })
}

fn health_problems(name: &str, service: &Yaml, file: &Yaml) -> Vec<String> {
    let check = &service["healthcheck"];
    let Some(test) = check["test"].as_vec() else {
        return if is_one_shot(name, file) {
            Vec::new()
        } else {
            vec!["has no healthcheck, and no service waits for its end".into()]
        };
    };
    let mut problems = Vec::new();
    let words: Vec<&str> = test.iter().filter_map(Yaml::as_str).collect();
    if !is_one_process(&words) {
        problems.push(format!(
            "has a healthcheck {words:?} whose children outlive it when it is killed"
        ));
    }
    let minutes = check["start_period"]
        .as_str()
        .and_then(|period| period.strip_suffix('m')?.parse::<u32>().ok());
    if minutes.is_none_or(|minutes| minutes < 5) {
        problems.push("is given less than 5 minutes to start".into());
    }
    if check["start_interval"].is_badvalue() {
        problems.push("has no start_interval, so that every start takes an interval".into());
    }
    problems
}

/// Whether a command is a single process: a program, or a shell that execs one or runs only commands of its own.
fn is_one_process(test: &[&str]) -> bool {
    match test {
        ["CMD-SHELL", script] | ["CMD", "bash" | "sh", "-c", script] => {
            let script = script.replace(">&", ">").replace("<&", "<");
            let commands = || script.split("; ").flat_map(|part| part.split(" && "));
            let builtins = ["exec ", "export ", "printf ", "read ", "[[ "];
            !script.replace(" && ", "").contains(['|', '&', '`', '('])
                && commands().all(|command| builtins.iter().any(|name| command.starts_with(name)))
        }
        ["CMD", program, ..] => !program.ends_with(".sh"),
        _ => false,
    }
}

fn order_problems(service: &Yaml, file: &Yaml) -> Vec<String> {
    let mut problems = Vec::new();
    for (on, dependency) in entries(&service["depends_on"]) {
        let target = &file["services"][on.as_str()];
        match dependency["condition"].as_str() {
            _ if target.is_badvalue() => {
                problems.push(format!("waits for {on}, which is not there"))
            }
            Some("service_completed_successfully") => {}
            Some("service_healthy") if target["healthcheck"].is_badvalue() => {
                problems.push(format!(
                    "waits for the health of {on}, which has no healthcheck"
                ));
            }
            Some("service_healthy") => {}
            condition => problems.push(format!("waits for {on} with condition {condition:?}")),
        }
    }
    problems
}

fn secret_problems(service: &Yaml) -> Vec<String> {
    entries(&service["environment"])
        .filter(|(key, value)| {
            let is_handed_on = value.is_null();
            let value = value.as_str().unwrap_or_default();
            let secret_key = ["PASSWORD", "SECRET", "TOKEN"]
                .iter()
                .any(|word| key.contains(word));
            let credentials = value
                .split_once("://")
                .and_then(|(_, rest)| Some(rest.rsplit_once('@')?.0));
            let password = credentials.and_then(|credentials| Some(credentials.split_once(':')?.1));
            (secret_key && !is_handed_on && !value.starts_with("${"))
                || password.is_some_and(|password| !password.starts_with("${"))
        })
        .map(|(key, _)| format!("{key} holds a secret"))
        .collect()
}

fn exposure_problems(service: &Yaml) -> Vec<String> {
    service["ports"]
        .as_vec()
        .into_iter()
        .flatten()
        .filter_map(Yaml::as_str)
        .filter(|port| !port.starts_with("127.0.0.1:") && !port.contains(":-127.0.0.1:"))
        .map(|port| format!("publishes {port} on all interfaces"))
        .collect()
}

fn volume_problems(service: &Yaml, file: &Yaml) -> Vec<String> {
    let named: BTreeSet<String> = entries(&file["volumes"]).map(|(name, _)| name).collect();
    service["volumes"]
        .as_vec()
        .into_iter()
        .flatten()
        .filter_map(|volume| volume.as_str()?.split(':').next())
        .filter(|source| !source.starts_with('.') && !named.contains(*source))
        .map(|source| format!("uses the volume {source}, which is not declared"))
        .collect()
}

fn rights_problems(name: &str, service: &Yaml) -> Vec<String> {
    let list = |key: &str| -> Vec<&str> {
        let items = service[key].as_vec().into_iter().flatten();
        items.filter_map(Yaml::as_str).collect()
    };
    let mut problems = Vec::new();
    if service["init"].as_bool() != Some(true) {
        problems.push("has no init, so that dead children remain".into());
    }
    if list("cap_drop") != ["ALL"] {
        problems.push("keeps capabilities".into());
    }
    for capability in list("cap_add") {
        problems.push(format!("has the capability {capability}"));
    }
    if list("security_opt") != ["no-new-privileges:true"] {
        problems.push("may get new privileges".into());
    }
    if service["read_only"].as_bool() != Some(true) && !WRITABLE.contains(&name) {
        problems.push("writes to its own root".into());
    }
    for limit in ["mem_limit", "pids_limit"] {
        if service[limit].is_badvalue() {
            problems.push(format!("has no {limit}"));
        }
    }
    problems
}

pub(crate) fn entries(yaml: &Yaml) -> impl Iterator<Item = (String, &Yaml)> {
    yaml.as_hash()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value)))
}

#[test]
fn the_compose_file_keeps_the_rules() {
    let problems = problems(&super::read("docker-compose.yml"));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_part_is_there() {
    let file = load(&super::read("docker-compose.yml"));
    let services: BTreeSet<String> = entries(&file["services"]).map(|(name, _)| name).collect();
    let wanted = [
        "bridge", "consumer", "edge", "handler", "k6", "kafka", "mysql", "redis", "rushgate",
        "setup",
    ];
    assert_eq!(services, wanted.map(str::to_owned).into());
}

#[test]
fn broken_rules_are_found() {
    let text = "
services:
  a:
    image: redis:latest
    environment: { DB_PASSWORD: hunter2, URL: 'mysql://u:pw@h/d' }
    depends_on: { b: { condition: service_healthy }, c: { condition: service_started } }
    ports: ['6379:6379']
    volumes: ['data:/data']
    restart: always
  b:
    image: mysql:9.7.4
    healthcheck: { disable: true }
    cap_add: [SYS_ADMIN]
    stop_grace_period: 1s
  c:
    image: redis:8.0.6
    healthcheck: { test: [CMD-SHELL, 'redis-cli ping | grep -q PONG'], start_period: 60s }
    ulimits: { nofile: 65536 }
";
    let problems = problems(text);
    for expected in [
        "a: image",
        "a: has no healthcheck",
        "a: waits for c",
        "a: DB_PASSWORD holds",
        "a: URL holds",
        "a: publishes 6379",
        "a: uses the volume data",
        "a: has no stop_grace_period",
        "a: has no init",
        "a: keeps capabilities",
        "a: may get new privileges",
        "a: writes to its own root",
        "a: has no mem_limit",
        "a: has no pids_limit",
        "b: has the capability SYS_ADMIN",
        "b: has no healthcheck",
        "b: has no restart",
        "c: has a healthcheck",
        "c: is given less than 5 minutes",
        "c: has no start_interval",
        "c: has ulimits",
    ] {
        assert!(
            problems.iter().any(|problem| problem.starts_with(expected)),
            "{expected} not among {problems:#?}"
        );
    }
}

#[test]
fn merge_keys_are_replaced_and_the_mapping_itself_wins() {
    let file = load("{a: &a {x: 1, y: 1}, b: &b {y: 2, z: 2}, c: {<<: [*a, *b], z: 3}}");
    let value = |key: &str| file["c"][key].as_i64();
    assert_eq!(
        (value("x"), value("y"), value("z")),
        (Some(1), Some(1), Some(3))
    );
    assert!(file["c"]["<<"].is_badvalue());
}

#[test]
fn a_check_is_one_process() {
    for one in [
        &["CMD", "redis-cli", "-e", "ping"][..],
        &["CMD", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/19092"],
        &[
            "CMD",
            "bash",
            "-c",
            "exec 3<>/dev/tcp/h/1 && printf x >&3 && read -r answer <&3 && [[ $answer == y ]]",
        ],
        &["CMD-SHELL", "export PASSWORD=$$P; exec mysql >/dev/null"],
    ] {
        assert!(is_one_process(one), "{one:?}");
    }
    for several in [
        &["CMD-SHELL", "redis-cli ping | grep -q PONG"][..],
        &["CMD-SHELL", "PASSWORD=$$P mysql >/dev/null"],
        &["CMD-SHELL", "exec 3<&0 && sleep 9"],
        &["CMD", "/opt/kafka/bin/kafka-broker-api-versions.sh"],
        &["NONE"],
    ] {
        assert!(!is_one_process(several), "{several:?}");
    }
}

#[test]
fn pinned_is_a_whole_version() {
    for pinned in [
        "mysql:9.7.4",
        "ghcr.io/spinframework/spin:v4.1.0",
        "rust:1.95.0-bookworm",
        "debian:12.13-slim",
    ] {
        assert!(is_pinned(pinned), "{pinned}");
    }
    for moving in [
        "mysql",
        "mysql:latest",
        "mysql:8",
        "mysql:8.4",
        "debian:bookworm-slim",
        "host:5000/mysql",
    ] {
        assert!(!is_pinned(moving), "{moving}");
    }
}
