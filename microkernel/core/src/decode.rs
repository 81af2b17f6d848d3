//! The door: from a number in a register to an operation.

use crate::capability::SYSCALL_BYTES;
use crate::kernel::Caller;
use crate::{Kernel, Machine, State};
use abi::{Call, Control, Handle, Outcome, Status};

/// What becomes of the caller's result register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Success.
    Done,
    /// Success, and this in argument 0.
    Value(u64),
    /// It holds what it should: an event, a request that will be made again, or another thread's registers.
    Keep,
}

/// How a call went.
pub(crate) type Called = Result<Answer, Status>;

/// A rule, and how what was asked ends where it does not hold.
#[inline(always)]
pub(crate) fn require<E>(holds: bool, otherwise: E) -> Result<(), E> {
    if holds { Ok(()) } else { Err(otherwise) }
}

impl Kernel {
    /// The running thread of `cpu` made a system call; its registers are in the CPU's frame.
    pub fn syscall(&mut self, m: &mut impl Machine, cpu: usize) {
        let Some(thread) = self.current(cpu) else { return };
        if self.threads.get(thread).state != State::Ready {
            // Stopped while it ran here: the call is left to be made when it is started.
            let frame = &mut self.cpus[cpu].frame;
            frame.rip = frame.rip.wrapping_sub(SYSCALL_BYTES);
            self.settle(m, cpu);
            self.dispatch(m, cpu);
            return;
        }
        let (control, given) = (self.control(cpu), Handle(self.cpus[cpu].frame.caps as u16));
        let caller = Caller { cpu, thread, process: self.threads.get(thread).process, handle: control.handle(), given };
        let status = match self.invoke(m, caller, control) {
            Ok(Answer::Keep) => return self.dispatch(m, cpu),
            Ok(Answer::Done) => Status::Ok,
            Ok(Answer::Value(value)) => {
                self.cpus[cpu].frame.rdi = value;
                Status::Ok
            }
            Err(status) => status,
        };
        self.cpus[cpu].frame.rax = Outcome::of(status).0;
        self.dispatch(m, cpu);
    }

    /// The request of the running thread of `cpu`.
    pub(crate) fn control(&self, cpu: usize) -> Control {
        Control(self.cpus[cpu].frame.rax)
    }

    fn invoke(&mut self, m: &mut impl Machine, caller: Caller, control: Control) -> Called {
        match Call::from_bits(control.call()).ok_or(Status::NoSuchCall)? {
            Call::Null => Ok(Answer::Done),
            Call::Call => self.send(m, caller, true),
            Call::ReplyReceive => self.reply_receive(m, caller),
            Call::Send => self.send(m, caller, false),
            Call::Receive => self.receive(m, caller),
            Call::Reply => self.reply(caller),
            Call::SaveReply => self.save_reply(caller),
            Call::Signal => self.signal(caller),
            Call::Wait => self.wait_for(m, caller),
            Call::BindNotification => self.bind_notification(caller),
            Call::Yield => {
                self.cpus[caller.cpu].frame.rax = Outcome::of(Status::Ok).0;
                self.yield_now(m, caller.cpu);
                Ok(Answer::Keep)
            }
            Call::Copy => self.copy(caller),
            Call::Drop => self.drop_handle(caller),
            Call::Revoke => self.revoke(caller),
            Call::Identify => self.identify(caller),
            Call::Destroy => self.destroy(m, caller),
            Call::Create => self.create(m, caller),
            Call::Grant => self.grant(caller),
            Call::SetMemoryPort => self.set_memory_port(caller),
            Call::Start => self.start(caller),
            Call::Stop => self.stop(m, caller),
            Call::SetPriority => self.set_priority(caller),
            Call::Map => self.map(m, caller),
            Call::Unmap => self.unmap(m, caller),
            Call::Protect => self.protect(m, caller),
            Call::Cut => self.cut(m, caller),
            Call::ReadLog => self.read_log(caller),
            Call::Donate => self.donate(caller),
            Call::SetFrames => self.set_frames(m, caller),
            Call::Export => self.export(m, caller),
            Call::Restore => self.restore(m, caller),
            Call::Resume => self.resume(m, caller),
            Call::Committed => self.commit(caller),
            Call::BindPort => self.bind_port(caller),
            Call::Clock => self.clock(m, caller),
            Call::BindInterrupt => self.bind_interrupt(m, caller),
            Call::AckInterrupt => self.ack_interrupt(m, caller),
            Call::PortRead => self.port_read(m, caller),
            Call::PortWrite => self.port_write(m, caller),
            Call::DebugWrite => self.debug_write(m, caller),
            Call::Accessed => self.accessed(m, caller),
        }
    }
}
