//! Puts the files of `web/` into the component, as they are, and takes the policy of the page out of it.

#![allow(
    clippy::print_stdout,
    reason = "a build script speaks to cargo on its standard output"
)]

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    // The stack of an instance. The default is 1 MiB, of which hosts keep most in memory, whatever is used of it.
    if env::var("CARGO_CFG_TARGET_FAMILY")? == "wasm" {
        println!("cargo::rustc-link-arg-cdylib=-zstack-size=262144");
    }
    println!("cargo::rerun-if-changed=../web");
    let web = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../web");
    let page = fs::read_to_string(web.join("index.html"))?;
    let policy = page
        .split_once("Content-Security-Policy\" content=\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .ok_or("web/index.html has no Content-Security-Policy")?
        .0;
    let mut code = format!("const POLICY: &str = {policy:?};\nstatic FILES: &[WebFile] = &[\n");
    for directory in fs::read_dir(&web)? {
        let directory = directory?;
        if !directory.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(directory.path())? {
            let file = file?.path();
            let content_type = match file.extension().and_then(|extension| extension.to_str()) {
                Some("css") => "text/css; charset=utf-8",
                Some("js") => "text/javascript; charset=utf-8",
                Some("json") => "application/json",
                Some("svg") => "image/svg+xml",
                _ => return Err(format!("{}: of what type is it?", file.display()).into()),
            };
            let path = file
                .strip_prefix(&web)?
                .to_string_lossy()
                .replace('\\', "/");
            writeln!(
                code,
                "WebFile {{ path: \"/{path}\", content_type: {content_type:?}, content: include_bytes!({file:?}) }},"
            )?;
        }
    }
    code.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("web_files.rs"), code)?;
    Ok(())
}
