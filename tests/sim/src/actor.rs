//! A volatile program's turn on a CPU: its system calls, made with the registers of its thread.

use crate::board::{Board, Role};
use abi::{Call, Control, Event, FLAG_MOVE, Handle, Kind, Outcome, Registers, Rights, Status, Timeout};

/// A program that runs now.
pub(crate) struct Actor<'b> {
    pub(crate) board: &'b mut Board,
    pub(crate) role: Role,
    cpu: usize,
}

/// What ended the wait before this turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) event: Event,
    pub(crate) badge: u64,
    pub(crate) tag: u64,
    pub(crate) words: [u64; 8],
    pub(crate) cap: Handle,
}

impl<'b> Actor<'b> {
    pub(crate) fn new(board: &'b mut Board, role: Role, cpu: usize) -> Self {
        Self { board, role, cpu }
    }

    pub(crate) fn given(&self) -> crate::shared::Given {
        self.board.shared.given[self.role as usize]
    }

    /// What the registers say at the beginning of the turn.
    pub(crate) fn arrived(&self) -> Arrived {
        let frame = &self.board.kernel.cpus[self.cpu].frame;
        let outcome = Outcome(frame.rax);
        let event = if outcome.status() == Status::Ok { outcome.kind() } else { Event::None };
        let cap = Handle(frame.caps as u16);
        Arrived { event, badge: outcome.badge(), tag: frame.rdi, words: frame.words, cap }
    }

    /// A call that does not wait; what its registers hold afterwards.
    pub(crate) fn call(&mut self, call: Call, handle: Handle, set: impl FnOnce(&mut Registers)) -> Registers {
        self.call_with(Control::new(call, handle), set)
    }

    /// As [`Self::call`], with flags.
    pub(crate) fn call_with(&mut self, control: Control, set: impl FnOnce(&mut Registers)) -> Registers {
        self.board.others_run(self.cpu);
        let thread = self.board.kernel.current(self.cpu);
        let frame = &mut self.board.kernel.cpus[self.cpu].frame;
        frame.rax = control.0;
        frame.rip = 0x1000;
        set(frame);
        while self.board.kernel.cpus[self.cpu].frame.rip == 0x1000 {
            self.board.kernel.cpus[self.cpu].frame.rip += 2;
            self.board.kernel.syscall(&mut self.board.machine, self.cpu);
            assert_eq!(self.board.kernel.current(self.cpu), thread, "{:?} waits in {:?}", self.role, control.call());
        }
        self.board.kernel.cpus[self.cpu].frame
    }

    /// A call that must succeed.
    pub(crate) fn must(&mut self, call: Call, handle: Handle, set: impl FnOnce(&mut Registers)) -> Registers {
        let frame = self.call(call, handle, set);
        let status = Outcome(frame.rax).status();
        assert_eq!(status, Status::Ok, "{:?} in {call:?} of {handle:?}", self.role);
        frame
    }

    /// Ends the turn: waits for the port (if there is one) and the notification.
    pub(crate) fn wait(&mut self, port: Handle, timeout: Timeout) {
        let (call, handle) = if port.is_null() { (Call::Wait, self.given().wake) } else { (Call::Receive, port) };
        self.block(Control::new(call, handle).with_timeout(timeout));
    }

    /// Ends the turn: lets the thread go on whose fault was received last, and waits as [`Self::wait`] does.
    pub(crate) fn resume_and_wait(&mut self, port: Handle) {
        let frame = &mut self.board.kernel.cpus[self.cpu].frame;
        (frame.rdi, frame.words, frame.caps) = (0, [0; 8], 0);
        self.block(Control::new(Call::ReplyReceive, port));
    }

    fn block(&mut self, control: Control) {
        self.board.others_run(self.cpu);
        self.board.kernel.cpus[self.cpu].frame.rax = control.0;
        self.board.kernel.syscall(&mut self.board.machine, self.cpu);
    }

    /// Ends the turn, for good.
    pub(crate) fn stop(&mut self) {
        self.block(Control::new(Call::Wait, Handle::NULL));
    }

    pub(crate) fn bind(&mut self) {
        let wake = self.given().wake;
        self.must(Call::BindNotification, wake, |_| {});
    }

    pub(crate) fn ring(&mut self, role: Role) {
        let bell = self.given().bells[role as usize];
        if !bell.is_null() {
            self.must(Call::Signal, bell, |_| {});
        }
    }

    pub(crate) fn create(&mut self, budget: Handle, kind: Kind, arguments: [u64; 4], cap: Handle) -> Handle {
        let frame = self.must(Call::Create, budget, |r| {
            r.rdi = kind as u64;
            r.words = [0; 8];
            r.words[..4].copy_from_slice(&arguments);
            r.caps = u64::from(cap.0);
        });
        Handle(frame.rdi as u16)
    }

    pub(crate) fn grant(&mut self, process: Handle, cap: Handle, rights: Rights, badge: u64) -> Handle {
        let frame = self.must(Call::Grant, process, |r| {
            r.rdi = u64::from(rights.bits());
            r.words = [0; 8];
            r.words[0] = badge;
            r.caps = u64::from(cap.0);
        });
        Handle(frame.rdi as u16)
    }

    /// The number of the object of a capability.
    pub(crate) fn object(&mut self, handle: Handle) -> u32 {
        self.must(Call::Identify, handle, |_| {}).words[2] as u32
    }

    pub(crate) fn drop(&mut self, handle: Handle) {
        self.must(Call::Drop, handle, |_| {});
    }

    /// Answers the current call, or a saved one.
    pub(crate) fn reply(&mut self, saved: Handle, tag: u64, words: &[u64], cap: Option<Handle>) -> Result<(), Status> {
        let flags = cap.map_or(0, |_| FLAG_MOVE | 1);
        let frame = self.call_with(Control::new(Call::Reply, saved).with_flags(flags), |r| {
            r.rdi = tag;
            r.words = [0; 8];
            r.words[..words.len()].copy_from_slice(words);
            r.caps = cap.map_or(0, |cap| u64::from(cap.0));
        });
        match Outcome(frame.rax).status() {
            Status::Ok => Ok(()),
            status => Err(status),
        }
    }

    pub(crate) fn save_reply(&mut self) -> Option<Handle> {
        let frame = self.call(Call::SaveReply, Handle::NULL, |_| {});
        (Outcome(frame.rax).status() == Status::Ok).then_some(Handle(frame.rdi as u16))
    }

    /// A word of the program's own memory, as its CPU reads it. Others run meanwhile.
    pub(crate) fn read(&mut self, address: u64) -> u64 {
        self.board.others_run(self.cpu);
        match self.board.machine.access(self.cpu, address, false) {
            Ok(frame) => self.board.machine.read(frame, address),
            Err(access) => panic!("{:?} cannot read {address:#x}: {access:?}", self.role),
        }
    }

    /// Badge of a capability, if it is one of the endpoint that `of` tells, as `Identify` names it.
    pub(crate) fn badge_if(&mut self, handle: Handle, of: u64) -> Option<u64> {
        let frame = self.call(Call::Identify, handle, |_| {});
        let known = Outcome(frame.rax).status() == Status::Ok && frame.rdi as u8 == Kind::Endpoint as u8;
        (known && frame.words[2] == of).then_some(frame.words[1])
    }

    /// The running epoch.
    pub(crate) fn epoch(&mut self) -> abi::Epoch {
        abi::Epoch::from_bits(self.must(Call::Clock, Handle::NULL, |_| {}).rdi)
    }
}
