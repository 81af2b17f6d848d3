//! What the whole run amounts to.

use std::path::Path;
use std::time::Duration;

use super::verdict::Verdict;

/// How many of the slowest tests are named.
const SLOWEST_MAX: usize = 5;
/// A test that takes less is not slow.
const SLOW: Duration = Duration::from_secs(1);

/// Verdicts and times, as they come.
#[derive(Default)]
pub(crate) struct Report {
    checks: Vec<(String, bool, Duration)>,
    rings: Vec<(String, usize, usize, Duration)>,
    verdicts: Vec<Verdict>,
    counts: Vec<String>,
}

impl Report {
    /// A check passed. Checks are no tests: only failed ones are counted.
    pub(crate) fn check_passed(&mut self, name: &str, took: Duration) {
        self.checks.push((name.to_owned(), true, took));
    }

    /// A check failed, or a ring could not be run.
    pub(crate) fn check_failed(&mut self, name: &str, why: &str) {
        eprintln!("{name} FAILED\n{why}");
        self.checks.push((name.to_owned(), false, Duration::ZERO));
    }

    /// A ring of tests has run.
    pub(crate) fn ring(&mut self, name: &str, verdicts: Vec<Verdict>, took: Duration) {
        let passed = verdicts.iter().filter(|verdict| verdict.passed).count();
        self.rings.push((name.to_owned(), passed, verdicts.len() - passed, took));
        self.verdicts.extend(verdicts);
    }

    /// Tests have left in `folder` what they counted.
    pub(crate) fn counts(&mut self, folder: &Path) {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        self.counts.extend(files.filter_map(|file| std::fs::read_to_string(file.path()).ok()));
        self.counts.sort();
    }

    /// How many tests passed.
    pub(crate) fn passed(&self) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.passed).count()
    }

    /// How many tests and checks failed.
    pub(crate) fn failed(&self) -> usize {
        let tests = self.verdicts.iter().filter(|verdict| !verdict.passed).count();
        tests + self.checks.iter().filter(|(_, passed, _)| !passed).count()
    }

    /// Prints the summary, all but its last line.
    pub(crate) fn print(&self, took: Duration) {
        println!();
        for (name, passed, took) in &self.checks {
            let word = if *passed { "ok" } else { "FAILED" };
            println!("{name:<34} {word:>14} {:>9.1} s", took.as_secs_f64());
        }
        for (name, passed, failed, took) in &self.rings {
            let count = if *failed == 0 { format!("{passed} ok") } else { format!("{passed} ok, {failed} FAILED") };
            println!("{name:<34} {count:>14} {:>9.1} s", took.as_secs_f64());
        }
        for line in &self.counts {
            println!("  {}", line.trim_end());
        }
        let mut slow: Vec<_> =
            self.verdicts.iter().filter_map(|verdict| Some((verdict.took?, &verdict.name))).collect();
        slow.retain(|(took, _)| *took >= SLOW);
        slow.sort_by(|a, b| b.cmp(a));
        if !slow.is_empty() {
            println!("slowest:");
        }
        for (took, name) in slow.iter().take(SLOWEST_MAX) {
            println!("  {:>7.1} s  {name}", took.as_secs_f64());
        }
        for verdict in self.verdicts.iter().filter(|verdict| !verdict.passed) {
            println!("FAILED  {}", verdict.name);
        }
        for (name, _, _) in self.checks.iter().filter(|(_, passed, _)| !passed) {
            println!("FAILED  {name}");
        }
        println!("{:.0} s in all", took.as_secs_f64());
    }
}
