//! The command `cargo xtask lines`, which counts the lines of code of the product and of the workshop.

use std::fs;
use std::ops::AddAssign;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};

use crate::say;
use crate::workspace;

/// What users run.
const PRODUCT: [&str; 9] = [
    "gate",
    "apply-handler",
    "kafka-bridge",
    "consumer",
    "operator",
    "startup",
    "migrations",
    "deploy",
    "web",
];
/// What tests, measures and starts it.
const WORKSHOP: [&str; 6] = ["testbed", "e2e", "bench", "load", "wasm-host", "xtask"];

/// Lines of code, without those of tests and of tests alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    code: usize,
    tests: usize,
}

impl AddAssign for Lines {
    fn add_assign(&mut self, more: Self) {
        self.code += more.code;
        self.tests += more.tests;
    }
}

/// Prints a row for each directory, and the sums.
pub(crate) fn lines() -> Result<()> {
    row("", ["without tests", "tests", "together"]);
    for (side, directories) in [("product", &PRODUCT[..]), ("workshop", &WORKSHOP[..])] {
        let mut sum = Lines::default();
        for directory in directories {
            let lines = of_directory(&workspace::root().join(directory), false)?;
            numbers(&format!("  {directory}"), lines);
            sum += lines;
        }
        numbers(side, sum);
    }
    Ok(())
}

fn numbers(name: &str, Lines { code, tests }: Lines) {
    row(
        name,
        [code, tests, code + tests].map(|number| number.to_string()),
    );
}

fn row<T: AsRef<str>>(name: &str, [code, tests, together]: [T; 3]) {
    let (code, tests, together) = (code.as_ref(), tests.as_ref(), together.as_ref());
    say::line(format_args!(
        "{name:<16} {code:>14} {tests:>8} {together:>10}"
    ));
}

fn of_directory(directory: &Path, is_test: bool) -> Result<Lines> {
    let mut lines = Lines::default();
    let entries = fs::read_dir(directory);
    for entry in entries.with_context(|| format!("cannot list {}", directory.display()))? {
        let path = entry?.path();
        let is_test = is_test || path.ends_with("tests") || path.ends_with("tests.rs");
        if path.is_dir() && !path.ends_with("target") {
            lines += of_directory(&path, is_test)?;
        } else if let Some(language) = path.extension().and_then(|language| language.to_str())
            && ["rs", "lua", "sql", "js", "html", "css"].contains(&language)
        {
            let text = fs::read_to_string(&path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            let Lines { code, tests } = of_text(language, &text)
                .with_context(|| format!("cannot parse {}", path.display()))?;
            lines += match is_test {
                true => Lines {
                    code: 0,
                    tests: code + tests,
                },
                false => Lines { code, tests },
            };
        }
    }
    Ok(lines)
}

fn of_text(language: &str, text: &str) -> Result<Lines> {
    if language != "rs" {
        let code = without_comments(language, text);
        return Ok(Lines { code, tests: 0 });
    }
    let tokens: TokenStream = text.parse().map_err(|error| anyhow!("{error}"))?;
    let mut marks = vec![None; text.lines().count()];
    mark(tokens, false, &mut marks);
    let mut lines = Lines::default();
    for (mark, line) in marks.into_iter().zip(text.lines()) {
        match mark {
            _ if line.trim().is_empty() => {}
            Some(true) => lines.tests += 1,
            Some(false) => lines.code += 1,
            None => {}
        }
    }
    Ok(lines)
}

/// Marks each line that has a token: with `true` if it is compiled only for tests. A comment is no token, but one of the
/// documentation is an attribute.
fn mark(tokens: TokenStream, is_test: bool, marks: &mut [Option<bool>]) {
    let mut item_is_test = is_test;
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if is_punct(&token, '#') {
            let mut ahead = tokens.clone();
            ahead.next_if(|token| is_punct(token, '!'));
            let attribute = ahead.next().map(|attribute| attribute.to_string());
            let attribute = attribute.unwrap_or_default().replace(' ', "");
            if attribute.starts_with("[doc=") {
                tokens = ahead;
                continue;
            }
            item_is_test |= attribute == "[cfg(test)]";
        }
        let mut touch = |span: Span| {
            for mark in &mut marks[span.start().line - 1..span.end().line] {
                mark.get_or_insert(item_is_test);
            }
        };
        if let TokenTree::Group(group) = &token {
            touch(group.span_open());
            touch(group.span_close());
            mark(group.stream(), item_is_test, marks);
        } else {
            touch(token.span());
        }
        let is_body =
            matches!(&token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        if is_body || is_punct(&token, ';') {
            item_is_test = is_test;
        }
    }
}

fn is_punct(token: &TokenTree, expected: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == expected)
}

/// Lines of another language that are neither blank nor part of a comment that begins its line.
fn without_comments(language: &str, text: &str) -> usize {
    let (line_comment, begin, end) = match language {
        "lua" => ("--", "--[[", "]]"),
        "sql" => ("--", "/*", "*/"),
        "html" => ("//", "<!--", "-->"),
        _ => ("//", "/*", "*/"),
    };
    let mut in_comment = false;
    let is_code = |line: &&str| {
        let line = line.trim();
        let begins = line.starts_with(begin);
        let was_in_comment = in_comment;
        in_comment = (in_comment || begins) && !line.contains(end);
        !(line.is_empty() || was_in_comment || begins || line.starts_with(line_comment))
    };
    text.lines().filter(is_code).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blank_lines_and_tests_are_told_from_code() {
        let rust = r###"//! Header.

/* A comment
   of two lines. */
/// Documentation.
#[derive(Debug)]
struct A; // a comment after code

const TEXT: &str = "// no comment

#[cfg(test)] no attribute";

#[cfg(test)]
const B: [u8; 1] = [1];

fn f() {}

#[cfg(test)]
mod tests {
    //! Header.
    #[test]
    fn g() {
        // Comment.
    }
}
"###;
        let lines = of_text("rs", rust).unwrap();
        assert_eq!(lines, Lines { code: 5, tests: 8 });
    }

    #[test]
    fn other_languages_have_comments_of_their_own() {
        let code = |language, text| of_text(language, text).unwrap().code;
        assert_eq!(
            code("lua", "-- one\n--[[ two\n\nthree ]]\nlocal a = 1 -- four\n"),
            1
        );
        assert_eq!(
            code("sql", "-- one\nSELECT 1;\n/* two */\n\nSELECT '-- 2';\n"),
            2
        );
        assert_eq!(code("js", "// one\n/* two\n * three\n */\nf();\n"), 1);
        assert_eq!(code("html", "<p>\n<!-- one -->\n</p>\n"), 2);
    }
}
