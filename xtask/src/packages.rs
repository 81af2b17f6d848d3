//! Debian packages: what is there, and how to get what is not.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::child;
use crate::failure::refusal;
use crate::progress::Step;

/// How long apt-get may take for one run, downloads included.
const APT_MAX: Duration = Duration::from_secs(30 * 60);
/// The emulator, and the packages of the same source that must have its version: apt refuses to install it beside
/// newer ones (as from backports) unless it may take those back too.
const EMULATOR: &str = "qemu-system-x86";
const EMULATOR_COMPANIONS: [&str; 3] = ["qemu-utils", "qemu-block-extra", "qemu-system-common"];

/// The program `name` in the search path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let name = Path::new(name);
    if name.components().count() > 1 {
        return name.exists().then(|| name.to_owned());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Installs `packages`, or says what to type.
///
/// # Errors
/// A refusal if this is not a Debian or we are not root; a failure if apt-get fails.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if find_program("apt-get").is_none() {
        return Err(refusal(format!("this computer lacks what the Debian packages {list} hold; install their like")));
    }
    if !nix::unistd::geteuid().is_root() {
        let install = install_arguments(packages, &Here).join(" ");
        return Err(refusal(format!(
            "this computer lacks {list}; type:\n  sudo apt-get update && sudo apt-get {install}\nand try again"
        )));
    }
    // Lists of packages may be old or, on a fresh machine, not there. What fails now fails again, clearly, below.
    let update = apt("Fetching Debian's lists of packages", &["update".to_owned()]);
    let installed = apt(&format!("Installing {list}"), &install_arguments(packages, &Here));
    installed.map_err(|error| match update {
        Ok(()) => error,
        Err(update) => error.context(format!("the lists of packages could not be fetched either: {update:#}")),
    })
}

/// What apt-get is told. Companions of the emulator that are there in another version are named with the emulator's.
fn install_arguments(packages: &[&str], versions: &impl Versions) -> Vec<String> {
    let mut arguments: Vec<String> = ["install", "-y", "--no-install-recommends"].map(String::from).into();
    let mut pins = Vec::new();
    if packages.contains(&EMULATOR)
        && let Some(candidate) = versions.candidate(EMULATOR)
    {
        let other = |name: &&&str| versions.installed(name).is_some_and(|version| version != candidate);
        pins.extend(EMULATOR_COMPANIONS.iter().filter(other).map(|name| format!("{name}={candidate}")));
    }
    if !pins.is_empty() {
        arguments.push("--allow-downgrades".into());
    }
    arguments.extend(packages.iter().map(|&package| package.to_owned()));
    arguments.extend(pins);
    arguments
}

/// What Debian knows of the versions of packages.
trait Versions {
    /// The version that apt-get would install.
    fn candidate(&self, package: &str) -> Option<String>;
    /// The version that is there.
    fn installed(&self, package: &str) -> Option<String>;
}

/// This computer's.
struct Here;

impl Versions for Here {
    fn candidate(&self, package: &str) -> Option<String> {
        let policy = child::output(Command::new("apt-cache").env("LC_ALL", "C").args(["policy", package])).ok()?;
        let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
        (version != "(none)").then(|| version.to_owned())
    }

    fn installed(&self, package: &str) -> Option<String> {
        let format = "${db:Status-Status} ${Version}";
        let line = child::output(Command::new("dpkg-query").args(["-W", "-f", format, package])).ok()?;
        line.strip_prefix("installed ").map(str::to_owned)
    }
}

fn apt(sentence: &str, arguments: &[String]) -> Result<()> {
    let step = Step::with_length(sentence, 200);
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C").args(["-o", "APT::Status-Fd=1", "-q"]);
    command.args(arguments);
    let finished = child::watch(&mut command, APT_MAX, |line| {
        // `dlstatus:item:percent:words` while fetching, `pmstatus:package:percent:words` while installing.
        let mut fields = line.splitn(4, ':');
        let done_before = match fields.next() {
            Some("dlstatus") => 0.0,
            Some("pmstatus") => 100.0,
            _ => return,
        };
        if let (Some(_), Some(percent), Some(words)) = (fields.next(), fields.next(), fields.next()) {
            step.set((done_before + percent.parse::<f64>().unwrap_or(0.0)) as u64);
            step.detail(words);
        }
    })?;
    if !finished.status.success() {
        let complaints: Vec<_> = finished.lines.iter().filter(|line| line.starts_with("E: ")).cloned().collect();
        bail!("apt-get {} failed:\n{}", arguments.join(" "), complaints.join("\n"));
    }
    step.done("");
    Ok(())
}

/// Where Debian puts the UEFI firmware.
const FIRMWARE: &str = "/usr/share/ovmf/OVMF.fd";

/// Sees to it that QEMU is there.
pub(crate) fn need_emulator() -> Result<()> {
    let program = qemu_machine::qemu_program();
    let named = std::env::var_os(qemu_machine::QEMU_VARIABLE).is_some();
    if find_program(&program.to_string_lossy()).is_some() {
        return Ok(());
    }
    if named {
        let variable = qemu_machine::QEMU_VARIABLE;
        return Err(refusal(format!("{variable} names {}, which is not there", program.display())));
    }
    let mut packages = vec![EMULATOR];
    if !Path::new(FIRMWARE).exists() {
        packages.push("ovmf");
    }
    install(&packages)?;
    match find_program(&program.to_string_lossy()) {
        Some(_) => Ok(()),
        None => Err(refusal(format!("{} is not there although its package is installed", program.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine(&'static [(&'static str, &'static str)]);

    impl Versions for Machine {
        fn candidate(&self, _package: &str) -> Option<String> {
            Some("1:7.2".to_owned())
        }

        fn installed(&self, package: &str) -> Option<String> {
            self.0.iter().find(|(name, _)| *name == package).map(|(_, version)| (*version).to_owned())
        }
    }

    fn arguments(installed: &'static [(&'static str, &'static str)]) -> String {
        install_arguments(&[EMULATOR, "ovmf"], &Machine(installed)).join(" ")
    }

    #[test]
    fn companions_of_another_version_are_taken_back() {
        let plain = "install -y --no-install-recommends qemu-system-x86 ovmf";
        assert_eq!(arguments(&[]), plain);
        assert_eq!(arguments(&[("qemu-utils", "1:7.2")]), plain);
        let pinned = "install -y --no-install-recommends --allow-downgrades qemu-system-x86 ovmf qemu-utils=1:7.2";
        assert_eq!(arguments(&[("qemu-utils", "1:10.0.2~bpo12")]), pinned);
    }
}
