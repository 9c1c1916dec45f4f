//! Tests the page `docs/faults.md`: every section has its parts and names a test, and every fault has a section.

use crate::fault::Fault;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const FAULTS: &str = include_str!("../../../docs/faults.md");

/// What each section says, each once and in this order; the last is a list.
const LABELS: [&str; 4] = [
    "**What happens.**",
    "**What the operator sees.**",
    "**What to do.**",
    "**Tests.**",
];

#[test]
fn every_section_has_a_test_and_every_fault_a_section() {
    let sections: Vec<&str> = FAULTS.split("\n### ").skip(1).collect();
    assert!(sections.len() > 20, "{} sections", sections.len());

    let mut tests = String::new();
    for member in ["consumer", "e2e", "gate", "kafka-bridge"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        read(&root.join(member).join("tests"), &mut tests);
    }
    let mut faults: BTreeSet<String> = Fault::all().iter().map(Fault::to_string).collect();
    for section in sections {
        let (title, mut rest) = section.split_once('\n').expect("a title");
        for label in LABELS {
            let paragraph = format!("\n{label}");
            assert_eq!(section.matches(&paragraph).count(), 1, "{title}: {label}");
            (_, rest) = rest
                .split_once(&paragraph)
                .unwrap_or_else(|| panic!("{title}: {label} stands before its turn"));
        }
        let items = rest.lines().filter_map(|line| line.strip_prefix("- `"));
        let names: Vec<&str> = items.filter_map(|item| item.strip_suffix('`')).collect();
        assert!(!names.is_empty(), "{title}: no test shows it");
        for name in names {
            let exists = match name.strip_prefix("chaos:") {
                Some(fault) => faults.remove(fault),
                None => tests.contains(&format!("fn {name}()")),
            };
            assert!(
                exists,
                "{title}: {name} does not exist, or stands in two sections"
            );
        }
    }
    assert_eq!(faults, BTreeSet::new(), "faults without a section");
}

/// The text of all files below `dir`.
fn read(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => read(&path, text),
            false => text.push_str(&fs::read_to_string(&path).expect("a source")),
        }
    }
}
