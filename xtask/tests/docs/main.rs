//! Tests of the docs and the comments: no retired word comes back, and every link leads to something that exists.

// Helpers of tests are not seen as tests by clippy.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod comments;
mod links;
mod rules;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

/// Directories that hold no text of this project.
const FOREIGN: [&str; 4] = [".git", ".rushgate", "node_modules", "target"];

/// A file of the checkout: its path from the root, with slashes, and its text.
struct File {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of the checkout that is text, in the order of their paths.
fn files() -> Vec<File> {
    let root = root();
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    let mut files: Vec<File> = paths
        .into_iter()
        .filter_map(|path| {
            let relative = path.strip_prefix(&root).unwrap();
            Some(File {
                path: relative.to_str()?.replace('\\', "/"),
                text: fs::read_to_string(&path).ok()?,
            })
        })
        .collect();
    assert!(files.len() > 100, "{} files", files.len());
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !FOREIGN.iter().any(|name| entry.file_name() == *name) {
            collect(&entry.path(), paths);
        } else if kind.is_file() {
            paths.push(entry.path());
        }
    }
}
