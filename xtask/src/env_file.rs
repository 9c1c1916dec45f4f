//! Reads and writes files of `KEY=value` lines, which a shell can source and Docker Compose can read.

use std::collections::BTreeMap;

/// The values in such a file. Skips comments, blank lines, and everything that is not an assignment.
pub(crate) fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = dotenvy::from_read_iter(text.as_bytes());
    lines.filter_map(Result::ok).collect()
}

/// These values as lines, in this order, quoted for a shell where needed.
pub(crate) fn render<'a>(values: impl IntoIterator<Item = (&'a str, String)>) -> String {
    values
        .into_iter()
        .map(|(key, value)| format!("{key}={}\n", quote(&value)))
        .collect()
}

fn quote(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.,:/@+".contains(&byte);
    if value.bytes().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let written = [
            ("REDIS_URL", "redis://127.0.0.1:20001"),
            ("ODD", "a b$c"),
            ("QUOTED", "it's"),
            ("EMPTY", ""),
        ];
        let text = render(written.map(|(key, value)| (key, value.to_owned())));
        assert_eq!(
            text,
            "REDIS_URL=redis://127.0.0.1:20001\nODD='a b$c'\nQUOTED='it'\\''s'\nEMPTY=\n"
        );
        let values = parse(&text);
        for (key, value) in written {
            assert_eq!(values[key], value, "{key}");
        }
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
