//! Finds the circles among the modules of a crate.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::modules::{Arrow, Crate};

/// Each circle as text: its files, and the first path of each arrow between them.
pub(crate) fn circles(of: &Crate) -> Vec<String> {
    let arrows = of.arrows();
    let reach: Vec<BTreeSet<usize>> = (0..of.len()).map(|from| reached(from, &arrows)).collect();
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for start in 0..of.len() {
        let members: Vec<usize> = reach[start]
            .iter()
            .copied()
            .filter(|other| reach[*other].contains(&start))
            .collect();
        if members.len() > 1 && seen.insert(members.clone()) {
            circles.push(shown(of, &arrows, members));
        }
    }
    circles
}

/// The modules that a module uses, directly and indirectly.
fn reached(from: usize, arrows: &[Arrow<'_>]) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(at) = next.pop() {
        let targets = arrows.iter().filter(|arrow| arrow.from == at);
        next.extend(
            targets
                .map(|arrow| arrow.to)
                .filter(|to| reached.insert(*to)),
        );
    }
    reached
}

fn shown(of: &Crate, arrows: &[Arrow<'_>], mut members: Vec<usize>) -> String {
    members.sort_by_key(|member| of.file(*member));
    let files: Vec<&str> = members.iter().map(|member| of.file(*member)).collect();
    let mut text = format!("{} files: {}\n", files.len(), files.join(", "));
    for from in &members {
        for to in &members {
            let arrow = arrows
                .iter()
                .find(|arrow| (arrow.from, arrow.to) == (*from, *to));
            let Some(Arrow { mention, .. }) = arrow else {
                continue;
            };
            let import = if mention.is_import { "use " } else { "" };
            writeln!(
                text,
                "  {} -> {}: line {}: {import}{}",
                of.file(*from),
                of.file(*to),
                mention.line,
                mention.path.join("::")
            )
            .expect("text");
        }
    }
    text
}
