//! What can be changed, as cargo-mutants lists it, and a sample of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::stage::Subject;
use crate::progress::Step;
use crate::{child, project};

/// How long building cargo-mutants may take.
const INSTALL_MAX: Duration = Duration::from_secs(30 * 60);

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A range of the text, its end left out.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Span {
    pub(super) start: Position,
    pub(super) end: Position,
}

/// Kinds of changes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

#[derive(Debug, Deserialize)]
struct Function {
    function_name: String,
    return_type: String,
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    file: String,
    function: Option<Function>,
    span: Span,
    replacement: String,
    genre: Genre,
}

/// One change.
#[derive(Clone, Debug)]
pub(super) struct Mutant {
    /// Its place in the list.
    pub(super) id: u32,
    /// File, line, column and change, for people.
    pub(super) name: String,
    /// The same without line and column, so that it is known again when lines have moved.
    pub(super) key: String,
    pub(super) file: String,
    pub(super) span: Span,
    pub(super) replacement: String,
    pub(super) genre: Genre,
    /// Whether the function around it returns an `impl Trait`.
    pub(super) returns_impl: bool,
}

/// All that can be changed in a crate, where tests on this computer can see it.
pub(super) fn all(subject: Subject) -> Result<Vec<Mutant>> {
    let mut command = Command::new(tool()?);
    command.current_dir(project::root());
    command.args(["mutants", "--list", "--json", "--package", subject.package()]);
    for excluded in subject.excluded() {
        command.args(["--exclude", excluded]);
    }
    let listed: Vec<Listed> = serde_json::from_str(&child::output(&mut command)?).context("the list of mutants")?;
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    let mutant = |(id, listed): (usize, Listed)| {
        let returns_impl = listed.function.as_ref().is_some_and(|function| function.return_type.contains("impl "));
        let function = listed.function.map_or(String::new(), |function| function.function_name);
        let what = listed.name.split_once(": ").map_or(listed.name.as_str(), |(_, what)| what);
        let known = format!("{} {function} {what}", listed.file);
        let time = times.entry(known.clone()).or_default();
        *time += 1;
        Mutant {
            id: id as u32,
            key: format!("{known} #{time}"),
            name: listed.name,
            file: listed.file,
            span: listed.span,
            replacement: listed.replacement,
            genre: listed.genre,
            returns_impl,
        }
    };
    Ok(listed.into_iter().enumerate().map(mutant).collect())
}

/// `count` of them: those whose keys have the smallest hashes with this seed. So a change of the code changes the sample
/// little.
pub(super) fn sample(all: &[Mutant], count: usize, seed: u64) -> Vec<Mutant> {
    let mut ranked: Vec<(u64, &Mutant)> = all.iter().map(|mutant| (hash(seed, &mutant.key), mutant)).collect();
    ranked.sort_by_key(|&(rank, mutant)| (rank, mutant.id));
    let mut sample: Vec<Mutant> = ranked.into_iter().take(count).map(|(_, mutant)| mutant.clone()).collect();
    sample.sort_by_key(|mutant| mutant.id);
    sample
}

/// FNV-1a over seed and text, stirred at the end.
fn hash(seed: u64, text: &str) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = seed.to_le_bytes().iter().chain(text.as_bytes()).fold(0xcbf2_9ce4_8422_2325, step);
    let stirred = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    stirred ^ stirred >> 29
}

/// cargo-mutants, built if it is not there.
fn tool() -> Result<PathBuf> {
    let root = project::target().join("tools");
    let built = root.join("bin/cargo-mutants");
    if built.exists() {
        return Ok(built);
    }
    let name = "cargo-mutants";
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists()) {
        return Ok(found);
    }
    let step = Step::begin("Building cargo-mutants");
    let mut install = project::cargo();
    install.args(["install", "--locked", name, "--root"]).arg(&root);
    let finished = child::watch(&mut install, INSTALL_MAX, |line| step.detail(line))?;
    anyhow::ensure!(
        finished.status.success(),
        "cargo-mutants could not be built; `cargo install --locked cargo-mutants` says more:\n{}",
        finished.text()
    );
    step.done("");
    Ok(built)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutants(count: u32) -> Vec<Mutant> {
        let start = Position { line: 1, column: 1 };
        let mutant = |id| Mutant {
            id,
            name: String::new(),
            key: format!("key {id}"),
            file: String::new(),
            span: Span { start, end: start },
            replacement: String::new(),
            genre: Genre::FnValue,
            returns_impl: false,
        };
        (0..count).map(mutant).collect()
    }

    #[test]
    fn a_sample_is_drawn_by_seed_and_keeps_most_of_itself() {
        let ids = |sample: &[Mutant]| sample.iter().map(|mutant| mutant.key.clone()).collect::<Vec<_>>();
        let all = mutants(1000);
        let drawn = sample(&all, 300, 1);
        assert_eq!(drawn.len(), 300);
        assert_eq!(ids(&drawn), ids(&sample(&all, 300, 1)));
        assert_ne!(ids(&drawn), ids(&sample(&all, 300, 2)));
        // Another hundred in the code: most of the sample stays.
        let later = ids(&sample(&mutants(1100), 300, 1));
        let kept = ids(&drawn).iter().filter(|key| later.contains(key)).count();
        assert!(kept > 240, "{kept}");
        // Spread over the whole list.
        for part in 0..4 {
            let there = drawn.iter().filter(|mutant| mutant.id / 250 == part).count();
            assert!((45..=105).contains(&there), "{there} of part {part}");
        }
    }
}
