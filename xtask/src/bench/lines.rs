//! How large the kernel is: lines of Rust and assembly that are neither empty, nor comment, nor test. What is compiled
//! for tests on the host alone (the machine of maps, the explorer's view) is counted apart.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Figure;
use crate::project;

/// What the kernel is made of. Its one other file, the order of its boot, is `microkernel/src`.
const FOLDERS: [&str; 4] = ["microkernel/src", "microkernel/core/src", "microkernel/hal/src", "records/src"];

/// The figure `kernel_lines`.
pub(super) fn kernel() -> Result<Figure> {
    let mut more = Vec::new();
    let (mut all, mut for_tests) = (0, 0);
    for folder in FOLDERS {
        let mut lines = 0;
        let path = project::root().join(folder);
        let root = std::fs::read_to_string(path.join("lib.rs")).unwrap_or_default();
        for file in sources(&path)? {
            let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let (product, host) = count(&text);
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            let of_host = root.contains(&format!("{HOST}\nmod {name};"));
            lines += if of_host { 0 } else { product };
            for_tests += host + if of_host { product } else { 0 };
        }
        all += lines;
        more.push((folder.trim_end_matches("/src").replace('/', "_"), lines.to_string()));
    }
    more.push(("for_tests_on_the_host".into(), for_tests.to_string()));
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

/// Marks an item that is compiled for tests on the host alone.
const HOST: &str = "#[cfg(any(test, feature = \"host\"))]";

/// Lines of a file that are code of the product, and lines that are there for the host alone: an attribute takes the
/// item behind it away, up to the brace that ends it. Strings that hold braces are balanced in this tree, or this
/// would count wrongly.
fn count(text: &str) -> (usize, usize) {
    let (mut counted, mut host, mut skips, mut depth) = (0, 0, false, 0_i64);
    let mut for_host = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[cfg(test)]") || line.starts_with(HOST) {
            (skips, depth) = (true, 0);
            for_host = line.starts_with(HOST);
            continue;
        }
        if skips {
            let comment = line.is_empty() || line.starts_with("//");
            host += usize::from(for_host && !comment);
            let opened = line.matches('{').count() as i64;
            depth += opened - line.matches('}').count() as i64;
            skips = depth > 0 || (opened == 0 && !line.ends_with([';', '}', ',']));
            continue;
        }
        let comment =
            line.starts_with("//") || line.starts_with('#') && !line.starts_with("#[") && !line.starts_with("#!");
        counted += usize::from(!line.is_empty() && !comment);
    }
    (counted, host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_counts() {
        let text = "//! Doc.\n\nuse a;\n/// Doc.\nfn f() {\n    // why\n    g();\n}\n# assembly comment\n\
                    #[cfg(test)]\nmod tests {\n    fn t() {\n    }\n}\n#[cfg(test)]\nuse b;\n#[inline]\nfn h() {}\n";
        assert_eq!(count(text), (6, 0));
        let text = format!(
            "{HOST}\nfn t() {{\n    // why\n    a();\n}}\nfn f() {{}}\n{HOST}\nuse b;\n{HOST}\nmod c;\nuse d;\n"
        );
        assert_eq!(count(&text), (2, 5));
    }

    #[test]
    fn the_kernel_is_found() {
        let figure = kernel().expect("the folders are there");
        assert!(figure.value > 3000.0 && figure.more.len() == FOLDERS.len() + 1, "{figure:?}");
    }
}
