//! A core library for the bare machine, built once from the source that Debian ships with its compiler.
//!
//! A prepared folder holds: the library for the kernel's target, a link to the host's libraries, a linker, and a
//! `bin/rustc` that calls the compiler with this folder as its system root. It lies in the user's cache under the
//! compiler's release and commit, since Debian moves both, and is complete when it has its final name.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bare_metal::TARGET;
use crate::progress::Step;
use crate::{child, packages, project};

/// How long the library may take to build, on a slow machine and with its few crates to fetch.
const BUILD_MAX: Duration = Duration::from_secs(20 * 60);
/// The libraries that the kernel can use.
const LIBRARIES: [&str; 3] = ["libcore-", "liballoc-", "libcompiler_builtins-"];

/// Where the source of `rustc`'s own library is, if it is there.
pub(crate) fn library_source(rustc: &Path) -> Option<PathBuf> {
    let sysroot = child::output(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    source.join("core/src/lib.rs").exists().then_some(source)
}

/// The prepared folder for `rustc`; builds it if it is not there yet.
pub(crate) fn find_or_build(rustc: &Path) -> Result<PathBuf> {
    let about = child::output(Command::new(rustc).arg("-vV"))?;
    let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown").trim();
    let commit = field("commit-hash:");
    let name = format!("library-{}-{}", field("release:"), commit.get(..9).unwrap_or(commit));
    let cache = cache_folder()?;
    let folder = cache.join(&name);
    if !folder.join("bin/rustc").exists() {
        // A name of our own, so that two builds at a time do not meet; the first to finish wins.
        let work = cache.join(format!("{name}.{}", std::process::id()));
        let built = build(rustc, field("host:"), &work, &folder);
        // Whatever is left of it is only in the way.
        let _ = fs::remove_dir_all(&work);
        built?;
    }
    Ok(folder)
}

fn cache_folder() -> Result<PathBuf> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) if !home.is_empty() => Path::new(&home).join(".cache"),
        _ => project::target().join("cache"),
    };
    let folder = base.join("perennial");
    fs::create_dir_all(&folder).with_context(|| format!("making the cache folder {}", folder.display()))?;
    Ok(folder)
}

fn build(rustc: &Path, host: &str, work: &Path, folder: &Path) -> Result<()> {
    let linker = match find_linker(host) {
        Some(linker) => linker,
        None => {
            packages::install(&["lld"])?;
            find_linker(host).context("the package lld brought no linker")?
        }
    };
    let step = Step::begin("Building the bare-metal core library (once, about a minute)");
    let target_folder = compile_library(rustc, work, &step)?;
    let stage = work.join("stage");
    let library = stage.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&library)?;
    for entry in fs::read_dir(target_folder.join(TARGET).join("release/deps"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && LIBRARIES.iter().any(|prefix| name.starts_with(prefix)) {
            fs::copy(entry.path(), library.join(name))?;
        }
    }
    let own = PathBuf::from(child::output(Command::new(rustc).args(["--print", "sysroot"]))?);
    let host_folder = stage.join("lib/rustlib").join(host);
    fs::create_dir_all(host_folder.join("bin"))?;
    fs::create_dir_all(stage.join("bin"))?;
    symlink(own.join("lib/rustlib").join(host).join("lib"), host_folder.join("lib"))?;
    script(&host_folder.join("bin/rust-lld"), &format!("exec '{}' \"$@\"", linker.display()))?;
    let call = format!("exec '{}' --sysroot '{}' \"$@\"", rustc.display(), folder.display());
    script(&stage.join("bin/rustc"), &call)?;
    if let Err(error) = fs::rename(&stage, folder)
        && !folder.join("bin/rustc").exists()
    {
        return Err(error).with_context(|| format!("putting the library into {}", folder.display()));
    }
    step.done("");
    Ok(())
}

/// Builds the library in `work` and gives its target folder.
fn compile_library(rustc: &Path, work: &Path, step: &Step) -> Result<PathBuf> {
    fs::create_dir_all(work.join("src"))?;
    // A crate that needs nothing but the library, outside of any workspace.
    let manifest = "[package]\nname = \"sysroot\"\nedition = \"2024\"\n[workspace]\n\
                    [profile.release]\ndebug = \"line-tables-only\"\n";
    fs::write(work.join("Cargo.toml"), manifest)?;
    fs::write(work.join("src/lib.rs"), "#![no_std]\nextern crate alloc;\n")?;
    let target_folder = work.join("target");
    let mut command = project::cargo();
    // The compiler may build its own library with its own unstable options: that is how it was built, too.
    command.current_dir(work).env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", &target_folder);
    // The kernel is optimised as one piece with the library, from the intermediate code that cargo would leave out.
    command.env("RUSTFLAGS", "-Cembed-bitcode=yes");
    command.args(["build", "--release", "--target", TARGET, "-Zbuild-std=core,alloc,compiler_builtins"]);
    command.arg("-Zbuild-std-features=compiler-builtins-mem");
    let finished = child::watch(&mut command, BUILD_MAX, |line| step.detail(line))?;
    if !finished.status.success() {
        bail!("the bare-metal core library could not be built:\n{}", finished.text());
    }
    Ok(target_folder)
}

fn script(path: &Path, line: &str) -> Result<()> {
    fs::write(path, format!("#!/bin/sh\n{line}\n"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A linker for the bare machine: the one that rustup ships, or a packaged one.
fn find_linker(host: &str) -> Option<PathBuf> {
    let mut candidates = Vec::new();
    if let Ok(sysroot) = child::output(Command::new("rustc").args(["--print", "sysroot"])) {
        candidates.push(Path::new(&sysroot).join("lib/rustlib").join(host).join("bin/rust-lld"));
    }
    candidates.extend((14..=30).rev().map(|version| PathBuf::from(format!("/usr/lib/llvm-{version}/bin/lld"))));
    candidates.push("/usr/bin/lld".into());
    candidates.into_iter().find(|candidate| candidate.exists())
}
