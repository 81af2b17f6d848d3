//! The disk under power, the cut, and the disk that comes back.

use std::fmt;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::{Command, Random, VolatileDisk, server};

/// How often the server looks for a new client or for its end.
const GLANCE: Duration = Duration::from_millis(5);
/// Most commands that are remembered; later ones are only counted.
const LOG_MAX: usize = 1 << 20;

/// Whether the disk still answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// It does.
    On,
    /// It takes this command into its cache and dies over it.
    GoesNow,
    /// It is dead.
    Gone,
}

/// What the connections and the owner share.
pub(crate) struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

pub(crate) struct Inner {
    pub(crate) disk: VolatileDisk,
    log: Vec<Command>,
    counted: u64,
    cut_at: Option<u64>,
    cut: Option<Cut>,
    seed: u64,
    closed: bool,
}

impl Inner {
    /// Records a command and says whether the disk lives through it.
    pub(crate) fn note(&mut self, command: Command) -> Power {
        if self.cut.is_some() {
            return Power::Gone;
        }
        if self.log.len() < LOG_MAX {
            self.log.push(command);
        }
        if !command.counts() {
            return Power::On;
        }
        self.counted += 1;
        if self.cut_at != Some(self.counted) {
            return Power::On;
        }
        self.cut = Some(Cut { command: self.counted, kind: Some(command), seed: self.seed });
        Power::GoesNow
    }
}

impl State {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // The state is consistent between any two statements that can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn announce(&self) {
        self.changed.notify_all();
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.lock().disk.len() as u64
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(crate) fn wait_until_closed(&self) {
        let mut inner = self.lock();
        while !inner.closed {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A power cut that happened, with all that replays it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The number of the last command that the disk saw, counting writes and flushes from 1.
    pub command: u64,
    /// What it was; `None` if the power was cut between two commands.
    pub kind: Option<Command>,
    /// The disk's seed.
    pub seed: u64,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "power cut at command {} ({:?}), disk seed {:#x}", self.command, self.kind, self.seed)
    }
}

/// The cut did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCut {
    /// How many writes and flushes the disk has seen.
    pub commands: u64,
}

impl fmt::Display for NoCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk has seen only {} writes and flushes", self.commands)
    }
}

impl std::error::Error for NoCut {}

/// A disk that loses power. See the crate's page for what survives.
pub struct PowerCutDisk {
    state: Arc<State>,
    server: Option<(JoinHandle<()>, PathBuf)>,
}

impl PowerCutDisk {
    /// A disk that holds `image`. `seed` decides what survives its cut.
    #[must_use]
    pub fn new(image: Vec<u8>, seed: u64) -> Self {
        let inner = Inner {
            disk: VolatileDisk::new(image),
            log: Vec::new(),
            counted: 0,
            cut_at: None,
            cut: None,
            seed,
            closed: false,
        };
        Self { state: Arc::new(State { inner: Mutex::new(inner), changed: Condvar::new() }), server: None }
    }

    /// An empty disk of `bytes` bytes.
    #[must_use]
    pub fn empty(bytes: usize, seed: u64) -> Self {
        Self::new(vec![0; bytes], seed)
    }

    /// Chooses the cut: at the `command`th write or flush, counting from 1 since the disk was made. That command is
    /// never answered; if it is a write, it is in the cache as the power goes.
    pub fn cut_at(&self, command: u64) {
        self.state.lock().cut_at = Some(command);
    }

    /// Cuts the power now, between two commands. Nothing happens if it is gone already.
    pub fn cut_now(&self) {
        let mut inner = self.state.lock();
        if inner.cut.is_none() {
            inner.cut = Some(Cut { command: inner.counted, kind: None, seed: inner.seed });
        }
        drop(inner);
        self.state.announce();
    }

    /// Offers the disk on the Unix socket `socket`, which must not exist yet and is removed at the end.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn serve(&mut self, socket: &Path) -> io::Result<()> {
        let listener = UnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        let state = Arc::clone(&self.state);
        let thread = thread::spawn(move || accept(&listener, &state));
        self.server = Some((thread, socket.to_owned()));
        Ok(())
    }

    /// Waits until the power has been cut. The machine above still runs then, before a disk that hangs: end it, and
    /// nothing that it does in between can matter.
    ///
    /// # Errors
    /// [`NoCut`] if that takes longer than `limit`.
    pub fn wait_cut(&self, limit: Duration) -> Result<Cut, NoCut> {
        let deadline = Instant::now() + limit;
        let mut inner = self.state.lock();
        loop {
            if let Some(cut) = inner.cut {
                return Ok(cut);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NoCut { commands: inner.counted });
            }
            let waited = self.state.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many writes and flushes it has seen.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.state.lock().counted
    }

    /// All that was asked of it, reads included, in order; the first 2²⁰ commands.
    #[must_use]
    pub fn log(&self) -> Vec<Command> {
        self.state.lock().log.clone()
    }

    /// What a read would see now, for tools that inspect an image.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        let inner = self.state.lock();
        let bytes = u32::try_from(inner.disk.len()).unwrap_or(u32::MAX);
        inner.disk.read(0, bytes).map(<[u8]>::to_vec).unwrap_or_default()
    }

    /// Cuts the power if that has not happened, lets the seed decide what survived, and gives the disk as the next boot
    /// finds it, with a seed that follows from this one.
    #[must_use]
    pub fn survive(mut self) -> Self {
        self.close();
        let inner = self.state.lock();
        // The command is part of the choice: cuts at neighbouring commands must not all lose alike.
        let mut random = Random::new(inner.seed ^ inner.counted.rotate_left(32));
        let image = inner.disk.clone().survive(&mut random);
        Self::new(image, random.next_number())
    }

    /// Ends without a cut, as a machine does that was shut down in peace and whose disk keeps its cache: the disk as it
    /// is read.
    #[must_use]
    pub fn keep_all(mut self) -> Self {
        self.close();
        let seed = self.state.lock().seed;
        Self::new(self.contents(), seed)
    }

    fn close(&mut self) {
        self.state.lock().closed = true;
        self.state.announce();
        if let Some((thread, socket)) = self.server.take() {
            // A server that panicked has printed why; the socket may be gone with its folder.
            let _ = thread.join();
            let _ = std::fs::remove_file(socket);
        }
    }
}

impl Drop for PowerCutDisk {
    fn drop(&mut self) {
        self.close();
    }
}

fn accept(listener: &UnixListener, state: &Arc<State>) {
    let mut clients: Vec<(JoinHandle<()>, UnixStream)> = Vec::new();
    while !state.is_closed() {
        match listener.accept() {
            Ok((stream, _)) => {
                let Ok(control) = stream.try_clone() else { continue };
                let state = Arc::clone(state);
                clients.push((thread::spawn(move || serve_client(stream, &state)), control));
            }
            Err(_) => thread::sleep(GLANCE),
        }
    }
    for (thread, control) in clients {
        // It may have gone by itself.
        let _ = control.shutdown(std::net::Shutdown::Both);
        let _ = thread.join();
    }
}

fn serve_client(mut stream: UnixStream, state: &State) {
    if stream.set_nonblocking(false).is_ok() {
        // A connection that breaks is a machine that ended: that is what crash tests are about.
        let _ = server::serve(&mut stream, state);
    }
    // `accept` holds the same connection: only this closes it for the client.
    let _ = stream.shutdown(std::net::Shutdown::Both);
}
