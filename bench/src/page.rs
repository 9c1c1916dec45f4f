//! Updates Markdown pages that have generated parts. Each generated part stands between two markers, and is replaced
//! as a whole.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

/// Every mark begins like this.
const BEGIN: &str = "<!-- measured:";

/// The end mark of a generated part.
const END: &str = "<!-- end -->";

/// Replaces the texts between the marks of these names, such as `measured:goals`, as far as the page has them.
///
/// # Errors
/// When there is no such file, it has no mark at all, or the end of one is missing.
pub fn refresh(page: &Path, texts: &[(&str, String)]) -> Result<()> {
    let old =
        fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let mut text = old.clone();
    for (name, new) in texts {
        if old.contains(&mark(name)) {
            text = replaced(&text, name, new)?;
        }
    }
    ensure!(
        old.contains(BEGIN),
        "{} has no mark such as {}",
        page.display(),
        mark("measured:goals")
    );
    fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
}

fn mark(name: &str) -> String {
    format!("<!-- {name} -->")
}

/// The page with another text between the marks of this name.
fn replaced(page: &str, name: &str, text: &str) -> Result<String> {
    let begin = mark(name);
    let (before, rest) = page
        .split_once(&begin)
        .with_context(|| format!("the page has no {begin}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{END} is missing after {begin}"))?;
    Ok(format!(
        "{before}{begin}\n\n{}\n\n{END}{after}",
        text.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\n<!-- measured:one -->\n\nold\n\n<!-- end -->\n\nbetween\n\n<!-- measured:two --><!-- end -->\n";

    #[test]
    fn what_stands_between_the_marks_is_replaced_and_nothing_else() {
        let page = replaced(PAGE, "measured:one", "new\n").unwrap();
        assert_eq!(page, PAGE.replace("old", "new"));
        assert_eq!(replaced(&page, "measured:one", "new").unwrap(), page);
        let page = replaced(&page, "measured:two", "2").unwrap();
        assert!(
            page.ends_with("<!-- measured:two -->\n\n2\n\n<!-- end -->\n"),
            "{page}"
        );
    }

    #[test]
    fn a_page_may_have_some_of_the_marks_but_not_none() {
        let page = tempfile::NamedTempFile::new().unwrap();
        fs::write(&page, PAGE).unwrap();
        let text = |name| (name, "new".to_owned());
        refresh(page.path(), &[text("measured:one"), text("measured:three")]).unwrap();
        let new = fs::read_to_string(&page).unwrap();
        assert_eq!(new, PAGE.replace("old", "new"));
        // Those of `ways`, in a run without it.
        refresh(page.path(), &[text("measured:three")]).unwrap();
        assert_eq!(fs::read_to_string(&page).unwrap(), new);
        fs::write(&page, "# Page\n").unwrap();
        let error = refresh(page.path(), &[text("measured:three")]).unwrap_err();
        assert!(error.to_string().contains("no mark"), "{error}");
    }

    #[test]
    fn a_mark_that_is_missing_is_named() {
        let error = replaced(PAGE, "measured:three", "")
            .unwrap_err()
            .to_string();
        assert!(error.contains("measured:three"), "{error}");
        let error = replaced("<!-- measured:one -->", "measured:one", "").unwrap_err();
        assert!(error.to_string().contains(END), "{error}");
    }
}
