//! Tests the deployment files: they can be parsed, they agree with one another, and they keep rules that no other tool
//! checks.

// Clippy does not recognise helpers of tests as tests.
#![allow(clippy::unwrap_used)]

mod compose;
mod dockerfile;
mod healthcheck;
mod spin;

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

#[test]
fn the_sample_explains_every_variable_of_the_compose_file() {
    let sample = read(".env.sample");
    for variable in variables(&read("docker-compose.yml")) {
        let explained = sample.lines().any(|line| {
            line.trim_start_matches('#')
                .starts_with(&format!("{variable}="))
        });
        assert!(explained, "{variable} is not in .env.sample");
    }
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
fn containers_and_machines_run_the_same_kafka() {
    let pom = read("xtask/kafka/pom.xml");
    let (_, rest) = pom.split_once("<kafka.version>").unwrap();
    let (version, _) = rest.split_once('<').unwrap();
    let image = format!("image: apache/kafka:{version}\n");
    assert!(
        read("docker-compose.yml").contains(&image),
        "want {image} as in pom.xml"
    );
}
