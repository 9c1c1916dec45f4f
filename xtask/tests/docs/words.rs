//! Tests that no retired word stands in a comment or on a page.

use crate::comments::prose;
use crate::rules::{Rules, is_among};
use crate::{File, files};

/// The words, and what to write instead. They stand in this file, and may.
const RULES_PATH: &str = "docs/retired-words.txt";

/// A sentence for each retired word that stands where it may not.
fn found(rules: &Rules, files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for File { path, text } in files {
        if path == RULES_PATH || is_among(path, &rules.skipped) {
            continue;
        }
        let Some(prose) = prose(path, text) else {
            continue;
        };
        for rule in &rules.rules {
            if is_among(path, &rule.exceptions) {
                continue;
            }
            let searched = if rule.is_name { text } else { &prose };
            for hit in rule.pattern.find_iter(searched) {
                let line = searched[..hit.start()].matches('\n').count() + 1;
                let word = hit.as_str().split_whitespace().collect::<Vec<_>>();
                found.push(format!(
                    "{path}:{line}: \"{}\": write {}",
                    word.join(" "),
                    rule.instead
                ));
            }
        }
    }
    found
}

#[test]
fn no_retired_word_stands_in_comments_and_pages() {
    let files = files();
    let file = files.iter().find(|file| file.path == RULES_PATH);
    let rules = Rules::parse(&file.expect(RULES_PATH).text);
    let found = found(&rules, &files);
    assert!(
        found.is_empty(),
        "{} retired words ({RULES_PATH}):\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn a_retired_word_is_named_with_its_file_its_line_and_what_to_write() {
    let rules = Rules::parse(
        "skip old/\n\nword what paid\nwrite Optimisation log\nexcept CHANGELOG.md\n\nname old_name\nwrite new_name\n",
    );
    let file = |path: &str, text: &str| File {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let files = [
        file("a.rs", "fn f() {}\n// This is what\n    // paid.\n"),
        file(
            "b.rs",
            "let what = paid; old_name(\"what paid\"); old_names();\n",
        ),
        file("docs/c.md", "What\tPaid, and old.\n"),
        file("CHANGELOG.md", "What paid.\n"),
        file("old/c.md", "What paid.\n"),
    ];
    assert_eq!(
        found(&rules, &files),
        [
            "a.rs:2: \"what paid\": write Optimisation log",
            "b.rs:1: \"old_name\": write new_name",
            "docs/c.md:1: \"What Paid\": write Optimisation log",
        ]
    );
}
