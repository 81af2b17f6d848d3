//! Programs that xtask starts: watched, limited in time, and ended with all that they started, and nothing else.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::refusal;

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);

/// What a finished child left behind.
pub(crate) struct Finished {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Standard output and standard error, in the order in which the lines came.
    pub(crate) lines: Vec<String>,
}

impl Finished {
    /// The text of it all.
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// Runs `command`, hands each line that it writes to `on_line`, and waits for its end.
///
/// After `limit` it is ended, with everything that it started: an error.
pub(crate) fn watch(command: &mut Command, limit: Duration, mut on_line: impl FnMut(&str)) -> Result<Finished> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(&name, &error))?;
    let (sender, receiver) = channel();
    send_lines(child.stdout.take(), sender.clone());
    send_lines(child.stderr.take(), sender);
    let deadline = Instant::now() + limit;
    let mut lines = Vec::new();
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                on_line(&line);
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                end_tree(child.id());
                child.wait().with_context(|| format!("waiting for {name}"))?;
                let tail = lines[lines.len().saturating_sub(20)..].join("\n");
                bail!("{name} was still running after {} s and was ended; its last lines:\n{tail}", limit.as_secs());
            }
        }
    }
    let status = child.wait().with_context(|| format!("waiting for {name}"))?;
    Ok(Finished { status, lines })
}

/// Runs `command` for its standard output, trimmed; standard error goes nowhere. A failure is an error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::piped()).output().map_err(|error| cannot_start(&name, &error))?;
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The error for a program that did not even start.
pub(crate) fn cannot_start(name: &str, error: &std::io::Error) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => refusal(format!("the program {name} is not on this computer")),
        _ => refusal(format!("the program {name} cannot be started: {error}")),
    }
}

fn send_lines(source: Option<impl Read + Send + 'static>, sender: Sender<String>) {
    let Some(source) = source else { return };
    thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while matches!(source.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            line.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
}

/// Ends the process `root` and all its descendants: asks first, insists after [`GRACE`].
pub(crate) fn end_tree(root: u32) {
    let tree = descendants(root);
    signal_all(&tree, Signal::SIGTERM);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline && tree.iter().any(|&process| is_running(process)) {
        thread::sleep(Duration::from_millis(20));
    }
    signal_all(&tree, Signal::SIGKILL);
}

fn signal_all(processes: &[u32], signal: Signal) {
    for process in processes.iter().filter(|&&process| is_running(process)) {
        if let Ok(process) = i32::try_from(*process) {
            // An error means that it has ended meanwhile.
            let _ = kill(Pid::from_raw(process), signal);
        }
    }
}

/// Whether it exists and is not a zombie.
fn is_running(process: u32) -> bool {
    status_fields(process).is_some_and(|(state, _)| state != "Z")
}

/// State and parent of a process.
fn status_fields(process: u32) -> Option<(String, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything: fields are counted behind it.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.to_owned();
    let parent = fields.next()?.parse().ok()?;
    Some((state, parent))
}

/// `root` and everything below it, parents first.
fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && let Some((_, parent)) = status_fields(process)
        {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(process) = tree.get(next) {
        tree.extend(children.remove(process).unwrap_or_default());
        next += 1;
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_status_come_back() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let mut seen = 0;
        let finished = watch(&mut command, Duration::from_secs(60), |_| seen += 1).expect("runs");
        assert_eq!((finished.status.code(), seen), (Some(3), 2));
        assert!(finished.text().contains("two"));
    }

    #[test]
    fn what_hangs_is_ended_with_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $!; wait"]);
        let mut grandchild = String::new();
        let limit = Duration::from_millis(500);
        let error = watch(&mut command, limit, |line| grandchild = line.to_owned()).err().expect("ended");
        assert!(error.to_string().contains("was ended"), "{error}");
        let grandchild = grandchild.parse().expect("a process id");
        assert!(!is_running(grandchild), "the grandchild {grandchild} is still there");
    }

    #[test]
    fn what_is_missing_is_a_refusal() {
        let error = watch(&mut Command::new("no-such-program-here"), GRACE, |_| {}).err().expect("missing");
        assert!(error.downcast_ref::<crate::failure::Refusal>().is_some());
    }
}
