//! Finds the paths, imports and items in the tokens of a Rust file. Code for tests is left out.

use std::iter::Peekable;

use proc_macro2::token_stream::IntoIter;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path in the code, such as `crate::a::B` or the same in a `use`.
pub(crate) struct Mention {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    pub(crate) is_import: bool,
}

/// What a module says about itself and others.
#[derive(Default)]
pub(crate) struct Scan {
    pub(crate) mentions: Vec<Mention>,
    /// Names of items that are defined here.
    pub(crate) items: Vec<String>,
    /// `mod name;`
    pub(crate) files: Vec<String>,
    /// `mod name { … }`
    pub(crate) inline: Vec<(String, Scan)>,
    /// Imported names, each with its path; the name of a glob import is `*`.
    pub(crate) imports: Vec<(String, Vec<String>)>,
}

/// Scans a whole file.
pub(crate) fn scan(text: &str) -> Scan {
    of_module(text.parse().expect("Rust"))
}

fn of_module(tokens: TokenStream) -> Scan {
    let mut scan = Scan::default();
    scan.tokens(tokens, true);
    scan
}

type Tokens = Peekable<IntoIter>;

impl Scan {
    fn tokens(&mut self, tokens: TokenStream, is_module: bool) {
        let mut tokens = tokens.into_iter().peekable();
        // The token before this one, as far as it changes the meaning of this one.
        let mut before = String::new();
        while let Some(token) = tokens.next() {
            match &token {
                TokenTree::Group(group) if before == "#" && is_for_tests(group.stream()) => {
                    skip_item(&mut tokens);
                }
                TokenTree::Group(group) => self.tokens(group.stream(), false),
                TokenTree::Ident(_) if before == "::" || before == "." => {
                    path(token.to_string(), &mut tokens);
                }
                TokenTree::Ident(name) => {
                    let line = name.span().start().line;
                    match name.to_string().as_str() {
                        "use" if !is_punct(tokens.peek(), '<') => {
                            self.import(&[], &mut tokens, line);
                        }
                        "mod" => self.module(&mut tokens, is_module),
                        "fn" | "struct" | "enum" | "trait" | "const" | "static" | "type"
                        | "union"
                            if is_module =>
                        {
                            self.items.extend(tokens.peek().map(ToString::to_string));
                        }
                        first => self.mention(path(first.to_owned(), &mut tokens), line),
                    }
                }
                _ => {}
            }
            let shown = token.to_string();
            before = match shown.as_str() {
                ":" if before == ":" => "::".to_owned(),
                "." if before == "." => "..".to_owned(),
                _ => shown,
            };
        }
    }

    fn mention(&mut self, path: Vec<String>, line: usize) {
        if path.len() > 1 {
            self.mentions.push(Mention {
                path,
                line,
                is_import: false,
            });
        }
    }

    fn module(&mut self, tokens: &mut Tokens, is_module: bool) {
        let Some(name) = tokens.next() else { return };
        match tokens.next() {
            Some(TokenTree::Group(body)) if is_module => {
                self.inline
                    .push((name.to_string(), of_module(body.stream())));
            }
            Some(TokenTree::Group(body)) => self.tokens(body.stream(), false),
            _ => self.files.push(name.to_string()),
        }
    }

    /// The rest of a `use`, or of a part of it, after the names in `prefix`.
    fn import(&mut self, prefix: &[String], tokens: &mut Tokens, line: usize) {
        let mut path = prefix.to_vec();
        let mut alias = None;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => {
                    let mut parts = group.stream().into_iter().peekable();
                    while parts.peek().is_some() {
                        self.import(&path, &mut parts, line);
                    }
                    alias = Some(String::new());
                }
                TokenTree::Punct(punct) if punct.as_char() == '*' => path.push("*".to_owned()),
                TokenTree::Punct(punct) if matches!(punct.as_char(), ';' | ',') => break,
                TokenTree::Ident(name) if name == "as" => {
                    alias = tokens.next().map(|name| name.to_string());
                }
                TokenTree::Ident(name) if name == "self" && !path.is_empty() => {}
                TokenTree::Ident(name) => path.push(name.to_string()),
                _ => {}
            }
        }
        let name = alias.or(path.last().cloned()).unwrap_or_default();
        if name.is_empty() {
            return;
        }
        if name == "*" {
            path.pop();
        }
        self.imports.push((name, path.clone()));
        self.mentions.push(Mention {
            path,
            line,
            is_import: true,
        });
    }
}

/// The whole path that begins with this name.
fn path(first: String, tokens: &mut Tokens) -> Vec<String> {
    let mut path = vec![first];
    loop {
        let mut ahead = tokens.clone();
        if !is_punct(ahead.next().as_ref(), ':') || !is_punct(ahead.next().as_ref(), ':') {
            return path;
        }
        let Some(TokenTree::Ident(name)) = ahead.next() else {
            return path;
        };
        path.push(name.to_string());
        *tokens = ahead;
    }
}

fn is_punct(token: Option<&TokenTree>, expected: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == expected)
}

/// Whether an attribute is `cfg(test)`.
fn is_for_tests(attribute: TokenStream) -> bool {
    let shown = attribute.to_string().replace(' ', "");
    shown == "cfg(test)" || shown.starts_with("cfg(all(test,")
}

/// Skips the item after its attribute: everything up to its body, or its semicolon.
fn skip_item(tokens: &mut Tokens) {
    for token in tokens {
        let is_body =
            matches!(&token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        if is_body || is_punct(Some(&token), ';') {
            return;
        }
    }
}
