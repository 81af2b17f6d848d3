//! A copy of the working tree, whose code is changed and built.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::list::{Genre, Mutant};
use super::stage::{Program, Stage, Subject};
use super::weave::{self, Woven};
use crate::progress::Step;
use crate::{child, project};

/// How long one build may take.
const BUILD_MAX: Duration = Duration::from_secs(30 * 60);
/// Builds of the woven crate, each without those that the one before stumbled over.
const ROUNDS_MAX: usize = 12;

/// Errors that say that a mutant is no program, whether it is woven or not: types that do not fit, traits that are not
/// there, arithmetic that is known to fail.
const UNVIABLE: [&str; 10] = [
    "E0277",
    "E0308",
    "E0369",
    "E0600",
    "E0599",
    "E0282",
    "E0283",
    "E0614",
    "arithmetic_overflow",
    "unconditional_panic",
];

/// A `match` without one of its arms.
const NOT_ALL_CASES: &str = "E0004";

/// How a mutant is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// It is woven in, behind its switch.
    Together,
    /// It needs a build of its own.
    Apart,
    /// It is no program.
    DoesNotCompile,
}

/// The copy.
pub(super) struct Scratch {
    subject: Subject,
    tree: PathBuf,
}

/// What a build said.
struct Built {
    /// Package and target, whether it is a test, and where it lies.
    programs: Vec<(String, String, String, bool, PathBuf)>,
    errors: Vec<BuildError>,
    text: String,
}

struct BuildError {
    code: String,
    /// File and bytes.
    places: Vec<(String, usize, usize)>,
}

impl Scratch {
    /// Copies what git knows or would know, but for the files that the sample is woven into; what has not changed keeps
    /// its time, so that little is built again.
    pub(super) fn prepare(subject: Subject, sample: &[Mutant]) -> Result<Self> {
        let tree = project::target().join("mutants").join(format!("tree-{}", subject.name()));
        let mut git = Command::new("git");
        git.current_dir(project::root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
        let files: BTreeSet<String> = child::output(&mut git)?.lines().map(str::to_owned).collect();
        let scratch = Self { subject, tree };
        let is_woven =
            |file: &&String| file.as_str() == subject.root_file() || sample.iter().any(|mutant| mutant.file == **file);
        for file in files.iter().filter(|file| !is_woven(file)) {
            // What git knows and is gone is not copied.
            if let Ok(bytes) = std::fs::read(project::root().join(file)) {
                scratch.write(file, &bytes)?;
            }
        }
        Ok(scratch)
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let path = self.tree.join(file);
        if std::fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())
    }

    fn original(file: &str) -> Result<String> {
        std::fs::read_to_string(project::root().join(file)).with_context(|| file.to_owned())
    }

    fn cargo(&self, subcommand: &str) -> Command {
        let mut command = project::cargo();
        command.current_dir(&self.tree).arg(subcommand);
        command.args(["--locked", "--message-format", "json"]);
        // Each subject has its own: cargo takes what lies at the same path of another tree for the same, and would link
        // a crate that has a mutant in it.
        let build = format!("mutants/build-{}", self.subject.name());
        command.env("CARGO_TARGET_DIR", project::target().join(build));
        // Binaries as tests are, so that both share what they are built from.
        command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "2").env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
        command.env("CARGO_PROFILE_DEV_PANIC", "unwind").env("CARGO_INCREMENTAL", "1");
        command
    }

    /// Weaves the sample into the crate, and builds its unit tests until only what compiles is left. `known` says what
    /// was found out before.
    pub(super) fn weave(&self, sample: &[Mutant], known: impl Fn(&Mutant) -> Tried) -> Result<HashMap<u32, Tried>> {
        // Two iterators of different types cannot be what one function returns.
        let is_alone = |mutant: &Mutant| mutant.genre == Genre::FnValue && mutant.returns_impl;
        let first = |mutant: &Mutant| if is_alone(mutant) { Tried::Apart } else { known(mutant) };
        let mut tried: HashMap<u32, Tried> = sample.iter().map(|mutant| (mutant.id, first(mutant))).collect();
        let step = Step::begin("Weaving the mutants into one build");
        for round in 1..=ROUNDS_MAX {
            let woven = self.write_woven(sample, &mut tried)?;
            let mut command = self.cargo("test");
            command.args(["--no-run", "--lib", "--package", self.subject.package()]);
            let built = build(&mut command, &step)?;
            if built.errors.is_empty() {
                let count = |of| tried.values().filter(|&&tried| tried == of).count();
                step.done(&format!(
                    "{} together, {} apart, {} are no programs, {round} rounds",
                    count(Tried::Together),
                    count(Tried::Apart),
                    count(Tried::DoesNotCompile)
                ));
                return Ok(tried);
            }
            blame(&built, &woven, sample, &mut tried)?;
        }
        bail!("the woven crate does not compile after {ROUNDS_MAX} rounds")
    }

    fn write_woven(&self, sample: &[Mutant], tried: &mut HashMap<u32, Tried>) -> Result<BTreeMap<String, Woven>> {
        let mut by_file: BTreeMap<String, Vec<&Mutant>> = BTreeMap::new();
        by_file.entry(self.subject.root_file().to_owned()).or_default();
        for mutant in sample {
            let file = by_file.entry(mutant.file.clone()).or_default();
            if tried.get(&mutant.id) == Some(&Tried::Together) {
                file.push(mutant);
            }
        }
        let mut texts = BTreeMap::new();
        for (file, mutants) in by_file {
            let mut woven = weave::weave(&Self::original(&file)?, &mutants)?;
            if file == self.subject.root_file() {
                woven.text.push_str(&weave::switches());
            }
            tried.extend(woven.homeless.iter().map(|&mutant| (mutant, Tried::Apart)));
            self.write_source(&file, &woven.text)?;
            texts.insert(file, woven);
        }
        Ok(texts)
    }

    /// Builds what the stages run.
    pub(super) fn find_programs(&self, stages: &mut [Stage]) -> Result<()> {
        let built = self.build_stages(stages)?;
        anyhow::ensure!(built.errors.is_empty(), "the tests do not compile:\n{}", built.text);
        self.place(stages, &built)
    }

    fn build_stages(&self, stages: &[Stage]) -> Result<Built> {
        let step = Step::begin("Building the tests");
        let mut built = Built { programs: Vec::new(), errors: Vec::new(), text: String::new() };
        for is_bin in [false, true] {
            let wanted = stages.iter().filter(|stage| matches!(stage.program, Program::Bin(_)) == is_bin);
            let mut command = self.cargo(if is_bin { "build" } else { "test" });
            if !is_bin {
                command.arg("--no-run");
            }
            let mut arguments = BTreeSet::new();
            for stage in wanted {
                arguments.insert(vec!["--package", stage.package]);
                arguments.insert(match stage.program {
                    Program::Lib => vec!["--lib"],
                    Program::Test(name) => vec!["--test", name],
                    Program::Bin(name) => vec!["--bin", name],
                });
            }
            if !arguments.is_empty() {
                command.args(arguments.into_iter().flatten());
                let more = build(&mut command, &step)?;
                built.programs.extend(more.programs);
                built.errors.extend(more.errors);
                built.text.push_str(&more.text);
            }
        }
        step.done("");
        Ok(built)
    }

    fn place(&self, stages: &mut [Stage], built: &Built) -> Result<()> {
        for stage in stages {
            let (kind, name, is_test) = match stage.program {
                Program::Lib => ("lib", None, true),
                Program::Test(name) => ("test", Some(name), true),
                Program::Bin(name) => ("bin", Some(name), false),
            };
            let found = built.programs.iter().find(|(folder, of_kind, of_name, tests, _)| {
                let crate_name = Path::new(folder)
                    .file_name()
                    .is_some_and(|last| last == stage.package || stage.package == "kernel-core" && last == "core");
                crate_name && of_kind == kind && name.is_none_or(|name| name == of_name) && *tests == is_test
            });
            let (folder, .., path) = found.with_context(|| format!("{} was not built", stage.name))?;
            (stage.folder, stage.path) = (folder.into(), path.clone());
        }
        Ok(())
    }

    /// Puts one mutant alone into the crate and builds the stages; false when it is no program.
    pub(super) fn build_alone(&self, mutant: &Mutant, stages: &mut [Stage]) -> Result<bool> {
        self.restore()?;
        let text = Self::original(&mutant.file)?;
        let changed = replace(&text, mutant).with_context(|| mutant.name.clone())?;
        self.write_source(&mutant.file, &changed)?;
        let built = self.build_stages(stages)?;
        if !built.errors.is_empty() {
            return Ok(false);
        }
        self.place(stages, &built)?;
        Ok(true)
    }

    /// The crate as it is.
    fn restore(&self) -> Result<()> {
        let folder = Path::new(self.subject.root_file()).parent().unwrap_or(Path::new(""));
        let mut git = Command::new("git");
        git.current_dir(project::root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]).arg(folder);
        for file in child::output(&mut git)?.lines() {
            if let Ok(text) = std::fs::read_to_string(project::root().join(file)) {
                self.write_source(file, &text)?;
            }
        }
        Ok(())
    }

    /// Writes a file of the crate. Switches and replacements use the standard library, wherever the crate is linked
    /// into.
    fn write_source(&self, file: &str, text: &str) -> Result<()> {
        if file == self.subject.root_file() {
            return self.write(file, with_std(text).as_bytes());
        }
        self.write(file, text.as_bytes())
    }
}

/// The text of a crate's root without the attribute that leaves the standard library out; every byte stays in its place.
fn with_std(text: &str) -> String {
    let is_attribute = |line: &str| line.starts_with("#![") && line.contains("no_std");
    let blank = |line: &str| if is_attribute(line) { " ".repeat(line.len() - 1) + "\n" } else { line.to_owned() };
    text.split_inclusive('\n').map(blank).collect()
}

/// Takes those out of the weave whose code the errors lie in.
fn blame(
    built: &Built,
    woven: &BTreeMap<String, Woven>,
    sample: &[Mutant],
    tried: &mut HashMap<u32, Tried>,
) -> Result<()> {
    let mut anybody = false;
    for error in &built.errors {
        if error.code == NOT_ALL_CASES {
            // It speaks of the whole `match`, not of the arm that has a switch.
            let file = error.places.first().map(|(file, ..)| file);
            for mutant in sample.iter().filter(|mutant| mutant.genre == Genre::MatchArm && Some(&mutant.file) == file) {
                anybody |= tried.insert(mutant.id, Tried::Apart) == Some(Tried::Together);
            }
            continue;
        }
        let blamed = error.places.iter().find_map(|(file, start, end)| woven.get(file)?.blamed(*start, *end));
        for id in blamed.into_iter().flatten() {
            let mutant = sample.iter().find(|mutant| mutant.id == *id);
            // What a function returns instead of an `impl Trait` may well be of another type, on its own.
            let on_its_own = mutant.is_none_or(|mutant| mutant.genre == Genre::FnValue && mutant.returns_impl);
            let is_sure = UNVIABLE.contains(&error.code.as_str()) && !on_its_own;
            tried.insert(*id, if is_sure { Tried::DoesNotCompile } else { Tried::Apart });
            anybody = true;
        }
    }
    anyhow::ensure!(anybody, "the woven crate does not compile, and no mutant is to blame:\n{}", built.text);
    Ok(())
}

/// The text with one mutant in it, as cargo-mutants puts it there.
fn replace(text: &str, mutant: &Mutant) -> Option<String> {
    let offset = |position: super::list::Position| {
        let line = text.split_inclusive('\n').take(position.line - 1).map(str::len).sum::<usize>();
        let column = text[line..].char_indices().nth(position.column - 1)?.0;
        Some(line + column)
    };
    let (start, end) = (offset(mutant.span.start)?, offset(mutant.span.end)?);
    Some(format!("{}{}{}", &text[..start], mutant.replacement, &text[end..]))
}

/// Runs a build and reads what it says.
fn build(command: &mut Command, step: &Step) -> Result<Built> {
    let finished = child::watch(command, BUILD_MAX, |line| {
        if !line.starts_with('{') {
            step.detail(line);
        }
    })?;
    let mut built = Built { programs: Vec::new(), errors: Vec::new(), text: String::new() };
    for line in finished.lines.iter().filter(|line| line.starts_with('{')) {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        match value["reason"].as_str() {
            Some("compiler-artifact") => built.programs.extend(read_program(&value)),
            Some("compiler-message") if value["message"]["level"] == "error" => {
                built.text.push_str(value["message"]["rendered"].as_str().unwrap_or_default());
                built.errors.extend(read_error(&value["message"]));
            }
            _ => {}
        }
    }
    if built.errors.is_empty() && !finished.status.success() {
        bail!("the build failed:\n{}", finished.text());
    }
    Ok(built)
}

fn read_program(value: &Value) -> Option<(String, String, String, bool, PathBuf)> {
    let path = value["executable"].as_str()?;
    let folder = Path::new(value["manifest_path"].as_str()?).parent()?.to_string_lossy().into_owned();
    let target = &value["target"];
    let (kind, name) = (target["kind"][0].as_str()?, target["name"].as_str()?);
    Some((folder, kind.to_owned(), name.to_owned(), value["profile"]["test"] == true, path.into()))
}

/// An error with its places, the first of them the one that it is about. A last word like "aborting" has none.
fn read_error(message: &Value) -> Option<BuildError> {
    let mut spans: Vec<&Value> = message["spans"].as_array()?.iter().collect();
    spans.sort_by_key(|span| span["is_primary"] != true);
    let place = |span: &&Value| {
        let (start, end) = (span["byte_start"].as_u64()?, span["byte_end"].as_u64()?);
        Some((span["file_name"].as_str()?.to_owned(), start as usize, end as usize))
    };
    let places: Vec<_> = spans.iter().filter_map(place).collect();
    let code = message["code"]["code"].as_str().unwrap_or_default().to_owned();
    (!places.is_empty()).then_some(BuildError { code, places })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_gets_the_standard_library_and_nothing_moves() {
        let text = "//! no_std\n#![cfg_attr(not(test), no_std)]\n#![forbid(unsafe_code)]\nmod a;\n";
        let made = with_std(text);
        assert_eq!(made.replace(' ', ""), "//!no_std\n\n#![forbid(unsafe_code)]\nmoda;\n");
        assert_eq!((made.len(), made.find("mod a")), (text.len(), text.find("mod a")));
    }
}
