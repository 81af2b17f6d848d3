//! Who may use whom: the arrows between the crates of the workspace.

use anyhow::Result;

use super::Finding;
use crate::project::{self, Dependency, Package};

/// Crates that act for clients: everybody else talks to them through `abi::protocol`.
const SERVERS: [&str; 3] = ["pager-server", "snapshot-server", "init"];
/// Folders whose crates are servers, too.
const SERVER_FOLDERS: [&str; 2] = ["drivers/", "servers/"];
/// The crate in `drivers` that is a library for the others.
const DRIVER_LIBRARY: &str = "mmio";
/// Who may know what is on the disk.
const FORMAT_USERS: [&str; 2] = ["snapshot-server", "world"];
/// The one host tool that links a server's library: a second reader of disk images would be a second truth about them.
const IMAGE_READER: (&str, &str) = ("world", "snapshot-server");
/// What the kernel's logic may use.
const CORE_USES: [&str; 2] = ["abi", "records"];

/// Checks all crates.
pub(crate) fn check() -> Result<Vec<Finding>> {
    let packages = project::packages()?;
    let mut findings = Vec::new();
    for package in &packages {
        let own = package.dependencies.iter().filter(|dependency| dependency.in_project);
        for dependency in own {
            if let Some(what) = objection(package, dependency, &packages) {
                findings.push(Finding::error("who-may-use-whom", format!("{}/Cargo.toml", package.folder), what));
            }
        }
        check_libos_in_library(package, &mut findings)?;
    }
    Ok(findings)
}

/// What is wrong with `package` using `dependency`, if anything is.
fn objection(package: &Package, dependency: &Dependency, packages: &[Package]) -> Option<String> {
    let is_test = package.folder.starts_with("tests/") || dependency.is_for_tests;
    let (user, used) = (package.name.as_str(), dependency.name.as_str());
    if is_test || used == "abi" {
        return None;
    }
    if user == "abi" {
        return Some(format!("abi uses nothing of the project, but it uses {used}"));
    }
    if user == "kernel-core" && !CORE_USES.contains(&used) {
        return Some(format!("the kernel's core uses abi and records only, but it uses {used}"));
    }
    if used == "format" && !FORMAT_USERS.contains(&user) {
        return Some(format!("only storage code uses format, but {user} does"));
    }
    if used == "libos" && is_server(package) && !dependency.is_optional {
        return Some(format!("the library of {user} uses libos; make it optional, for its main.rs alone"));
    }
    let target = packages.iter().find(|package| package.name == used);
    if target.is_some_and(is_server) && (user, used) != IMAGE_READER {
        return Some(format!("{user} uses the server {used} directly instead of its protocol"));
    }
    None
}

fn is_server(package: &Package) -> bool {
    let in_folder = SERVER_FOLDERS.iter().any(|folder| package.folder.starts_with(folder));
    (in_folder && package.name != DRIVER_LIBRARY) || SERVERS.contains(&package.name.as_str())
}

/// A server's library runs on the host as well: only its `main.rs` and what that declares may name libos.
fn check_libos_in_library(package: &Package, findings: &mut Vec<Finding>) -> Result<()> {
    if !is_server(package) {
        return Ok(());
    }
    let path = format!("{}/src/lib.rs", package.folder);
    let file = project::root().join(&path);
    if file.exists() {
        let source = super::Source::new(&std::fs::read_to_string(file)?);
        if let Some(line) = source.lines_with_word("libos").first() {
            let what = "a server's library never uses libos, only its main.rs does";
            findings.push(Finding::error("who-may-use-whom", format!("{path}:{line}"), what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, folder: &str) -> Package {
        Package {
            name: name.into(),
            spec: name.into(),
            folder: folder.into(),
            ring: None,
            programs: Vec::new(),
            dependencies: Vec::new(),
        }
    }

    fn objects(user: &str, folder: &str, used: &str, is_optional: bool, is_for_tests: bool) -> bool {
        let packages = [
            package("nvme", "drivers/nvme"),
            package("snapshot-server", "snapshot-server"),
            package("mmio", "drivers/mmio"),
            package("format", "format"),
        ];
        let dependency = Dependency { name: used.into(), in_project: true, is_optional, is_for_tests };
        objection(&package(user, folder), &dependency, &packages).is_some()
    }

    #[test]
    fn arrows() {
        assert!(!objects("anything", "tools/anything", "abi", false, false));
        assert!(objects("abi", "abi", "records", false, false));
        assert!(!objects("world", "tools/world", "snapshot-server", false, false));
        assert!(objects("xtask", "xtask", "snapshot-server", false, false));
        assert!(objects("kernel-core", "microkernel/core", "kernel-hal", false, false));
        assert!(!objects("kernel-core", "microkernel/core", "records", false, false));
        assert!(objects("console", "drivers/console", "format", false, false));
        assert!(!objects("world", "tools/world", "format", false, false));
        assert!(objects("snapshot-server", "snapshot-server", "nvme", false, false));
        assert!(!objects("snapshot-server", "snapshot-server", "nvme", false, true));
        assert!(!objects("sim", "tests/sim", "nvme", false, false));
        assert!(objects("nvme", "drivers/nvme", "libos", false, false));
        assert!(!objects("nvme", "drivers/nvme", "libos", true, false));
        assert!(!objects("nvme", "drivers/nvme", "mmio", false, false));
    }
}
