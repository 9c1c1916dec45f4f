//! Tests that links between pages lead to files that exist, and to headings that these files have.

use crate::{files, root};
use std::collections::BTreeMap;

/// What follows `](` up to `)`, with the number of its line.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(|(number, line)| {
        line.split("](")
            .skip(1)
            .filter_map(move |rest| Some((number + 1, rest.split_once(')')?.0)))
    })
}

/// The anchors that GitHub gives to the headings of a page.
fn anchors(text: &str) -> Vec<String> {
    let mut in_code = false;
    text.lines()
        .filter(|line| {
            in_code ^= line.starts_with("```");
            !in_code && line.starts_with('#')
        })
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// The path of a link, from the root.
fn target(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn links_between_pages_lead_somewhere() {
    let files = files();
    let texts: BTreeMap<&str, &str> = files
        .iter()
        .map(|file| (file.path.as_str(), file.text.as_str()))
        .collect();
    let is_directory = |path: &str| {
        let inside = format!("{path}/");
        texts.keys().any(|file| file.starts_with(&inside))
    };
    let mut broken = Vec::new();
    for (page, text) in texts.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (line, link) in links(text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = match path {
                "" => (*page).to_owned(),
                path => target(page, path),
            };
            let leads = match texts.get(path.as_str()) {
                Some(_) if anchor.is_empty() => true,
                Some(text) => anchors(text).iter().any(|known| known == anchor),
                // A picture is no text.
                None => anchor.is_empty() && (is_directory(&path) || root().join(&path).is_file()),
            };
            if !leads {
                broken.push(format!("{page}:{line}: {link}"));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "links that lead nowhere:\n{}",
        broken.join("\n")
    );
}

#[test]
fn anchors_are_those_of_the_headings() {
    let page = "# A page: `x`, and so on\n\n```sh\n# no heading\n```\n\n## 한국어 제목\n";
    assert_eq!(anchors(page), ["a-page-x-and-so-on", "한국어-제목"]);
    assert_eq!(target("docs/a.md", "../bench/README.md"), "bench/README.md");
    assert_eq!(target("README.md", "docs/a.md"), "docs/a.md");
}
