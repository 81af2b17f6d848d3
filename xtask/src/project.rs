//! Where things are in the working tree.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde_json::Value;

use crate::child;

/// The root of the working tree.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where everything that is made goes.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// The cargo that runs us.
pub(crate) fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A cargo for the working tree, free of what the environment might set for other builds.
///
/// Flags from outside would replace those of `.cargo/config.toml`, and a target folder from outside would mix the
/// builds for different compilers.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(cargo_program());
    command.current_dir(root());
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC", "RUSTC_WRAPPER"] {
        command.env_remove(variable);
    }
    // Variables of the cargo that runs us describe xtask, not what is built now.
    for (variable, _) in std::env::vars_os() {
        if variable.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(variable);
        }
    }
    command
}

/// A crate of the workspace, as cargo describes it.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its name and version, as cargo wants it where a crate of somebody else has the same name.
    pub(crate) spec: String,
    /// Its folder, relative to the root.
    pub(crate) folder: String,
    /// What its `[package.metadata.perennial] ring` says, if it says anything.
    pub(crate) ring: Option<String>,
    /// Its binaries that are programs of Perennial: those that need the feature `program`.
    pub(crate) programs: Vec<String>,
    /// What it depends on.
    pub(crate) dependencies: Vec<Dependency>,
}

/// An arrow from a crate to another.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    /// The other's name.
    pub(crate) name: String,
    /// Whether the other is a crate of the workspace.
    pub(crate) in_project: bool,
    /// Whether a feature must ask for it.
    pub(crate) is_optional: bool,
    /// Whether only tests use it.
    pub(crate) is_for_tests: bool,
}

/// The feature that makes a program of a library.
pub(crate) const PROGRAM_FEATURE: &str = "program";

/// All crates of the workspace.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&child::output(&mut command)?)?;
    Ok(list(&metadata["packages"]).map(read_package).collect())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn read_package(package: &Value) -> Package {
    let manifest = text(&package["manifest_path"]);
    let folder = Path::new(&manifest).parent().unwrap_or(Path::new(""));
    let folder = folder.strip_prefix(root()).unwrap_or(folder).to_string_lossy().into_owned();
    let is_program = |target: &&Value| {
        list(&target["kind"]).any(|kind| kind == "bin")
            && list(&target["required-features"]).any(|feature| feature == PROGRAM_FEATURE)
    };
    let dependency = |value: &Value| Dependency {
        name: text(&value["name"]),
        in_project: value["path"].is_string(),
        is_optional: value["optional"] == true,
        is_for_tests: value["kind"] == "dev",
    };
    Package {
        name: text(&package["name"]),
        spec: format!("{}@{}", text(&package["name"]), text(&package["version"])),
        folder,
        ring: package["metadata"]["perennial"]["ring"].as_str().map(str::to_owned),
        programs: list(&package["targets"]).filter(is_program).map(|target| text(&target["name"])).collect(),
        dependencies: list(&package["dependencies"]).map(dependency).collect(),
    }
}
