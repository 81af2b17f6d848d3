//! The block protocol answered from a controller: what the driver's program calls at each turn of its loop.
//!
//! Invariants:
//! 1. A request leaves the ring only when it has been submitted or refused.
//! 2. A completion leaves the controller only when there is room for it in the ring, or its session is over.
//! 3. A session ends only when nothing of it is under way: so its frames are free when its client sees that.

use abi::protocol::block::{Asked, BlockError, Completion, Driver};
use abi::protocol::ring::PushError;
use mmio::{DmaMemory, Registers};

use crate::controller::{Controller, State, SubmitError};

/// Rounds of one turn: enough to empty a full ring while the device answers at once.
const ROUNDS_MAX: u32 = 8;

/// A controller and the ring end that it serves.
#[derive(Debug)]
pub struct Service<'m, R, D> {
    controller: Controller<R, D>,
    link: Driver<'m>,
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
        Self { controller, link, closing: false, blocked: false }
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
        let wait_ns_max = if self.has_work() { Some(0) } else { self.controller.wait_ns_max() };
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
            Asked::Nothing => !self.blocked && self.controller.has_room() && !matches!(self.link.peek(), Ok(None)),
        }
    }

    /// Opens and closes sessions as the client wants.
    fn follow_session(&mut self) -> bool {
        match self.link.asked() {
            Asked::Nothing => {}
            Asked::Open => {
                if let (State::Ready, Some(info)) = (self.controller.state(), self.controller.info()) {
                    self.link.accept(info);
                    return true;
                }
            }
            Asked::Close => self.closing = true,
        }
        // A device that has died and has been silenced serves nobody; its client learns that by the lost link.
        let dead = matches!(self.controller.state(), State::Dead(_));
        if (self.closing || dead) && self.link.is_up() && self.controller.under_way() == 0 {
            self.link.end();
            self.closing = false;
            return true;
        }
        false
    }

    /// Moves requests from the ring into the controller; whether one was refused, so that its completion is there.
    fn take_requests(&mut self, now_ns: u64) -> bool {
        let mut refused = false;
        while !self.closing {
            let refusal = match self.link.peek() {
                Ok(Some(Ok(request))) => match self.controller.submit(now_ns, &request) {
                    Ok(()) => {
                        self.link.taken();
                        continue;
                    }
                    // It stays in the ring, and the ring stops the client.
                    Err(SubmitError::NotReady | SubmitError::Full) => break,
                    Err(SubmitError::Caller(fault)) => {
                        let result = Err(BlockError::Caller(fault));
                        Completion { tag: request.tag, result, device_status: 0 }
                    }
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

    /// Moves completions from the controller into the ring, or nowhere if their client has gone.
    fn hand_back(&mut self) -> bool {
        let mut signal = false;
        loop {
            let room = if self.closing || !self.link.is_up() { Ok(u32::MAX) } else { self.link.room() };
            match room {
                Ok(0) => return signal,
                Ok(_) => {}
                Err(_) => self.closing = true,
            }
            let Some(completion) = self.controller.completion() else {
                return signal;
            };
            if !self.closing && self.link.is_up() {
                self.closing |= self.link.complete(&completion).is_err();
                signal = true;
            }
        }
    }
}
