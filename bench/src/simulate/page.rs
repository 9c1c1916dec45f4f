//! The page that shows the tables: each stands between two marks, and is put there anew.

use super::tables::Table;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Ends a table.
const END: &str = "<!-- end -->";

/// Puts the tables between their marks.
///
/// # Errors
/// When there is no such file, or it lacks a mark.
pub(super) fn refresh(page: &Path, tables: &[Table]) -> Result<()> {
    let text =
        fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let text = tables.iter().try_fold(text, |text, table| {
        replaced(&text, table.name, &table.to_string())
    })?;
    fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
}

/// The page with something else between the marks of that name.
fn replaced(page: &str, name: &str, text: &str) -> Result<String> {
    let begin = format!("<!-- simulated:{name} -->");
    let (before, rest) = page
        .split_once(&begin)
        .with_context(|| format!("the page has no {begin}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("nothing ends {begin}: {END} is missing"))?;
    Ok(format!(
        "{before}{begin}\n\n{}\n\n{END}{after}",
        text.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\n<!-- simulated:one -->\n\nold\n\n<!-- end -->\n\nbetween\n\n<!-- simulated:two --><!-- end -->\n";

    #[test]
    fn what_stands_between_the_marks_is_replaced_and_nothing_else() {
        let page = replaced(PAGE, "one", "new\n").unwrap();
        assert_eq!(page, PAGE.replace("old", "new"));
        assert_eq!(replaced(&page, "one", "new").unwrap(), page);
        let page = replaced(&page, "two", "2").unwrap();
        assert!(
            page.ends_with("<!-- simulated:two -->\n\n2\n\n<!-- end -->\n"),
            "{page}"
        );
    }

    #[test]
    fn a_mark_that_is_missing_is_named() {
        let error = replaced(PAGE, "three", "").unwrap_err().to_string();
        assert!(error.contains("simulated:three"), "{error}");
        let error = replaced("<!-- simulated:one -->", "one", "").unwrap_err();
        assert!(error.to_string().contains(END), "{error}");
    }
}
