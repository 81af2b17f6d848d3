//! One mutant before the tests.
//!
//! A test that fails ends its stage at once. A stage that takes much more processor time than it does without a mutant is
//! ended too: whoever loops for ever has been noticed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::ledger::Verdict;
use super::stage::{Ring, Stage};
use super::weave::VARIABLE;
use crate::child;

/// Address space of a test program, in KiB: a mutant may allocate without end.
const MEMORY_KIB_MAX: u64 = 6 << 20;

/// How long a stage may take.
pub(super) struct Limits {
    wall: Duration,
    /// Processor time; the host may be busy with other things.
    cpu_s: u64,
}

impl Limits {
    /// For what is known to end.
    pub(super) const NONE: Self = Self { wall: Duration::from_secs(1200), cpu_s: 1200 };
    /// For a stage that was not run without a mutant.
    const UNKNOWN: Self = Self { wall: Duration::from_secs(600), cpu_s: 120 };

    /// For what took so long, and so much of a processor, without a mutant.
    pub(super) fn after(wall: Duration, cpu: Duration) -> Self {
        Self { wall: wall * 10 + Duration::from_secs(60), cpu_s: cpu.as_secs() * 4 + 5 }
    }
}

/// Processor time of all that was run and has ended.
pub(super) fn cpu_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = [usage.user_time(), usage.system_time()];
    Ok(time.iter().map(|time| Duration::from_micros(time.num_microseconds().max(0) as u64)).sum())
}

/// Runs the stages in order: who noticed, or nobody.
pub(super) fn run(
    stages: &[Stage],
    mutant: Option<u32>,
    limits: &BTreeMap<String, Limits>,
) -> Result<(Verdict, Option<Ring>)> {
    for stage in stages {
        if let Some(verdict) = run_stage(stage, mutant, limits.get(&stage.name).unwrap_or(&Limits::UNKNOWN))? {
            return Ok((verdict, Some(stage.ring)));
        }
    }
    Ok((Verdict::Missed, None))
}

/// Runs one stage; `None`: everything passed.
pub(super) fn run_stage(stage: &Stage, mutant: Option<u32>, limits: &Limits) -> Result<Option<Verdict>> {
    let mut command = Command::new("sh");
    let bounds = format!("ulimit -v {MEMORY_KIB_MAX}; ulimit -S -t {}; exec \"$0\" \"$@\"", limits.cpu_s);
    command.arg("-c").arg(bounds).arg(&stage.path).args(&stage.arguments).current_dir(&stage.folder);
    // The same sequences for every mutant, and no time spent on making a failure small.
    command.env("PROPTEST_RNG_SEED", "1").env("PROPTEST_MAX_SHRINK_ITERS", "0");
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
    match mutant {
        Some(mutant) => command.env(VARIABLE, mutant.to_string()),
        None => command.env_remove(VARIABLE),
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().map_err(|error| child::cannot_start("sh", &error))?;
    let (sender, failures) = channel();
    watch(running.stdout.take(), sender.clone());
    watch(running.stderr.take(), sender);
    let deadline = Instant::now() + limits.wall;
    let mut failed = false;
    let timed_out = match failures.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(()) => {
            failed = true;
            false
        }
        Err(RecvTimeoutError::Timeout) => true,
        Err(RecvTimeoutError::Disconnected) => false,
    };
    if failed || timed_out {
        // An error means that it has ended by itself.
        let _ = running.kill();
    }
    let status = running.wait()?;
    if failed {
        return Ok(Some(Verdict::Caught));
    }
    let killed_for_time = std::os::unix::process::ExitStatusExt::signal(&status)
        .is_some_and(|signal| signal == nix::sys::signal::Signal::SIGXCPU as i32);
    Ok(match (timed_out || killed_for_time, status.success()) {
        (true, _) => Some(Verdict::TimedOut),
        (false, false) => Some(Verdict::Caught),
        (false, true) => None,
    })
}

/// Reads to the end; tells of each test that fails.
fn watch(source: Option<impl Read + Send + 'static>, sender: Sender<()>) {
    let Some(source) = source else { return };
    thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while matches!(source.read_until(b'\n', &mut line), Ok(1..)) {
            if line.starts_with(b"test ") && line.trim_ascii_end().ends_with(b"... FAILED") && sender.send(()).is_err()
            {
                return;
            }
            line.clear();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::stage::Program;
    use super::*;

    fn verdict(script: &'static str, limits: Limits) -> Option<Verdict> {
        let stage = Stage {
            name: String::new(),
            ring: Ring::Unit,
            package: "",
            program: Program::Lib,
            arguments: vec!["-c", script],
            path: "/bin/sh".into(),
            folder: "/".into(),
        };
        run_stage(&stage, Some(5), &limits).expect("runs")
    }

    #[test]
    fn endings_are_told_apart() {
        let limits = || Limits { wall: Duration::from_secs(60), cpu_s: 60 };
        assert_eq!(verdict("exit 0", limits()), None);
        assert_eq!(verdict("exit $((PERENNIAL_MUTANT - 4))", limits()), Some(Verdict::Caught));
        assert_eq!(verdict("kill -SEGV $$", limits()), Some(Verdict::Caught));
        // The first failed test is enough: nobody waits for the others.
        assert_eq!(verdict("echo 'test a ... FAILED'; exec sleep 50", limits()), Some(Verdict::Caught));
        assert_eq!(verdict("while :; do :; done", Limits { cpu_s: 1, ..limits() }), Some(Verdict::TimedOut));
        let soon = Limits { wall: Duration::from_millis(200), ..limits() };
        assert_eq!(verdict("exec sleep 50", soon), Some(Verdict::TimedOut));
    }
}
