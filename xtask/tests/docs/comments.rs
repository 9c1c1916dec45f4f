//! Extracts the prose of a file: the whole text of a Markdown page, but only the comments of a program.

/// How a language marks what is not code.
struct Syntax {
    /// Begins a comment that ends with the line.
    line: &'static str,
    /// Begin and end a comment of several lines.
    block: (&'static str, &'static str),
    /// Comments of several lines may hold others.
    nested: bool,
    /// Begin and end a string.
    quotes: &'static [char],
}

const RUST: Syntax = Syntax {
    line: "//",
    block: ("/*", "*/"),
    nested: true,
    quotes: &['"'],
};
const LUA: Syntax = Syntax {
    line: "--",
    block: ("--[[", "]]"),
    nested: false,
    quotes: &['"', '\''],
};
const SQL: Syntax = Syntax {
    line: "--",
    block: ("/*", "*/"),
    nested: false,
    quotes: &['"', '\'', '`'],
};

/// Files whose every line is prose, or may be.
const PAGES: [&str; 10] = [
    "conf",
    "dockerignore",
    "html",
    "js",
    "md",
    "properties",
    "sample",
    "toml",
    "xml",
    "yml",
];

/// The prose of a file, every character in its place and everything else blank. Nothing if the file is of another kind.
pub(crate) fn prose(path: &str, text: &str) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
    match kind {
        "rs" => Some(comments(text, &RUST)),
        "lua" => Some(comments(text, &LUA)),
        "sql" => Some(comments(text, &SQL)),
        _ if PAGES.contains(&kind) => Some(unmarked(text)),
        _ if ["Dockerfile", "openapi.json", "run"].contains(&name) => Some(unmarked(text)),
        _ => None,
    }
}

/// A page without the `#` and `>` that begin its lines, so that a phrase may go on in the next one.
fn unmarked(text: &str) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let words = line.trim_start_matches([' ', '#', '>']);
        " ".repeat(line.len() - words.len()) + words
    });
    lines.collect()
}

/// The comments alone, without what marks them.
fn comments(text: &str, syntax: &Syntax) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let block = rest.starts_with(syntax.block.0);
        let (length, is_comment) = if block {
            (block_length(rest, syntax), true)
        } else if rest.starts_with(syntax.line) {
            (rest.find('\n').unwrap_or(rest.len()), true)
        } else if let Some(length) = string_length(rest, syntax) {
            (length, false)
        } else if first.is_alphanumeric() || first == '_' {
            // A whole word, so that the r of `for"` begins no raw string.
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            (end.unwrap_or(rest.len()), false)
        } else {
            (first.len_utf8(), false)
        };
        let (part, after) = rest.split_at(length);
        let marker = match is_comment {
            true if block => syntax.block.0.len(),
            true => part.len() - part.trim_start_matches(['/', '-', '!']).len(),
            false => part.len(),
        };
        shown.extend(part[..marker].chars().map(blank));
        shown.push_str(&part[marker..]);
        rest = after;
    }
    shown
}

fn blank(c: char) -> char {
    match c {
        '\n' => '\n',
        _ => ' ',
    }
}

fn block_length(text: &str, syntax: &Syntax) -> usize {
    let (begin, end) = syntax.block;
    let mut depth = 1;
    let mut at = begin.len();
    while depth > 0 {
        let rest = &text[at..];
        if rest.is_empty() {
            return text.len();
        } else if rest.starts_with(end) {
            depth -= 1;
            at += end.len();
        } else if syntax.nested && rest.starts_with(begin) {
            depth += 1;
            at += begin.len();
        } else {
            at += rest.chars().next().map_or(0, char::len_utf8);
        }
    }
    at
}

/// How long the string is that begins here, if one does.
fn string_length(text: &str, syntax: &Syntax) -> Option<usize> {
    let rust = syntax.nested;
    if rust && let Some(raw) = raw_string_length(text) {
        return Some(raw);
    }
    if rust && text.starts_with('\'') {
        // 'x' and '\n' are characters, 'static is a lifetime.
        let mut after = text[1..].char_indices();
        return match after.next()?.1 {
            '\\' => text[3..].find('\'').map(|end| end + 4),
            _ => match after.next()? {
                (end, '\'') => Some(end + 2),
                _ => Some(1),
            },
        };
    }
    let quote = text.chars().next().filter(|c| syntax.quotes.contains(c))?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

fn raw_string_length(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r"]
        .into_iter()
        .find(|prefix| text.starts_with(prefix))?;
    let hashes = text[prefix.len()..]
        .chars()
        .take_while(|c| *c == '#')
        .count();
    let begin = prefix.len() + hashes;
    if !text[begin..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = text[begin + 1..].find(&end);
    Some(body.map_or(text.len(), |at| begin + 1 + at + end.len()))
}

#[test]
fn only_the_comments_of_a_program_are_prose() {
    let words = |path, text: &str| {
        let prose = prose(path, text).unwrap();
        assert_eq!(prose.lines().count(), text.lines().count());
        prose.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let rust = r###"
        //! Header,
        //! two lines.
        /// Doc of `f`.
        fn f<'a>(s: &'a str) -> char { // said // twice
            let _ = "no // comment \" here"; let _ = r#"nor " // here"#; let _ = b'\''; /* one /* in */ another */
            '"' // after a quote
        }
    "###;
    assert_eq!(
        words("a/b.rs", rust),
        "Header, two lines. Doc of `f`. said // twice one /* in */ another */ after a quote"
    );
    let lua = "-- one\nlocal a = 'no -- comment' -- two\n--[[ three\nfour ]] return 1\n";
    assert_eq!(words("x.lua", lua), "one two three four ]]");
    let sql = "-- one\nSELECT '-- none' /* two */;\n";
    assert_eq!(words("x.sql", sql), "one two */");
    assert_eq!(words("x.md", "# A\n\n> b\n> c\n"), "A b c");
    assert!(prose("x.svg", "<svg/>").is_none());
}
