//! What can happen next: a call by whoever runs on a CPU, or something from outside.

use abi::registers::pack_caps;
use abi::{Call, Control, Handle, Outcome, Registers, Rights, Timeout};

/// What a thread puts into its registers for a call, and finds there after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// Control in, outcome out.
    pub rax: u64,
    /// Tag or first argument.
    pub rdi: u64,
    /// The words.
    pub words: [u64; 8],
    /// Packed handles.
    pub caps: u64,
}

impl Frame {
    /// What a thread's registers hold.
    pub fn of(registers: &Registers) -> Self {
        Self { rax: registers.rax, rdi: registers.rdi, words: registers.words, caps: registers.caps }
    }

    /// Puts it into registers.
    pub fn into_registers(self, registers: &mut Registers) {
        (registers.rax, registers.rdi, registers.words, registers.caps) = (self.rax, self.rdi, self.words, self.caps);
    }

    /// The request.
    pub fn control(&self) -> Control {
        Control(self.rax)
    }

    /// The result.
    pub fn outcome(&self) -> Outcome {
        Outcome(self.rax)
    }
}

/// In an alphabet, in place of an epoch or a position: the running epoch, the one before, the end of the log of first
/// writes. What it is in a state, [`Op::at`] says.
pub const EPOCH_NOW: u64 = u64::MAX - 1;
/// See [`EPOCH_NOW`].
pub const EPOCH_BEFORE: u64 = u64::MAX - 2;
/// See [`EPOCH_NOW`].
pub const LOG_END: u64 = u64::MAX - 3;

/// One call with its arguments, of a program's alphabet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    /// Which call.
    pub call: Call,
    /// Its registers.
    pub frame: Frame,
}

impl Op {
    /// A call on a handle, without arguments.
    pub fn new(call: Call, handle: u16) -> Self {
        let rax = Control::new(call, Handle(handle)).0;
        Self { call, frame: Frame { rax, ..Frame::default() } }
    }

    /// With tag or first argument, and words.
    pub fn with(mut self, rdi: u64, words: &[u64]) -> Self {
        self.frame.rdi = rdi;
        self.frame.words[..words.len()].copy_from_slice(words);
        self
    }

    /// With this time-out.
    pub fn within(mut self, timeout: Timeout) -> Self {
        self.frame.rax = self.frame.control().with_timeout(timeout).0;
        self
    }

    /// Only if it need not wait.
    pub fn poll(self) -> Self {
        self.within(Timeout::POLL)
    }

    /// With these flags.
    pub fn flags(mut self, flags: u8) -> Self {
        self.frame.rax = self.frame.control().with_flags(self.frame.control().flags() | flags).0;
        self
    }

    /// With capabilities: counted in the flags, for messages.
    pub fn caps(self, caps: &[u16]) -> Self {
        self.objects(caps).flags(caps.len() as u8)
    }

    /// With capabilities as arguments of another call.
    pub fn objects(mut self, caps: &[u16]) -> Self {
        let mut handles = [Handle::NULL; 4];
        for (place, &cap) in handles.iter_mut().zip(caps) {
            *place = Handle(cap);
        }
        self.frame.caps = pack_caps(handles);
        self
    }

    /// The call with what it names in this state.
    pub fn at(mut self, kernel: &kernel_core::Kernel) -> Self {
        for word in core::iter::once(&mut self.frame.rdi).chain(&mut self.frame.words) {
            *word = match *word {
                EPOCH_NOW => kernel.epoch().bits(),
                EPOCH_BEFORE => kernel.epoch().bits().wrapping_sub(1),
                LOG_END => kernel.first_writes().0,
                other => other,
            };
        }
        self
    }

    /// `Copy` of `handle` with these rights and this badge.
    pub fn copy(handle: u16, rights: Rights, badge: u64) -> Self {
        Self::new(Call::Copy, handle).with(u64::from(rights.bits()), &[badge])
    }

    /// This `Copy`, of a part of a range.
    pub fn part(mut self, offset: u64, length: u64) -> Self {
        self.frame.words[1..3].copy_from_slice(&[offset, length]);
        self
    }

    /// `Grant` of `cap` to the process `handle`.
    pub fn grant(handle: u16, cap: u16, rights: Rights, badge: u64) -> Self {
        Self::new(Call::Grant, handle).with(u64::from(rights.bits()), &[badge]).objects(&[cap])
    }
}

/// One step of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The running thread of a CPU makes a call.
    Call(usize, Op),
    /// The running thread of a CPU makes a call again that has restarted itself.
    Again(usize),
    /// The running thread of a CPU touches a page that is not there.
    Fault(usize),
    /// The running thread of a CPU writes to the page that all programs write to.
    Write(usize),
    /// The timer of a CPU fires; time moves on to when it was set for.
    Timer(usize),
    /// A CPU that was kicked looks again.
    Reschedule(usize),
    /// An interrupt arrives on a CPU: line or message number.
    Interrupt(usize, u32),
    /// The machine loses power just after an epoch was cut, exported and committed, and starts again.
    Crash,
}
