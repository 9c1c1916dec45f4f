//! The modules of a crate, and which of them use which.

use std::collections::BTreeMap;

use crate::scan::{Mention, Scan, scan as scan_file};

/// How many imports a name is followed through.
const DEEPEST: usize = 10;

/// All modules; the first is the root. A module is named by its position.
pub(crate) struct Crate {
    modules: Vec<Module>,
}

struct Module {
    file: String,
    /// The module that is the whole file.
    home: usize,
    parent: usize,
    children: BTreeMap<String, usize>,
    scan: Scan,
}

/// Where a module is.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    /// Where the files of its children are.
    directory: &'a str,
    parent: usize,
    /// None for a module that is a whole file.
    home: Option<usize>,
}

/// A file uses something of another.
pub(crate) struct Arrow<'a> {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) mention: &'a Mention,
}

impl Crate {
    /// Parses the file of the root module, and the files of the modules that it declares.
    pub(crate) fn parse(root: &str, files: &BTreeMap<String, String>) -> Self {
        let mut modules = Vec::new();
        let (directory, _) = root.rsplit_once('/').expect("a directory");
        let place = Place {
            file: root,
            directory,
            parent: 0,
            home: None,
        };
        add(scan_file(&files[root]), place, files, &mut modules);
        Self { modules }
    }

    pub(crate) fn len(&self) -> usize {
        self.modules.len()
    }

    pub(crate) fn file(&self, module: usize) -> &str {
        &self.modules[module].file
    }

    /// Every use of another module. A `pub use` counts: who exports a name of a module depends on it.
    pub(crate) fn arrows(&self) -> Vec<Arrow<'_>> {
        let mut arrows = Vec::new();
        for (from, module) in self.modules.iter().enumerate() {
            for mention in &module.scan.mentions {
                let Some(named) = self.resolve(from, &mention.path, DEEPEST) else {
                    continue;
                };
                let (from, to) = (module.home, self.modules[named].home);
                if to != from && !self.is_namespace(named, mention) {
                    arrows.push(Arrow { from, to, mention });
                }
            }
        }
        arrows
    }

    /// Whether the path names a module that is only a part of a file, and nothing in it.
    fn is_namespace(&self, module: usize, mention: &Mention) -> bool {
        let Module { home, parent, .. } = self.modules[module];
        let named = mention.path.last();
        let child = named.and_then(|name| self.modules[parent].children.get(name));
        home != module && child == Some(&module)
    }

    /// The module that defines what this path names in the module `from`; none if it is of another crate.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        let module = &self.modules[from];
        match first.as_str() {
            "crate" => Some(self.descend(0, rest, depth)),
            "self" => Some(self.descend(from, rest, depth)),
            "super" if rest.first().is_some_and(|next| next == "super") => {
                self.resolve(module.parent, rest, depth)
            }
            "super" => Some(self.descend(module.parent, rest, depth)),
            name if module.children.contains_key(name) => Some(self.descend(from, path, depth)),
            name => self.imported(from, name, rest, depth),
        }
    }

    /// The same for a path that begins in the module `at`.
    fn descend(&self, at: usize, path: &[String], depth: usize) -> usize {
        let Some((first, rest)) = path.split_first() else {
            return at;
        };
        let module = &self.modules[at];
        if let Some(child) = module.children.get(first) {
            return self.descend(*child, rest, depth);
        }
        if module.scan.items.contains(first) {
            return at;
        }
        self.imported(at, first, rest, depth)
            .or_else(|| self.in_globs(at, path, depth))
            .unwrap_or(at)
    }

    fn imported(&self, at: usize, name: &str, rest: &[String], depth: usize) -> Option<usize> {
        let mut imports = self.modules[at].scan.imports.iter();
        let (_, path) = imports.find(|(imported, _)| imported == name)?;
        let whole = [path, rest].concat();
        self.resolve(at, &whole, depth.checked_sub(1)?)
    }

    fn in_globs(&self, at: usize, path: &[String], depth: usize) -> Option<usize> {
        let imports = self.modules[at].scan.imports.iter();
        let mut globs = imports.filter(|(name, _)| name == "*");
        globs.find_map(|(_, glob)| {
            let there = self.resolve(at, glob, depth.checked_sub(1)?)?;
            let module = &self.modules[there];
            let name = &path[0];
            let is_there = module.children.contains_key(name)
                || module.scan.items.contains(name)
                || module.scan.imports.iter().any(|(import, _)| import == name);
            (is_there && there != at).then(|| self.descend(there, path, depth.saturating_sub(1)))
        })
    }
}

/// Adds a module whose children are in `directory`, and these; returns its position.
fn add(
    scan: Scan,
    place: Place<'_>,
    files: &BTreeMap<String, String>,
    modules: &mut Vec<Module>,
) -> usize {
    let at = modules.len();
    let home = place.home.unwrap_or(at);
    let mut module = Module {
        file: place.file.to_owned(),
        home,
        parent: place.parent,
        children: BTreeMap::new(),
        scan,
    };
    let inline = std::mem::take(&mut module.scan.inline);
    let names = module.scan.files.clone();
    modules.push(module);
    for (name, scan) in inline {
        let inside = Place {
            directory: &format!("{}/{name}", place.directory),
            parent: at,
            home: Some(home),
            ..place
        };
        let child = add(scan, inside, files, modules);
        modules[at].children.insert(name, child);
    }
    for name in names {
        let directory = format!("{}/{name}", place.directory);
        let candidates = [format!("{directory}.rs"), format!("{directory}/mod.rs")];
        let file = candidates.iter().find(|file| files.contains_key(*file));
        let file = file.unwrap_or_else(|| panic!("{} has no file", candidates[0]));
        let below = Place {
            file,
            directory: &directory,
            parent: at,
            home: None,
        };
        let child = add(scan_file(&files[file]), below, files, modules);
        modules[at].children.insert(name, child);
    }
    at
}
