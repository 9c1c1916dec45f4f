//! Tests `deploy/Dockerfile`: its base images are pinned, and it uses the same toolchain and component as the rest of
//! the checkout.

use std::collections::BTreeSet;

use super::compose::is_pinned;
use super::read;

/// The words after `FROM`: a base, and the name of the stage.
fn stages(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("FROM "))
        .filter_map(|line| line.split_once(" AS "))
        .map(|(base, name)| (base.to_owned(), name.to_owned()))
        .collect()
}

#[test]
fn bases_are_pinned_or_stages() {
    let stages = stages(&read("deploy/Dockerfile"));
    let names: BTreeSet<&str> = stages.iter().map(|(_, name)| name.as_str()).collect();
    for (base, _) in &stages {
        assert!(
            names.contains(base.as_str()) || is_pinned(base),
            "{base} is not pinned"
        );
    }
}

#[test]
fn every_target_of_the_compose_file_is_a_stage() {
    let text = read("deploy/Dockerfile");
    let names: BTreeSet<String> = stages(&text).into_iter().map(|(_, name)| name).collect();
    for line in read("docker-compose.yml").lines() {
        if let Some(target) = line.trim().strip_prefix("target: ") {
            assert!(names.contains(target), "there is no stage {target}");
        }
    }
}

#[test]
fn the_toolchain_is_the_one_that_is_pinned() {
    let toolchain: toml::Table = read("rust-toolchain.toml").parse().unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
    let text = read("deploy/Dockerfile");
    assert!(
        text.contains(&format!("FROM rust:{channel}-")),
        "want rust:{channel}"
    );
    assert!(
        text.contains(&format!("RUSTUP_TOOLCHAIN={channel}\n")),
        "want RUSTUP_TOOLCHAIN={channel}"
    );
}

#[test]
fn the_handler_runs_what_spin_toml_names() {
    let manifest: toml::Table = read("spin.toml").parse().unwrap();
    let source = manifest["component"]["apply-handler"]["source"]
        .as_str()
        .unwrap();
    let (directory, file) = source.rsplit_once('/').unwrap();
    let text = read("deploy/Dockerfile");
    assert!(text.contains(&format!("COPY --from=component /out/{file} {directory}/\n")));
    assert!(text.contains(&format!("cp {source} /out/")));
}

/// The caches of a Dockerfile: stage and mount options of each.
fn caches(text: &str) -> Vec<(String, Vec<String>)> {
    let mut stage = String::new();
    let mut caches = Vec::new();
    for line in text.lines() {
        if let Some((_, name)) = line.split_once(" AS ") {
            stage = name.to_owned();
        }
        caches.extend(
            line.split_whitespace()
                .filter_map(|word| word.strip_prefix("--mount=type=cache,"))
                .map(|options| {
                    let options = options.split(',').map(str::to_owned).collect();
                    (stage.clone(), options)
                }),
        );
    }
    caches
}

#[test]
fn stages_that_build_at_once_share_no_cache() {
    let caches = caches(&read("deploy/Dockerfile"));
    assert_eq!(caches.len(), 4, "{caches:?}");
    let mut ids = BTreeSet::new();
    for (stage, options) in caches {
        // Concurrent builds use the same ids: the second one waits.
        assert!(
            options.contains(&"sharing=locked".to_owned()),
            "{stage}: {options:?} is not locked"
        );
        let id = options.iter().find(|option| option.starts_with("id="));
        let id = id.unwrap_or_else(|| panic!("{stage}: {options:?} has no id of its own"));
        assert!(ids.insert(id.clone()), "{stage}: {id} is used twice");
    }
}

#[test]
fn only_bases_come_from_a_registry() {
    // `# syntax=` makes every build ask a registry for another front end; ours needs no feature that engines lack.
    assert!(!read("deploy/Dockerfile").contains("# syntax="));
}

#[test]
fn what_is_compiled_is_what_was_copied() {
    let text = read("deploy/Dockerfile");
    for instruction in text.split("\nRUN ") {
        if let Some((before, _)) = instruction.split_once("cargo build") {
            assert!(
                before.contains("-exec touch {} +"),
                "cargo takes files that are older than its cache for compiled already: {instruction}"
            );
        }
    }
}

#[test]
fn the_images_need_no_shell_to_start() {
    for line in read("deploy/Dockerfile").lines() {
        if let Some(command) = line.strip_prefix("ENTRYPOINT ") {
            assert!(
                command.starts_with('[') && !command.contains("sh\""),
                "{command}"
            );
        }
    }
}
