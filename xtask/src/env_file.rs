//! Reads and writes files of `KEY=value` lines, which a shell can source and Docker Compose can read.

use std::collections::BTreeMap;

/// The values in such a file. Skips comments, blank lines, and everything that is not an assignment.
pub(crate) fn parse(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim();
            let (key, value) = line
                .strip_prefix("export ")
                .unwrap_or(line)
                .split_once('=')?;
            is_name(key).then(|| (key.to_owned(), unquote(value.trim()).to_owned()))
        })
        .collect()
}

/// These values as lines, in this order, quoted for a shell where needed.
pub(crate) fn render<'a>(values: impl IntoIterator<Item = (&'a str, String)>) -> String {
    values
        .into_iter()
        .map(|(key, value)| format!("{key}={}\n", quote(&value)))
        .collect()
}

fn is_name(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn quote(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.,:/@+".contains(&byte);
    if value.bytes().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

fn unquote(value: &str) -> &str {
    let bare = |quote| {
        value
            .strip_prefix(quote)
            .and_then(|rest: &str| rest.strip_suffix(quote))
    };
    bare('\'').or_else(|| bare('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = render([
            ("REDIS_URL", "redis://127.0.0.1:20001".into()),
            ("ODD", "a b$c".into()),
            ("EMPTY", String::new()),
        ]);
        assert_eq!(
            text,
            "REDIS_URL=redis://127.0.0.1:20001\nODD='a b$c'\nEMPTY=\n"
        );
        let values = parse(&text);
        assert_eq!(values["REDIS_URL"], "redis://127.0.0.1:20001");
        assert_eq!(values["ODD"], "a b$c");
        assert_eq!(values["EMPTY"], "");
    }

    #[test]
    fn what_is_no_assignment_is_passed_over() {
        let values = parse("# A=1\n\nexport B=\"2\"\nnot an assignment\nC D=3\n");
        assert_eq!(
            values.into_iter().collect::<Vec<_>>(),
            [("B".into(), "2".into())]
        );
    }
}
