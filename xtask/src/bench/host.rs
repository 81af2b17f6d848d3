//! Benchmarks of what runs on the host as it runs on the machine: the store over a file, beside raw writes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{Figure, Options};
use crate::progress::Step;
use crate::{child, project};

/// Crate and binary of a benchmark that runs on the host; `None`: it is the machine's.
pub(super) fn binary(name: &str) -> Option<(&'static str, &'static str)> {
    (name == "store").then_some(("storesim", "bench-store"))
}

/// Builds and runs it, and returns its figures and what they depend on.
pub(super) fn measure(options: &Options, (package, binary): (&str, &str)) -> Result<(Vec<Figure>, serde_json::Value)> {
    let folder = project::target().join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut command = project::cargo();
    command.args(["run", "--quiet", "--release", "-p", package, "--bin", binary, "--", "--folder"]).arg(&folder);
    command.args(options.append.split_whitespace()).current_dir(project::root());
    let step = Step::begin(format!("Measuring {}", options.name));
    let mut figures = Vec::new();
    let finished = child::watch(&mut command, Duration::from_secs(options.timeout), |line| {
        step.detail(line);
        figures.extend(Figure::read(line, &BTreeMap::new()));
    })?;
    let figures: Vec<Figure> = figures.into_iter().collect::<Result<_>>()?;
    if !finished.status.success() || figures.is_empty() {
        bail!("{binary} has not ended well: {}", finished.text());
    }
    step.done(&format!("{} figures", figures.len()));
    let setting = json!({
        "counted": "time",
        "processor": processor(),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "arguments": options.append,
    });
    Ok((figures, setting))
}

/// The model of this computer's processor, as Linux tells it.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}
