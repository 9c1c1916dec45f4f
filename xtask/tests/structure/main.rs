//! Tests the structure of the crates: no modules of a crate depend on each other in a circle.

// Helpers of tests are not seen as tests by clippy.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod circles;
mod modules;
mod scan;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::circles::circles;
use crate::modules::Crate;

/// The source directories of all members of the workspace, from the root of the checkout.
fn source_directories(root: &Path) -> Vec<String> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let members = members.iter().filter_map(toml::Value::as_str);
    members.map(|member| format!("{member}/src")).collect()
}

/// Reads every Rust file of a directory: path from the root of the checkout, and text.
fn read(root: &Path, directory: &str, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(root.join(directory)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{directory}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read(root, &path, files);
        } else if path.ends_with(".rs") {
            files.insert(path, fs::read_to_string(entry.path()).unwrap());
        }
    }
}

#[test]
fn no_modules_of_a_crate_depend_on_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let directories = source_directories(&root);
    assert!(directories.len() > 8, "{directories:?}");
    let mut found = Vec::new();
    for directory in directories {
        let mut files = BTreeMap::new();
        read(&root, &directory, &mut files);
        for name in ["lib.rs", "main.rs"] {
            let path = format!("{directory}/{name}");
            if files.contains_key(&path) {
                found.extend(circles(&Crate::parse(&path, &files)));
            }
        }
    }
    assert!(
        found.is_empty(),
        "{} circles:\n\n{}",
        found.len(),
        found.join("\n")
    );
}

/// The circles of a crate with these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    circles(&Crate::parse(
        "src/lib.rs",
        &files.iter().map(owned).collect(),
    ))
}

#[test]
fn a_circle_is_shown_with_what_makes_each_arrow() {
    let found = circles_of(&[
        ("src/lib.rs", "mod a;\nmod b;\nmod c;\npub use a::A;\n"),
        ("src/a.rs", "use crate::b::{B, other::*};\npub struct A;\n"),
        (
            "src/b.rs",
            "mod other;\npub struct B;\nfn f() { vec![super::c::C] }\n",
        ),
        ("src/b/other.rs", "// alone\n"),
        ("src/c.rs", "pub(crate) struct C(crate::A);\n"),
    ]);
    assert_eq!(
        found,
        ["3 files: src/a.rs, src/b.rs, src/c.rs\n  \
          src/a.rs -> src/b.rs: line 1: use crate::b::B\n  \
          src/b.rs -> src/c.rs: line 3: super::c::C\n  \
          src/c.rs -> src/a.rs: line 1: crate::A\n"]
    );
}

#[test]
fn a_parent_and_a_child_that_use_each_other_are_a_circle() {
    let child = (
        "src/a/b.rs",
        "use super::Error;\npub(crate) fn b() -> Error {}\n",
    );
    let root = ("src/lib.rs", "mod a;\n");
    let circles = |parent| circles_of(&[root, ("src/a.rs", parent), child]).len();
    assert_eq!(circles("mod b;\npub(crate) struct Error;\n"), 0);
    let uses = "mod b;\npub(crate) struct Error;\nfn f() { b::b(); }\n";
    assert_eq!(circles(uses), 1);
    let exports = "mod b;\npub(crate) use b::b;\npub(crate) struct Error;\n";
    assert_eq!(circles(exports), 1);
}

#[test]
fn names_are_followed_to_the_module_that_defines_them() {
    let root = ("src/lib.rs", "mod a;\nmod b;\npub use b::*;\n");
    let b = (
        "src/b.rs",
        "use crate::a;\npub struct B;\nfn f() { a::inner::g() }\n",
    );
    let a = |text| ("src/a.rs", text);
    let inner = ("src/a/inner.rs", "use crate::B as Other;\npub fn g() {}\n");
    let found = circles_of(&[root, a("pub mod inner;\npub use inner::g;\n"), b, inner]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("b.rs -> src/a/inner.rs: line 3: a::inner::g"));
    assert!(found[0].contains("inner.rs -> src/b.rs: line 1: use crate::B"));
}

#[test]
fn a_module_inside_a_file_is_part_of_that_file() {
    let root = "pub mod a {\n    mod b;\n    pub mod c;\n}\nmod d;\n";
    let found = circles_of(&[
        ("src/lib.rs", root),
        (
            "src/a/b.rs",
            "use super::c::C;\nuse crate::a;\npub struct B;\n",
        ),
        ("src/a/c.rs", "use crate::d::D;\npub struct C;\n"),
        (
            "src/d.rs",
            "use crate::a;\npub struct D;\nfn d(_: a::c::C) {}\n",
        ),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("2 files: src/a/c.rs, src/d.rs\n"));
}

#[test]
fn tests_comments_and_other_crates_make_no_arrows() {
    let found = circles_of(&[
        ("src/lib.rs", "mod a;\nmod redis;\n"),
        (
            "src/a.rs",
            "use redis::Value;\nuse crate::redis::F;\n/// Like [`crate::redis::F`].\npub struct A;\n",
        ),
        (
            "src/redis.rs",
            "pub struct F;\n#[cfg(test)]\nmod tests { use crate::a::A; }\n#[cfg(test)]\nfn f() -> crate::a::A {}\n",
        ),
    ]);
    assert_eq!(found, [""; 0]);
}
