//! How large the kernel is: lines of Rust and assembly that are neither empty, nor comment, nor test.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Figure;
use crate::project;

/// What the kernel is made of. Its one other file, the order of its boot, is `microkernel/src`.
const FOLDERS: [&str; 4] = ["microkernel/src", "microkernel/core/src", "microkernel/hal/src", "records/src"];

/// The figure `kernel_lines`.
pub(super) fn kernel() -> Result<Figure> {
    let mut more = Vec::new();
    let mut all = 0;
    for folder in FOLDERS {
        let mut lines = 0;
        for file in sources(&project::root().join(folder))? {
            let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            lines += count(&text);
        }
        all += lines;
        more.push((folder.trim_end_matches("/src").replace('/', "_"), lines.to_string()));
    }
    Ok(Figure { name: "kernel_lines".into(), value: all as f64, unit: "lines".into(), more })
}

/// Rust files below a folder, but for files of tests.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_test {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            found.push(path);
        }
    }
    Ok(found)
}

/// Lines of a file that are code of the product: `#[cfg(test)]` takes the item behind it away, up to the brace that
/// ends it. Strings that hold braces are balanced in this tree, or this would count wrongly.
fn count(text: &str) -> usize {
    let (mut counted, mut skips, mut depth) = (0, false, 0_i64);
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[cfg(test)]") {
            (skips, depth) = (true, 0);
            continue;
        }
        if skips {
            let opened = line.matches('{').count() as i64;
            depth += opened - line.matches('}').count() as i64;
            skips = depth > 0 || (opened == 0 && !line.ends_with([';', '}', ',']));
            continue;
        }
        let comment =
            line.starts_with("//") || line.starts_with('#') && !line.starts_with("#[") && !line.starts_with("#!");
        counted += usize::from(!line.is_empty() && !comment);
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_counts() {
        let text = "//! Doc.\n\nuse a;\n/// Doc.\nfn f() {\n    // why\n    g();\n}\n# assembly comment\n\
                    #[cfg(test)]\nmod tests {\n    fn t() {\n    }\n}\n#[cfg(test)]\nuse b;\n#[inline]\nfn h() {}\n";
        assert_eq!(count(text), 6);
    }

    #[test]
    fn the_kernel_is_found() {
        let figure = kernel().expect("the folders are there");
        assert!(figure.value > 3000.0 && figure.more.len() == FOLDERS.len(), "{figure:?}");
    }
}
