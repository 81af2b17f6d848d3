//! A running machine, as a test sees it.

use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::{Console, Ending, Machine, Monitor, Transcript};

/// Lines of the console that an error shows.
const TAIL_LINES: usize = 40;

/// Why waiting for a guest ended without what was waited for.
#[derive(Clone, Debug)]
pub enum WaitError {
    /// The time was up. With the last lines of the console.
    Deadline(String),
    /// The machine ended first. With the last lines of the console.
    Ended(Ending, String),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline(tail) => write!(f, "the time was up; the console's last lines:\n{tail}"),
            Self::Ended(ending, tail) => write!(f, "{ending}; the console's last lines:\n{tail}"),
        }
    }
}

impl std::error::Error for WaitError {}

/// A machine that runs (or has ended). Its QEMU ends with this value at the latest.
pub struct Guest {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    complaints: Option<JoinHandle<String>>,
    complained: String,
    monitor: Option<Monitor>,
    socket: PathBuf,
    transcript: Transcript,
    ending: Option<Ending>,
}

impl Guest {
    /// Starts `machine` with its console on pipes and a monitor of its own.
    ///
    /// # Errors
    /// When QEMU cannot be started at all. That it refuses its options shows in [`Guest::wait_end`].
    pub fn start(machine: &Machine) -> std::io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let socket = std::env::temp_dir().join(format!("perennial-qmp-{}-{number}", std::process::id()));
        let mut machine = machine.clone();
        machine.console = Console::Pipes;
        machine.monitor = Some(socket.clone());
        let mut command = machine.command();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = read_pieces(child.stdout.take());
        let mut errors = child.stderr.take();
        let complaints = thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(errors) = &mut errors {
                // A QEMU that dies while it complains has complained enough.
                let _ = errors.read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        let monitor = Monitor::connect(&socket, || matches!(child.try_wait(), Ok(None))).ok();
        Ok(Self {
            child,
            input,
            output,
            complaints: Some(complaints),
            complained: String::new(),
            monitor,
            socket,
            transcript: Transcript::default(),
            ending: None,
        })
    }

    /// Waits until the console shows `text` in what has not been waited for yet.
    ///
    /// # Errors
    /// [`WaitError`], with the console's last lines.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<(), WaitError> {
        let deadline = Instant::now() + limit;
        loop {
            if self.transcript.find(text) {
                return Ok(());
            }
            match self.next_piece(deadline) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return Err(WaitError::Deadline(self.transcript.tail(TAIL_LINES))),
                Err(RecvTimeoutError::Disconnected) => {
                    let ending = self.collect();
                    return Err(WaitError::Ended(ending, self.transcript.tail(TAIL_LINES)));
                }
            }
        }
    }

    /// Waits until the machine has ended and says how.
    ///
    /// # Errors
    /// [`WaitError::Deadline`] if it still runs after `limit`; it goes on running.
    pub fn wait_end(&mut self, limit: Duration) -> Result<Ending, WaitError> {
        let deadline = Instant::now() + limit;
        loop {
            match self.next_piece(deadline) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return Err(WaitError::Deadline(self.transcript.tail(TAIL_LINES))),
                Err(RecvTimeoutError::Disconnected) => return Ok(self.collect()),
            }
        }
    }

    /// Types `text` on the console.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn type_text(&mut self, text: &str) -> std::io::Result<()> {
        let input = self.input.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?;
        input.write_all(text.as_bytes())?;
        input.flush()
    }

    /// Ends it at once, as pulling the plug would for all but the disk (what QEMU has written stays written).
    pub fn kill(&mut self) -> Ending {
        if self.ending.is_none() {
            // An error means that it has just ended by itself.
            let _ = self.child.kill();
        }
        self.collect()
    }

    /// The process id of its QEMU, for a disk that pulls the plug.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// What the console has shown so far.
    pub fn console(&mut self) -> &Transcript {
        while let Ok(piece) = self.output.try_recv() {
            self.transcript.push(&piece);
        }
        &self.transcript
    }

    /// What QEMU wrote to its standard error; empty until the machine has ended.
    #[must_use]
    pub fn complaints(&self) -> &str {
        &self.complained
    }

    fn next_piece(&mut self, deadline: Instant) -> Result<(), RecvTimeoutError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let piece = self.output.recv_timeout(left)?;
        self.transcript.push(&piece);
        Ok(())
    }

    /// The console has been closed or QEMU killed: collects the rest.
    fn collect(&mut self) -> Ending {
        if let Some(ending) = &self.ending {
            return ending.clone();
        }
        let status = self.child.wait();
        while let Ok(piece) = self.output.recv_timeout(Duration::from_secs(1)) {
            self.transcript.push(&piece);
        }
        self.complained = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let needs_reason = status.as_ref().is_ok_and(|status| status.code() == Some(0));
        let reason = self.monitor.as_ref().filter(|_| needs_reason).and_then(Monitor::last_reason);
        let ending = match status {
            Ok(status) => Ending::read(status, &self.complained, reason.as_deref()),
            Err(_) => Ending::Stopped,
        };
        self.ending = Some(ending.clone());
        ending
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
        // It is gone already if QEMU took it along.
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn read_pieces(source: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let Some(mut source) = source else { return };
        let mut piece = vec![0; 4096];
        while let Ok(length @ 1..) = source.read(&mut piece) {
            if sender.send(piece[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}
