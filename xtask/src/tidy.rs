//! The rules of the house that a program can check.
//!
//! Errors: who may use whom (`imports.rs`), unsafe code outside its three homes, a crate without its page of intent, words
//! that do not belong into the repository (`text.rs`). Hints: files and functions that outgrow their room.

mod imports;
mod rooms;
mod source;
mod text;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::project;
use source::Source;

/// Something that a rule of the house has to say.
#[derive(Debug)]
pub(crate) struct Finding {
    /// The rule, by the name under which the style calls it.
    rule: &'static str,
    /// Where; relative to the root.
    place: String,
    /// What.
    what: String,
    /// Whether it fails the check.
    pub(crate) is_error: bool,
}

impl Finding {
    fn error(rule: &'static str, place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { rule, place: place.into(), what: what.into(), is_error: true }
    }

    fn hint(rule: &'static str, place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { rule, place: place.into(), what: what.into(), is_error: false }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = if self.is_error { "error" } else { "hint" };
        write!(f, "{}: {} [{grade}: {}]", self.place, self.what, self.rule)
    }
}

/// Checks the whole tree.
pub(crate) fn check() -> Result<Vec<Finding>> {
    let root = project::root();
    let mut findings = imports::check()?;
    for path in files(&root)? {
        let relative = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
        // What is not text is nobody's prose.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        text::check(&relative, &text, &mut findings);
        if path.extension().is_some_and(|extension| extension == "rs") {
            let source = Source::new(&text);
            rooms::check(&relative, &source, &mut findings);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            text::check_links(&path, &relative, &text, &mut findings);
        }
    }
    findings.sort_by(|a, b| (a.is_error, &a.place).cmp(&(b.is_error, &b.place)));
    Ok(findings)
}

/// All files of the tree but what was built.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type()?;
            if kind.is_dir() && name != "target" && name != ".git" {
                folders.push(entry.path());
            } else if kind.is_file() && name != "Cargo.lock" && !name.to_string_lossy().ends_with(".img") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
