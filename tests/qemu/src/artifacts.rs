//! What `cargo xtask` built for the tests.

use std::path::PathBuf;

/// Names the kernel to boot.
pub const KERNEL_VARIABLE: &str = "PERENNIAL_KERNEL";
/// Names the bundle to boot it with.
pub const BUNDLE_VARIABLE: &str = "PERENNIAL_BUNDLE";

/// Names the kernel that fails on demand.
pub const PROVOKER_VARIABLE: &str = "PERENNIAL_PROVOKER";
/// Names its bundle.
pub const PROVOKER_BUNDLE_VARIABLE: &str = "PERENNIAL_PROVOKER_BUNDLE";

/// Names the folder of the trials' bundles.
pub const TRIALS_VARIABLE: &str = "PERENNIAL_TRIALS";

/// Paths of a kernel and a bundle that belong together.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// The kernel, an ELF file with a PVH entry.
    pub kernel: PathBuf,
    /// The boot bundle.
    pub bundle: PathBuf,
}

impl Artifacts {
    /// What `cargo xtask test` built before it started this test.
    ///
    /// # Panics
    /// If the variables are not set: a test of the machine that has no machine has failed.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::named(KERNEL_VARIABLE, BUNDLE_VARIABLE)
    }

    /// The same, of the kernel that fails on demand.
    ///
    /// # Panics
    /// Likewise.
    #[must_use]
    pub fn of_provoker() -> Self {
        Self::named(PROVOKER_VARIABLE, PROVOKER_BUNDLE_VARIABLE)
    }

    /// The kernel with the bundle of a trial (tests/trials).
    ///
    /// # Panics
    /// Likewise.
    #[must_use]
    pub fn of_trial(name: &str) -> Self {
        let Self { kernel, bundle } = Self::named(KERNEL_VARIABLE, TRIALS_VARIABLE);
        Self { kernel, bundle: bundle.join(format!("{name}.bundle")) }
    }

    fn named(kernel: &str, bundle: &str) -> Self {
        let path = |variable: &str| match std::env::var_os(variable) {
            Some(path) => PathBuf::from(path),
            None => panic!("{variable} is not set: these tests run through `cargo xtask test --ring qemu`"),
        };
        Self { kernel: path(kernel), bundle: path(bundle) }
    }
}
