//! What a test runner says about single tests, read from its output.

use std::time::Duration;

/// One test that ran.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// Its name, with the crate's before it.
    pub(crate) name: String,
    /// Whether it passed.
    pub(crate) passed: bool,
    /// How long it took, where the runner says so.
    pub(crate) took: Option<Duration>,
}

/// Reads a line of `cargo nextest run --status-level all`:
/// `PASS [   0.005s] (1/8) crate::binary module::test`.
pub(crate) fn read_nextest(line: &str) -> Option<Verdict> {
    let line = line.trim_start();
    let (word, rest) = line.split_once(' ')?;
    let passed = match word {
        "PASS" | "LEAK" => true,
        "FAIL" | "TIMEOUT" | "ABORT" | "EXECFAIL" | "LEAK-FAIL" => false,
        signal if signal.starts_with("SIG") => false,
        _ => return None,
    };
    let (seconds, rest) = rest.trim_start().strip_prefix('[')?.split_once("s]")?;
    let took = seconds.trim().trim_start_matches('>').parse().ok().map(Duration::from_secs_f64);
    let rest = rest.trim_start();
    let name = match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((_, name)) => name,
        None => rest,
    };
    Some(Verdict { name: name.trim().to_owned(), passed, took })
}

/// Reads the output of `cargo test` line by line.
#[derive(Default)]
pub(crate) struct CargoTestReader {
    binary: String,
}

impl CargoTestReader {
    /// The verdict in `line`, if it holds one: `test module::test ... ok`.
    pub(crate) fn read(&mut self, line: &str) -> Option<Verdict> {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("Running ") {
            // `unittests src/lib.rs (target/debug/deps/abi-0123456789abcdef)`
            let file = rest.rsplit_once('/').map_or(rest, |(_, file)| file);
            self.binary = file.rsplit_once('-').map_or(file, |(name, _)| name).to_owned();
        } else if let Some(name) = line.strip_prefix("Doc-tests ") {
            self.binary = format!("{name} (documentation)");
        }
        let (name, word) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        let passed = match word.split([' ', ',']).next()? {
            "ok" => true,
            "FAILED" => false,
            _ => return None,
        };
        let name = name.strip_suffix(" - should panic").unwrap_or(name);
        Some(Verdict { name: format!("{} {name}", self.binary), passed, took: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextest_is_read() {
        let verdict = read_nextest("        PASS [   0.214s] (8/8) crash-disk tests::the_cut").expect("a verdict");
        assert_eq!(verdict.name, "crash-disk tests::the_cut");
        assert_eq!((verdict.passed, verdict.took), (true, Some(Duration::from_millis(214))));
        let verdict = read_nextest("  TIMEOUT [  60.001s] crash-disk tests::hang").expect("a verdict");
        assert!(!verdict.passed);
        assert!(!read_nextest("     SIGABRT [   0.1s] (1/1) a b").expect("a verdict").passed);
        for other in ["    SLOW [> 60.000s] a b", "    Summary [   0.2s] 8 tests run: 8 passed", "", "PASS"] {
            assert_eq!(read_nextest(other), None, "{other}");
        }
    }

    #[test]
    fn cargo_test_is_read() {
        let mut reader = CargoTestReader::default();
        assert_eq!(reader.read("     Running unittests src/lib.rs (target/debug/deps/crash_disk-77f1)"), None);
        let verdict = reader.read("test tests::a ... ok").expect("a verdict");
        assert_eq!((verdict.name.as_str(), verdict.passed), ("crash_disk tests::a", true));
        assert!(!reader.read("test tests::b ... FAILED").expect("a verdict").passed);
        assert_eq!(reader.read("test tests::c ... ignored, needs QEMU"), None);
        assert_eq!(reader.read("test result: ok. 1 passed; 0 failed"), None);
    }
}
