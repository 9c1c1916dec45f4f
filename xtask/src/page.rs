//! The command `cargo xtask page`, which writes into `web/` what follows from its files: the hash in the name of their
//! directory, their integrity, the policy of the page, and its languages. A browser may then keep each file for ever, and runs
//! no other script.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::say;
use crate::workspace;

/// Files that belong together: a change of one changes the name of all, so no page mixes two versions.
type Files = BTreeMap<String, Vec<u8>>;

/// What the directory of the files is called, before its hash.
const ASSETS: &str = "assets";

pub(crate) fn page() -> Result<()> {
    let web = workspace::root().join("web");
    let (directory, files) = read(&web)?;
    let index = web.join("index.html");
    let before = fs::read_to_string(&index).context("reading web/index.html")?;
    let (name, after) = stamped(&before, &files)?;
    fs::rename(&directory, web.join(&name)).with_context(|| format!("renaming to web/{name}"))?;
    fs::write(&index, after).context("writing web/index.html")?;
    say::line(format_args!("web/{name}"));
    Ok(())
}

fn read(web: &Path) -> Result<(PathBuf, Files)> {
    let mut directories = vec![];
    for entry in fs::read_dir(web).context("listing web/")? {
        let path = entry?.path();
        if path.is_dir() {
            directories.push(path);
        }
    }
    let [directory] = &directories[..] else {
        bail!("web/ needs one directory with the files of the page, and has {directories:?}");
    };
    let mut files = Files::new();
    for entry in fs::read_dir(directory).context("listing the files of the page")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, fs::read(entry.path())?);
    }
    Ok((directory.clone(), files))
}

/// The name of the directory, and the page that refers to it.
fn stamped(page: &str, files: &Files) -> Result<(String, String)> {
    let mut all = Sha256::new();
    for (name, content) in files {
        all.update(format!("{name}\n{}\n", content.len()));
        all.update(content);
    }
    let hash = all.finalize();
    let hex: String = hash[..5].iter().map(|byte| format!("{byte:02x}")).collect();
    let directory = format!("{ASSETS}-{hex}");

    let mut scripts = vec![];
    let mut lines = vec![];
    for line in page.lines() {
        let Some((before, rest)) = line.split_once(&format!("=\"{ASSETS}")) else {
            lines.push(line.to_owned());
            continue;
        };
        let (path, after) = rest.split_once('"').context(line.to_owned())?;
        let name = path.rsplit('/').next().unwrap_or_default();
        let content = files.get(name);
        let content =
            content.with_context(|| format!("index.html refers to {name}: no such file"))?;
        let integrity = format!("sha256-{}", STANDARD.encode(Sha256::digest(content)));
        let attribute = match name.rsplit_once('.') {
            Some((_, "js" | "css")) => format!(" integrity=\"{integrity}\""),
            _ => String::new(),
        };
        if name.ends_with(".js") {
            scripts.push((name.to_owned(), format!("'{integrity}'")));
        }
        let after = match after.split_once(" integrity=\"") {
            Some((_, old)) => old.split_once('"').context(line.to_owned())?.1,
            None => after,
        };
        lines.push(format!("{before}=\"{directory}/{name}\"{attribute}{after}"));
    }
    let is_there = |name: &str| scripts.iter().any(|(script, _)| script == name);
    let missing = files.keys().filter(|name| name.ends_with(".js"));
    let missing: Vec<_> = missing.filter(|name| !is_there(name)).collect();
    ensure!(
        missing.is_empty(),
        "index.html has no <script> for {missing:?}: the policy would block them"
    );

    let hashes: Vec<_> = scripts.into_iter().map(|(_, hash)| hash).collect();
    let languages: Vec<_> = files
        .keys()
        .filter_map(|name| name.strip_suffix(".json"))
        .collect();
    let page = replaced(&lines.join("\n"), "script-src ", "\"", &hashes.join(" "))?;
    let page = replaced(&page, "data-languages=\"", "\"", &languages.join(" "))?;
    Ok((directory, page + "\n"))
}

/// `text` with `value` between the first `from` and the next `to`.
fn replaced(text: &str, from: &str, to: &str, value: &str) -> Result<String> {
    let (before, rest) = text
        .split_once(from)
        .with_context(|| format!("index.html lacks {from}"))?;
    let (_, after) = rest.split_once(to).context("index.html ends too early")?;
    Ok(format!("{before}{from}{value}{to}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn web() -> PathBuf {
        workspace::root().join("web")
    }

    #[test]
    fn the_names_in_the_page_are_the_hashes_of_its_files() {
        let (directory, files) = read(&web()).unwrap();
        let page = fs::read_to_string(web().join("index.html")).unwrap();
        let (name, stamped) = stamped(&page, &files).unwrap();
        let advice = "the page has changed: run `cargo xtask page`";
        assert_eq!(directory.file_name().unwrap(), name.as_str(), "{advice}");
        assert_eq!(page, stamped, "{advice}");
    }

    #[test]
    fn a_change_of_one_file_changes_every_name_and_its_hash() {
        let page = concat!(
            "<html data-languages=\"\">\n<meta content=\"script-src \">\n",
            "<script src=\"assets/a.js\"></script>\n<link href=\"assets/i.svg\">\n",
        );
        let mut files: Files = [
            ("a.js", "1"),
            ("en.json", "{}"),
            ("i.svg", ""),
            ("ko.json", "{}"),
        ]
        .map(|(name, content)| (name.to_owned(), content.into()))
        .into();
        let (first, once) = stamped(page, &files).unwrap();
        // openssl dgst -sha256 -binary | base64
        let hash = "sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s=";
        assert_eq!(
            once,
            format!(
                "<html data-languages=\"en ko\">\n<meta content=\"script-src '{hash}'\">\n\
                 <script src=\"{first}/a.js\" integrity=\"{hash}\"></script>\n<link href=\"{first}/i.svg\">\n"
            )
        );
        assert_eq!(
            stamped(&once, &files).unwrap(),
            (first.clone(), once.clone())
        );
        files.insert("ko.json".to_owned(), b"{ }".to_vec());
        let (second, twice) = stamped(&once, &files).unwrap();
        assert_ne!(second, first);
        assert_eq!(twice, once.replace(&first, &second));
    }

    #[test]
    fn a_script_that_the_policy_would_block_is_an_error() {
        let files = Files::from([("a.js".to_owned(), vec![])]);
        let error = stamped("<meta content=\"script-src \">\n", &files).unwrap_err();
        assert!(error.to_string().contains("a.js"), "{error}");
    }

    #[test]
    fn the_page_is_small() {
        let (_, files) = read(&web()).unwrap();
        let index = fs::metadata(web().join("index.html")).unwrap().len();
        let files: usize = files.values().map(Vec::len).sum();
        assert!(
            index + files as u64 <= 60 * 1024,
            "{index} and {files} bytes"
        );
    }

    /// A key that a language lacks would be shown as it is.
    #[test]
    fn every_language_has_the_same_texts() {
        let (_, files) = read(&web()).unwrap();
        let texts = |file: &str| -> BTreeSet<String> {
            let text = String::from_utf8(files[file].clone()).unwrap();
            let texts: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&text).expect(file);
            texts.into_iter().map(|(key, _)| key).collect()
        };
        let english = texts("en.json");
        assert!(english.len() > 50, "{english:?}");
        for file in files.keys().filter(|name| name.ends_with(".json")) {
            assert_eq!(texts(file), english, "{file}");
        }
    }
}
