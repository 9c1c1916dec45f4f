//! The table in `ARCHITECTURE.md`: every line of it has a test, and every fault a line.

use crate::fault::Fault;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const TABLE: &str = include_str!("../../../ARCHITECTURE.md");

#[test]
fn every_line_has_a_test_and_every_fault_a_line() {
    let (_, section) = TABLE.split_once("## What can fail").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("the next section");
    let rows: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect();
    assert!(rows.len() > 20, "{} lines", rows.len());

    let mut tests = String::new();
    for member in ["consumer", "e2e", "gate", "kafka-bridge"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        read(&root.join(member).join("tests"), &mut tests);
    }
    let mut faults: BTreeSet<String> = Fault::all().iter().map(Fault::to_string).collect();
    for row in rows {
        let shown_by = row.trim_end_matches([' ', '|']).rsplit('|').next();
        let names: Vec<&str> = shown_by
            .expect("a last column")
            .split('`')
            .skip(1)
            .step_by(2)
            .collect();
        assert!(!names.is_empty(), "nothing shows: {row}");
        for name in names {
            let exists = match name.strip_prefix("chaos:") {
                Some(fault) => faults.remove(fault),
                None => tests.contains(&format!("fn {name}()")),
            };
            assert!(exists, "there is no {name}, or it is in two lines: {row}");
        }
    }
    assert_eq!(faults, BTreeSet::new(), "faults without a line");
}

/// All that is written in the files below `dir`.
fn read(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => read(&path, text),
            false => text.push_str(&fs::read_to_string(path).expect("a source")),
        }
    }
}
