//! Rules about any text: nothing unfinished, nothing of one person's computer, no link into the void.

use std::path::Path;

use super::Finding;

/// Beginnings of absolute paths that are somebody's own. Put together here so that this file does not hold them.
const OWN_PATHS: [&str; 3] = [concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/ro", "ot/")];
/// What stands where something is missing.
const UNFINISHED: [&str; 4] =
    [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME"), concat!("dbg", "!(")];

/// Checks the text of the file at `path`, relative to the root.
pub(crate) fn check(path: &str, text: &str, findings: &mut Vec<Finding>) {
    for (line, number) in text.lines().zip(1..) {
        let place = || format!("{path}:{number}");
        if let Some(own) = OWN_PATHS.iter().find(|own| names_path(line, own)) {
            findings.push(Finding::error("no-own-paths", place(), format!("a path of one computer: {own}…")));
        }
        if let Some(word) = UNFINISHED.iter().find(|word| line.contains(*word)) {
            findings.push(Finding::error("nothing-unfinished", place(), format!("{word} marks something unfinished")));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(Finding::error("whole-lines", path, "the last line has no end"));
    }
}

/// Whether an absolute path beginning with `own` stands in `line`.
fn names_path(line: &str, own: &str) -> bool {
    line.match_indices(own).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|letter| !letter.is_alphanumeric() && !matches!(letter, '_' | '-' | '.' | '~' | '}' | '/'))
    })
}

/// Checks that the relative links of a page lead somewhere.
pub(crate) fn check_links(file: &Path, path: &str, text: &str, findings: &mut Vec<Finding>) {
    let folder = file.parent().unwrap_or(file);
    for (line, number) in text.lines().zip(1..) {
        for (_, behind) in line.match_indices("](").map(|(at, mark)| line.split_at(at + mark.len())) {
            let target = behind.split([')', '#', ' ']).next().unwrap_or("");
            let is_relative = !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
            if is_relative && !folder.join(target).exists() {
                let what = format!("the link to {target} leads nowhere");
                findings.push(Finding::error("links-lead", format!("{path}:{number}"), what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        let mut findings = Vec::new();
        check("a.md", text, &mut findings);
        findings.len()
    }

    #[test]
    fn own_paths_are_found_and_relative_ones_are_not() {
        let own = OWN_PATHS[1];
        assert_eq!(count(&format!("see {own}here\n")), 1);
        assert_eq!(count(&format!("\"{own}here\"\n")), 1);
        assert_eq!(count(&format!("see target{own}here and ${{x}}{own}\n")), 0);
    }

    #[test]
    fn unfinished_things_are_found() {
        assert_eq!(count(&format!("{}\n", UNFINISHED[0])), 1);
        assert_eq!(count("no end"), 1);
        assert_eq!(count("all is well\n"), 0);
    }

    #[test]
    fn dead_links_are_found() {
        let mut findings = Vec::new();
        let file = crate::project::root().join("README.md");
        check_links(&file, "README.md", "[a](xtask) [b](https://c.d/) [e](#f) [g](no-such-file.md#h)\n", &mut findings);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().contains("no-such-file"), "{}", findings[0]);
    }
}
