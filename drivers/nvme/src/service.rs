//! The block protocol answered from a controller: what the driver's program calls at each turn of its loop.
//!
//! A device may take less in one command than the protocol allows in one request (`MDTS`): such a request becomes several
//! commands, and its one completion comes after the last of them.
//!
//! Invariants:
//! 1. A request leaves the ring only when it has a job or its refusal is in the ring of completions.
//! 2. A job lives from then until its completion is in that ring, or its session is over.
//! 3. A session ends only when nothing of it is under way: so its frames are free when its client sees that.
//! 4. The commands of a job carry its index as their tag; `flying` counts those that have not come back.

use abi::protocol::block::{Asked, BlockError, CallerFault, Completion, DiskInfo, Driver, FRAMES_MAX, Request};
use abi::protocol::ring::PushError;
use mmio::{DmaMemory, Registers};

use crate::controller::{Controller, State, SubmitError};

/// Requests that have left the ring and are not completed, at most.
const JOBS_MAX: usize = 64;
/// How soon to try again to hand back what the client has no room for.
const RETRY_NS: u64 = 5_000_000;
/// Rounds of one turn: enough to empty a full ring while the device answers at once.
const ROUNDS_MAX: u32 = 8;

/// A request that has left the ring.
#[derive(Clone, Copy, Debug)]
struct Job {
    tag: u64,
    flying: u32,
    /// All its commands have been submitted, or no more will be.
    fed: bool,
    /// The first failure, if there was one.
    result: Result<(), BlockError>,
    device_status: u32,
}

/// The request whose commands are being submitted: from block `next` of it on.
#[derive(Clone, Copy, Debug)]
struct Feeding {
    job: usize,
    request: Request,
    next: u32,
}

/// A controller and the ring end that it serves.
#[derive(Debug)]
pub struct Service<'m, R, D> {
    controller: Controller<R, D>,
    link: Driver<'m>,
    jobs: [Option<Job>; JOBS_MAX],
    feeding: Option<Feeding>,
    closing: bool,
    /// A refusal finds no room in the client's ring.
    blocked: bool,
}

/// What a turn has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The client's notification must be signalled.
    pub signal: bool,
    /// How long the caller may wait for an interrupt or a signal, in nanoseconds; `None`: for ever.
    pub wait_ns_max: Option<u64>,
}

impl<'m, R: Registers, D: DmaMemory> Service<'m, R, D> {
    /// Serves `controller` to whoever is at the other end of `link`. The controller is started at the first turn.
    pub fn new(controller: Controller<R, D>, link: Driver<'m>) -> Self {
        Self { controller, link, jobs: [None; JOBS_MAX], feeding: None, closing: false, blocked: false }
    }

    /// The controller, to see how it stands.
    pub fn controller(&self) -> &Controller<R, D> {
        &self.controller
    }

    /// The platform driver has silenced the device after its [`Death`](crate::Death); the next turn says what that
    /// means to the client.
    pub fn silenced(&mut self) {
        self.controller.silenced();
    }

    /// Does all that can be done now. Does not block. To be called after an interrupt, after a signal of the client and
    /// at the latest after [`Turn::wait_ns_max`].
    pub fn turn(&mut self, now_ns: u64) -> Turn {
        let mut signal = false;
        self.controller.start(now_ns);
        self.controller.poll(now_ns);
        for _ in 0..ROUNDS_MAX {
            signal |= self.hand_back();
            signal |= self.follow_session();
            self.blocked = false;
            signal |= self.take_requests(now_ns);
            self.controller.poll(now_ns);
            if !self.has_work() {
                break;
            }
        }
        signal |= self.hand_back();
        let held = self.jobs.iter().any(Option::is_some).then_some(RETRY_NS);
        let wait_ns_max = if self.has_work() { Some(0) } else { self.controller.wait_ns_max().or(held) };
        Turn { signal, wait_ns_max }
    }

    /// Whether another round would get further. Never true because of something that only the client or the device can
    /// change: the caller would spin above both.
    fn has_work(&mut self) -> bool {
        let idle = self.controller.under_way() == 0;
        match self.link.asked() {
            Asked::Open => self.controller.state() == State::Ready,
            Asked::Close => idle,
            Asked::Nothing if self.closing => idle,
            Asked::Nothing if !self.controller.has_room() => false,
            Asked::Nothing if self.feeding.is_some() => true,
            Asked::Nothing => !self.blocked && self.free_job().is_some() && !matches!(self.link.peek(), Ok(None)),
        }
    }

    fn free_job(&self) -> Option<usize> {
        self.jobs.iter().position(Option::is_none)
    }

    /// Opens and closes sessions as the client wants.
    fn follow_session(&mut self) -> bool {
        match self.link.asked() {
            Asked::Nothing => {}
            Asked::Open => {
                if let (State::Ready, Some(info)) = (self.controller.state(), self.controller.info()) {
                    // Longer requests than the device takes are cut up here.
                    self.link.accept(DiskInfo { request_blocks_max: FRAMES_MAX as u32, ..info });
                    return true;
                }
            }
            Asked::Close => self.closing = true,
        }
        // A device that has died and has been silenced serves nobody; its client learns that by the lost link.
        let dead = matches!(self.controller.state(), State::Dead(_));
        if (self.closing || dead) && self.link.is_up() && self.controller.under_way() == 0 {
            self.link.end();
            (self.jobs, self.feeding) = ([None; JOBS_MAX], None);
            self.closing = false;
            return true;
        }
        false
    }

    /// Moves requests from the ring into the controller; whether one was refused, so that its completion is there.
    fn take_requests(&mut self, now_ns: u64) -> bool {
        let mut refused = false;
        while !self.closing {
            self.feed(now_ns);
            // What comes next stays in the ring, and the ring stops the client.
            let (None, Some(job)) = (self.feeding, self.free_job()) else { break };
            let refusal = match self.link.peek() {
                Ok(Some(Ok(request))) => match self.controller.admits(&request) {
                    Ok(()) => {
                        self.link.taken();
                        self.jobs[job] =
                            Some(Job { tag: request.tag, flying: 0, fed: false, result: Ok(()), device_status: 0 });
                        self.feeding = Some(Feeding { job, request, next: 0 });
                        continue;
                    }
                    Err(SubmitError::NotReady | SubmitError::Full) => break,
                    Err(SubmitError::Caller(fault)) => refusal(request.tag, fault),
                },
                Ok(Some(Err(refusal))) => refusal,
                Ok(None) => break,
                Err(_) => {
                    self.closing = true;
                    break;
                }
            };
            match self.link.complete(&refusal) {
                Ok(()) => {
                    self.link.taken();
                    refused = true;
                }
                Err(PushError::Full) => {
                    self.blocked = true;
                    break;
                }
                Err(PushError::PeerBroken) => self.closing = true,
            }
        }
        refused
    }

    /// Submits as many commands of the request at hand as the controller has room for.
    fn feed(&mut self, now_ns: u64) {
        while let Some(mut feeding) = self.feeding {
            let Some(job) = &mut self.jobs[feeding.job] else {
                self.feeding = None;
                return;
            };
            let blocks_max = self.controller.info().map_or(1, |info| info.request_blocks_max);
            let part = part_of(&feeding, blocks_max);
            // One that has failed is not continued: what it would still do is of no use to anybody.
            let submitted = match job.result {
                Ok(()) => self.controller.submit(now_ns, &part),
                Err(_) => Ok(()),
            };
            match submitted {
                Ok(()) if job.result.is_ok() => {
                    job.flying += 1;
                    feeding.next += part.blocks;
                }
                Ok(()) => feeding.next = feeding.request.blocks,
                // The controller is full, or being reset: this goes on later.
                Err(SubmitError::NotReady | SubmitError::Full) => return,
                // It was admitted; the disk has changed under us.
                Err(SubmitError::Caller(fault)) => {
                    job.result = Err(BlockError::Caller(fault));
                    feeding.next = feeding.request.blocks;
                }
            }
            job.fed = feeding.next >= feeding.request.blocks;
            self.feeding = (!job.fed).then_some(feeding);
        }
    }

    /// Takes what the controller has finished, and moves the completions of finished jobs into the ring as long as there is
    /// room; whether any was. If their client has gone they go nowhere.
    fn hand_back(&mut self) -> bool {
        while let Some(completion) = self.controller.completion() {
            let job = usize::try_from(completion.tag)
                .ok()
                .and_then(|index| self.jobs.get_mut(index))
                .and_then(Option::as_mut);
            let Some(job) = job else { continue };
            job.flying -= 1;
            if job.result.is_ok() {
                (job.result, job.device_status) = (completion.result, completion.device_status);
            }
        }
        let mut signal = false;
        for slot in &mut self.jobs {
            let Some(job) = slot.filter(|job| job.fed && job.flying == 0) else { continue };
            if !self.closing && self.link.is_up() {
                let Job { tag, result, device_status, .. } = job;
                match self.link.complete(&Completion { tag, result, device_status }) {
                    Ok(()) => signal = true,
                    Err(PushError::Full) => break,
                    Err(PushError::PeerBroken) => self.closing = true,
                }
            }
            *slot = None;
        }
        signal
    }
}

fn refusal(tag: u64, fault: CallerFault) -> Completion {
    Completion { tag, result: Err(BlockError::Caller(fault)), device_status: 0 }
}

/// The next command of a request: at most `blocks_max` blocks of it if they come with frames, else all.
fn part_of(feeding: &Feeding, blocks_max: u32) -> Request {
    let whole = &feeding.request;
    let tag = feeding.job as u64;
    let from = feeding.next as usize;
    let left = whole.frames().get(from..).unwrap_or(&[]);
    let frames = &left[..left.len().min(blocks_max as usize)];
    match Request::transfer(tag, whole.op, whole.block + u64::from(feeding.next), frames) {
        Some(part) if whole.op.has_frames() => Request { durable: whole.durable, ..part },
        _ => Request { tag, ..*whole },
    }
}
