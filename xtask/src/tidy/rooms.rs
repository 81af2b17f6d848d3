//! Rules about single source files: unsafe homes, intent, roots, and the size of rooms.

use super::Finding;
use super::source::Source;
use crate::project;

/// Where unsafe code may live.
const UNSAFE_HOMES: [&str; 3] = ["microkernel/hal/", "libos/src/raw/", "drivers/mmio/"];
/// Lines of a page of intent, at the least.
const INTENT_LINES_MIN: usize = 4;
/// Lines of a file, before it should be two.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function, before it should be two.
const FUNCTION_LINES_MAX: usize = 70;

/// Checks one file; `path` is relative to the root.
pub(crate) fn check(path: &str, source: &Source, findings: &mut Vec<Finding>) {
    if !UNSAFE_HOMES.iter().any(|home| path.starts_with(home)) {
        let lines = source.lines_with_word("unsafe").into_iter();
        for line in lines.filter(|line| !is_program_beginning(path, source, *line)) {
            let place = format!("{path}:{line}");
            findings.push(Finding::error("three-unsafe-homes", place, "unsafe code outside of its three homes"));
        }
    }
    let (_, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    if is_root {
        let lines = source.text.lines().take_while(|line| line.starts_with("//!")).count();
        // A thin main beside a library says in a line what it wires: the page is the library's.
        let is_thin = name == "main.rs" && project::root().join(path).with_file_name("lib.rs").exists();
        if lines < if is_thin { 1 } else { INTENT_LINES_MIN } {
            let what = format!("opens with {lines} lines of intent; say what it does, what it refuses, its neighbours");
            findings.push(Finding::error("one-page-intent", path, what));
        }
    }
    if matches!(name, "lib.rs" | "mod.rs") {
        let logic = source.functions().into_iter().find(|(_, line, _)| !is_test(source, *line));
        if let Some((function, line, _)) = logic {
            let what = format!("the function {function} belongs into a file of its own");
            findings.push(Finding::hint("roots-only-declare", format!("{path}:{line}"), what));
        }
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(Finding::hint("small-rooms", path, format!("{lines} lines: perhaps two files")));
    }
    for (function, line, length) in source.functions() {
        if length > FUNCTION_LINES_MAX {
            let what = format!("the function {function} has {length} lines: perhaps two");
            findings.push(Finding::hint("small-rooms", format!("{path}:{line}"), what));
        }
    }
}

/// Whether `line` gives a program's beginning the name under which libos's entry finds it: the one attribute that the
/// macros of libos write into programs.
fn is_program_beginning(path: &str, source: &Source, line: usize) -> bool {
    let attribute = source.code.lines().nth(line - 1).unwrap_or("").trim();
    path.starts_with("libos/src/") && attribute.starts_with("#[") && attribute.ends_with("(no_mangle)]")
}

/// Whether `line` lies behind the beginning of the file's tests.
fn is_test(source: &Source, line: usize) -> bool {
    source.code.lines().take(line).any(|line| line.trim() == "#[cfg(test)]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        let mut findings = Vec::new();
        check(path, &Source::new(text), &mut findings);
        findings.iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn each_rule_is_applied() {
        let word = concat!("un", "safe");
        let intent = "//! A.\n//!\n//! B.\n//! C.\n";
        assert_eq!(rules("init/src/page.rs", &format!("{word} {{}}")), ["three-unsafe-homes"]);
        assert!(rules("drivers/mmio/src/page.rs", &format!("{word} {{}}")).is_empty());
        let attribute = format!("#[{word}(no_mangle)]\nfn f();");
        assert!(rules("libos/src/page.rs", &attribute).is_empty());
        assert_eq!(rules("init/src/page.rs", &attribute), ["three-unsafe-homes"]);
        assert_eq!(rules("init/src/lib.rs", "//! init\n"), ["one-page-intent"]);
        assert_eq!(rules("init/src/lib.rs", &format!("{intent}fn f() {{}}")), ["roots-only-declare"]);
        assert!(rules("init/src/lib.rs", &format!("{intent}#[cfg(test)]\nmod tests {{ fn f() {{}} }}")).is_empty());
        assert_eq!(rules("init/src/page.rs", &"\n".repeat(501)), ["small-rooms"]);
        assert_eq!(rules("init/src/page.rs", &format!("fn f() {{{}}}", "\n".repeat(80))), ["small-rooms"]);
    }
}
