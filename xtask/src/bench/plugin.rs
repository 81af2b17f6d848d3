//! The plugin that counts instructions where time-stamps cannot: across waits and several CPUs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::{child, packages};

/// Its source.
const SOURCE: &str = include_str!("counter.c");
/// How long the compiler may take.
const COMPILE_MAX: Duration = Duration::from_secs(120);

/// Compiles it into `folder` and gives QEMU's options for it.
pub(crate) fn options(folder: &Path) -> Result<[OsString; 2]> {
    if packages::find_program("cc").is_none() {
        packages::install(&["gcc", "libc6-dev"])?;
    }
    std::fs::create_dir_all(folder)?;
    let (source, library) = (folder.join("counter.c"), folder.join("counter.so"));
    std::fs::write(&source, SOURCE)?;
    let mut command = Command::new("cc");
    command
        .args(["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden", "-o"])
        .arg(&library)
        .arg(&source);
    let finished = child::watch(&mut command, COMPILE_MAX, |_| {})?;
    if !finished.status.success() {
        bail!("the counting plugin does not compile:\n{}", finished.text());
    }
    Ok(["-plugin".into(), library.into()])
}

/// What it wrote at its end: instructions for each time a region was entered, by region.
pub(crate) fn read_report(text: &str) -> BTreeMap<u8, f64> {
    let read = |line: &str| {
        let mut words = line.strip_prefix("plugin: region ")?.split(' ');
        let region = words.next()?.parse().ok()?;
        let entered: f64 = words.nth(1)?.parse().ok()?;
        let instructions: f64 = words.nth(1)?.parse().ok()?;
        Some((region, instructions / entered))
    };
    text.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_read() {
        let text = "noise\nplugin: region 3 entered 4 instructions 50\n";
        assert_eq!(read_report(text), BTreeMap::from([(3, 12.5)]));
    }
}
