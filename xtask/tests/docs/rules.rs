//! Reads `docs/retired-words.txt`: the retired words, and the files where they may still stand.

use regex_lite::Regex;

/// A word, or several, that may not stand in texts.
pub(crate) struct Rule {
    /// Finds it.
    pub(crate) pattern: Regex,
    /// It is a name of the code, which may not stand in code either.
    pub(crate) is_name: bool,
    /// What to write instead.
    pub(crate) instead: String,
    /// Where it may stand: files, and directories that end with a slash.
    pub(crate) exceptions: Vec<String>,
}

/// All that the file says.
pub(crate) struct Rules {
    pub(crate) rules: Vec<Rule>,
    /// Files and directories that are not looked at.
    pub(crate) skipped: Vec<String>,
}

impl Rules {
    /// Reads rules; a line that is none of them is a fault of the file.
    pub(crate) fn parse(text: &str) -> Self {
        let mut rules = Self {
            rules: vec![],
            skipped: vec![],
        };
        let lines = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        for line in lines {
            let (key, value) = line.split_once(' ').expect(line);
            let value = value.trim();
            match (key, rules.rules.last_mut()) {
                ("word", _) => rules.push(&format!("(?i){value}"), false),
                ("name", _) => rules.push(value, true),
                ("skip", _) => rules.skipped.push(value.to_owned()),
                ("write", Some(rule)) => value.clone_into(&mut rule.instead),
                ("except", Some(rule)) => rule.exceptions.push(value.to_owned()),
                _ => panic!("neither word, name, skip, write nor except: {line}"),
            }
        }
        for rule in &rules.rules {
            assert!(!rule.instead.is_empty(), "write what? {}", rule.pattern);
        }
        rules
    }

    fn push(&mut self, pattern: &str, is_name: bool) {
        let (flags, pattern) = match pattern.strip_prefix("(?i)") {
            Some(pattern) => ("(?i)", pattern),
            None => ("", pattern),
        };
        let pattern = pattern.replace(' ', r"\s+");
        self.rules.push(Rule {
            pattern: Regex::new(&format!(r"{flags}\b(?:{pattern})\b")).expect("a pattern"),
            is_name,
            instead: String::new(),
            exceptions: vec![],
        });
    }
}

/// Whether a path is one of these, or in one of these directories.
pub(crate) fn is_among(path: &str, places: &[String]) -> bool {
    places.iter().any(|place| match place.ends_with('/') {
        true => path.starts_with(place),
        false => path == place,
    })
}
