//! Which compiler makes the kernel.
//!
//! The developer's own, if it has the bare-metal target; else Debian's with a library built once from its own source
//! (`sysroot.rs`). Never a download of a toolchain.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::failure::refusal;
use crate::{child, packages, project, sysroot};

/// The kernel's target.
pub(crate) const TARGET: &str = "x86_64-unknown-none";
/// Debian's compiler, the source of its library, and its linter.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "rust-web-clippy"];
/// Where Debian puts its compiler.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Where Debian puts its linter.
const DEBIAN_CLIPPY: &str = "/usr/bin/clippy-driver";

/// A compiler that has a core library for [`TARGET`].
pub(crate) enum Compiler {
    /// The one that cargo uses anyway.
    Own(PathBuf),
    /// Debian's, through a wrapper that names the library built for it.
    Debian {
        /// The wrapper.
        rustc: PathBuf,
        /// The folder of the library.
        sysroot: PathBuf,
    },
}

impl Compiler {
    /// Chooses, installs and prepares.
    ///
    /// # Errors
    /// A refusal that says what to type if there is no way without root or another computer.
    pub(crate) fn choose() -> Result<Self> {
        let own = std::env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from);
        if has_target(&own) {
            return Ok(Self::Own(own));
        }
        let source = || sysroot::library_source(Path::new(DEBIAN_RUSTC));
        if source().is_none() || !Path::new(DEBIAN_CLIPPY).exists() {
            packages::install(&DEBIAN_PACKAGES).map_err(|error| {
                error.context(format!(
                    "no compiler here can make the kernel (with rustup: `rustup target add {TARGET}`)"
                ))
            })?;
        }
        if source().is_none() {
            return Err(refusal(format!(
                "{DEBIAN_RUSTC} has no library source beside it; with rustup type `rustup target add {TARGET}`"
            )));
        }
        let sysroot = sysroot::find_or_build(Path::new(DEBIAN_RUSTC))?;
        Ok(Self::Debian { rustc: sysroot.join("bin/rustc"), sysroot })
    }

    /// A cargo that builds with it into `target/bare`.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = project::cargo();
        let rustc = match self {
            Self::Own(rustc) | Self::Debian { rustc, .. } => rustc,
        };
        command.env("RUSTC", rustc).env("CARGO_TARGET_DIR", project::target().join("bare"));
        command
    }

    /// A cargo whose `check` is the linter with warnings denied, for the crates that it is told alone.
    pub(crate) fn lint(&self) -> Command {
        let mut command = self.cargo();
        match self {
            Self::Own(_) => {
                command.arg("clippy");
            }
            // rustup's linter cannot read the libraries of another release: Debian's stands in for the compiler.
            Self::Debian { sysroot, .. } => {
                command.env("SYSROOT", sysroot).env("RUSTC_WORKSPACE_WRAPPER", DEBIAN_CLIPPY);
                command.env("CLIPPY_ARGS", "--no-deps__CLIPPY_HACKERY__-Dwarnings__CLIPPY_HACKERY__").arg("check");
            }
        }
        command
    }

    /// One line about it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Own(rustc) => format!("{} (has the target {TARGET})", rustc.display()),
            Self::Debian { rustc, .. } => format!("{} (Debian's, with a library built for it)", rustc.display()),
        }
    }
}

fn has_target(rustc: &Path) -> bool {
    let Ok(folder) = child::output(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET])) else {
        return false;
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("libcore-"))
}
