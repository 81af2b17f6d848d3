//! Builds the kernel, the programs and the bundle.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bare_metal::{self, Compiler};
use crate::bundle::Packer;
use crate::manifest::Manifest;
use crate::progress::Step;
use crate::project::{PROGRAM_FEATURE, Package};
use crate::{child, project};

/// How long one build may take on a slow machine with nothing cached.
pub(crate) const BUILD_MAX: Duration = Duration::from_secs(30 * 60);
/// The target of programs: hardware floating point with any stable toolchain, linked without its C library.
pub(crate) const PROGRAM_TARGET: &str = "x86_64-unknown-linux-gnu";
/// The package and the binary of the kernel.
const KERNEL: &str = "microkernel";
/// The package of the kernel that fails on demand, and the example that it is.
const PROVOKER: [&str; 2] = ["kernel-hal", "provoke"];

/// Trials: what tests/trials adds to the system, each in a bundle of its own.
pub(crate) const TRIALS: [&str; 2] = ["vectors", "hostile"];

/// What was built.
pub(crate) struct Artifacts {
    /// The kernel.
    pub(crate) kernel: PathBuf,
    /// The boot bundle.
    pub(crate) bundle: PathBuf,
    /// The programs in the bundle by name.
    pub(crate) programs: BTreeMap<String, PathBuf>,
}

/// Builds all of it.
pub(crate) fn build(profile: Profile) -> Result<Artifacts> {
    let compiler = Compiler::choose()?;
    let manifest = Manifest::of_system(&[])?;
    let kernel = build_kernel(&compiler, profile)?;
    let programs = build_programs(&manifest, profile)?;
    let bundle = pack("perennial", &manifest, &kernel, &programs)?;
    Ok(Artifacts { kernel, bundle, programs })
}

/// Builds a bundle for each trial, named after it, to go with `kernel`; the folder that they are in.
pub(crate) fn build_trials(kernel: &Path) -> Result<PathBuf> {
    let programs = build_programs(&Manifest::of_system(&TRIALS)?, Profile::Release)?;
    for trial in TRIALS {
        pack(trial, &Manifest::of_system(&[trial])?, kernel, &programs)?;
    }
    Ok(project::target().to_owned())
}

/// How code is optimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As it is shipped and measured.
    Release,
    /// With debug assertions.
    Debug,
}

impl Profile {
    fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Debug => "debug",
        }
    }

    fn apply(self, command: &mut Command) {
        if self == Self::Release {
            command.arg("--release");
        }
    }
}

/// Builds the kernel that fails on demand and a bundle with its symbols, for tests.
pub(crate) fn build_provoker() -> Result<(PathBuf, PathBuf)> {
    let [package, example] = PROVOKER;
    let mut command = Compiler::choose()?.cargo();
    command.args(["build", "-p", package, "--example", example, "--target", bare_metal::TARGET, "--release"]);
    run_build("Building the kernel that fails on demand", command)?;
    let folder = project::target().join("bare").join(bare_metal::TARGET).join("release/examples");
    let kernel = folder.join(example);
    let mut packer = Packer::default();
    packer.add_kernel(&fs::read(&kernel).with_context(|| format!("reading {}", kernel.display()))?)?;
    let bundle = kernel.with_extension("bundle");
    fs::write(&bundle, packer.finish()?).with_context(|| format!("writing {}", bundle.display()))?;
    Ok((kernel, bundle))
}

fn build_kernel(compiler: &Compiler, profile: Profile) -> Result<PathBuf> {
    let mut command = compiler.cargo();
    command.args(["build", "-p", KERNEL, "--target", bare_metal::TARGET]);
    profile.apply(&mut command);
    run_build("Building the kernel", command)?;
    Ok(project::target().join("bare").join(bare_metal::TARGET).join(profile.folder()).join(KERNEL))
}

/// The packages that hold the programs of `manifest`, by program name.
pub(crate) fn packages_of_programs(manifest: &Manifest) -> Result<BTreeMap<String, Package>> {
    let packages = project::packages()?;
    let mut wanted = BTreeMap::new();
    for program in manifest.programs() {
        let owner = packages.iter().find(|package| package.programs.iter().any(|name| name == program));
        let Some(owner) = owner else {
            bail!(
                "init/system.toml names the program {program}, but no package has a [[bin]] of that name with \
                 required-features = [\"{PROGRAM_FEATURE}\"]"
            );
        };
        wanted.insert(program.to_owned(), owner.clone());
    }
    Ok(wanted)
}

fn build_programs(manifest: &Manifest, profile: Profile) -> Result<BTreeMap<String, PathBuf>> {
    let packages = packages_of_programs(manifest)?;
    if packages.is_empty() {
        return Ok(BTreeMap::new());
    }
    let target = project::target().join("user");
    let mut command = project::cargo();
    command.env("CARGO_TARGET_DIR", &target).args(["build", "--target", PROGRAM_TARGET]);
    profile.apply(&mut command);
    for (program, package) in &packages {
        command.args(["-p", &package.spec, "--bin", program]);
        command.args(["--features", &format!("{}/{PROGRAM_FEATURE}", package.name)]);
    }
    run_build("Building the programs", command)?;
    let folder = target.join(PROGRAM_TARGET).join(profile.folder());
    Ok(packages.into_keys().map(|program| (program.clone(), folder.join(program))).collect())
}

fn run_build(sentence: &str, mut command: Command) -> Result<()> {
    let step = Step::begin(sentence);
    let finished = child::watch(&mut command, BUILD_MAX, |line| step.detail(line))?;
    if !finished.status.success() {
        drop(step);
        bail!("{} failed:\n{}", sentence.to_lowercase(), finished.text());
    }
    step.done("");
    Ok(())
}

fn pack(name: &str, manifest: &Manifest, kernel: &Path, programs: &BTreeMap<String, PathBuf>) -> Result<PathBuf> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    let mut packer = Packer::default();
    packer.add_kernel(&read(kernel)?)?;
    for name in manifest.programs() {
        if let Some(path) = programs.get(name) {
            packer.add_program(name, &read(path)?).with_context(|| format!("packing {}", path.display()))?;
        }
    }
    packer.add_services(manifest.services()?);
    let file = packer.finish()?;
    let path = project::target().join(format!("{name}.bundle"));
    // Under its final name only when it is whole: a machine may be booting from the old one.
    let draft = path.with_extension("bundle.new");
    fs::write(&draft, file).with_context(|| format!("writing {}", draft.display()))?;
    fs::rename(&draft, &path)?;
    Ok(path)
}
