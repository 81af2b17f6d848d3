//! A file as a disk that has several commands under way: one thread for each, as a device has its own hands.
//!
//! A page that is being written is shared with the thread that writes it and given back with the completion; nobody
//! can change it meanwhile. Reads go into pages of the thread's own and are copied.

use std::collections::VecDeque;
use std::fs::File;
use std::io::IoSlice;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use format::{BLOCK_SIZE, BlockBytes};
use snapshot_server::{Command, Completion, Disk, DiskError, Full, Op, PageMemory, PageRef};

use crate::meter::{Meter, Reading};
use crate::subject::BenchHost;

/// Commands under way at once, for the store and for what it is compared with.
pub(crate) const DEPTH: usize = 4;

/// A page where devices that bypass the page cache can reach it.
#[derive(Clone, Debug)]
#[repr(C, align(4096))]
struct Page(BlockBytes);

struct Job {
    tag: u32,
    op: Op,
    block: u64,
    pages: Vec<Arc<Page>>,
    reads: Vec<PageRef>,
}

struct Done {
    completion: Completion,
    read: Vec<(PageRef, Arc<Page>)>,
}

/// See the module.
pub(crate) struct ThreadDisk {
    blocks: u64,
    jobs: Sender<Job>,
    done: Receiver<Done>,
    inbox: VecDeque<Done>,
    under_way: usize,
    commands: u64,
    pages: Vec<Arc<Page>>,
    meter: Arc<Mutex<Meter>>,
    slept: Duration,
}

impl ThreadDisk {
    /// Over `file`, beside a memory of `pages` pages.
    pub(crate) fn new(file: File, pages: usize) -> std::io::Result<Self> {
        let blocks = file.metadata()?.len() / BLOCK_SIZE as u64;
        let file = Arc::new(file);
        let (jobs, waiting) = channel();
        let (finished, done) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let meter = Arc::new(Mutex::new(Meter::new()));
        for _ in 0..DEPTH {
            let (file, waiting, finished) = (Arc::clone(&file), Arc::clone(&waiting), finished.clone());
            let meter = Arc::clone(&meter);
            // The threads end when the disk, which holds the other ends, is dropped.
            std::thread::spawn(move || {
                while let Some(job) = next(&waiting) {
                    let op = job.op;
                    let done = run(&file, job);
                    note(&meter, |meter| meter.ended(op));
                    if finished.send(done).is_err() {
                        return;
                    }
                }
            });
        }
        let pages = (0..pages).map(|_| Arc::new(Page([0; BLOCK_SIZE]))).collect();
        Ok(Self {
            blocks,
            jobs,
            done,
            inbox: VecDeque::new(),
            under_way: 0,
            commands: 0,
            pages,
            meter,
            slept: Duration::ZERO,
        })
    }

    /// What happened since the last reading, the time in which the caller waited for the disk with it.
    pub(crate) fn read_meter(&mut self) -> Reading {
        let slept = std::mem::take(&mut self.slept);
        let mut reading = self.meter.lock().map(|mut meter| meter.read()).unwrap_or_default();
        reading.slept = slept;
        reading
    }

    /// Waits until fewer commands than `limit` are under way; of those that ended each must have ended well.
    pub(crate) fn drain_below(&mut self, limit: usize) -> Result<(), DiskError> {
        while self.under_way >= limit {
            self.wait();
            while let Some(done) = self.poll() {
                done.result?;
            }
        }
        Ok(())
    }
}

fn note(meter: &Mutex<Meter>, what: impl FnOnce(&mut Meter)) {
    if let Ok(mut meter) = meter.lock() {
        what(&mut meter);
    }
}

fn next(waiting: &Mutex<Receiver<Job>>) -> Option<Job> {
    waiting.lock().ok()?.recv().ok()
}

fn run(file: &File, job: Job) -> Done {
    let at = job.block * BLOCK_SIZE as u64;
    let mut read = Vec::new();
    let result = match job.op {
        Op::Flush => file.sync_data(),
        Op::Write => {
            let slices: Vec<_> = job.pages.iter().map(|page| IoSlice::new(&page.0)).collect();
            match nix::sys::uio::pwritev(file, &slices, at as i64) {
                Ok(written) if written == slices.len() * BLOCK_SIZE => Ok(()),
                Ok(_) => Err(std::io::ErrorKind::WriteZero.into()),
                Err(error) => Err(error.into()),
            }
        }
        Op::Read => job.reads.iter().enumerate().try_for_each(|(offset, into)| {
            let mut page = Page([0; BLOCK_SIZE]);
            file.read_exact_at(&mut page.0, at + (offset * BLOCK_SIZE) as u64)?;
            read.push((*into, Arc::new(page)));
            Ok(())
        }),
    };
    Done { completion: Completion { tag: job.tag, result: result.map_err(|_| DiskError::Medium) }, read }
}

impl Disk for ThreadDisk {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn submit(&mut self, command: &Command<'_>) -> Result<(), Full> {
        if self.under_way == DEPTH {
            return Err(Full);
        }
        let (pages, reads) = match command.op {
            Op::Read => (Vec::new(), command.pages.to_vec()),
            _ => (command.pages.iter().map(|page| Arc::clone(&self.pages[page.0 as usize])).collect(), Vec::new()),
        };
        let job = Job { tag: command.tag, op: command.op, block: command.block, pages, reads };
        note(&self.meter, |meter| meter.begun(command.op));
        self.jobs.send(job).map_err(|_| Full)?;
        self.under_way += 1;
        self.commands += 1;
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion> {
        let done = self.inbox.pop_front().or_else(|| self.done.try_recv().ok())?;
        self.under_way -= 1;
        for (into, page) in done.read {
            self.pages[into.0 as usize] = page;
        }
        Some(done.completion)
    }

    fn resets(&self) -> u64 {
        0
    }
}

impl BenchHost for ThreadDisk {
    fn wait(&mut self) {
        if self.under_way > self.inbox.len() {
            let asleep = Instant::now();
            self.inbox.extend(self.done.recv());
            self.slept += asleep.elapsed();
        }
    }

    fn commands(&self) -> u64 {
        self.commands
    }
}

impl PageMemory for ThreadDisk {
    fn bytes(&self, page: PageRef) -> &BlockBytes {
        &self.pages[page.0 as usize].0
    }

    fn bytes_mut(&mut self, page: PageRef) -> &mut BlockBytes {
        // A page that is being written is never written to; were it, the thread would keep the old contents.
        &mut Arc::make_mut(&mut self.pages[page.0 as usize]).0
    }
}
