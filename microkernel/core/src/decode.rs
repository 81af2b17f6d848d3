//! The door: from a number in a register to an operation.

use crate::capability::SYSCALL_BYTES;
use crate::kernel::Caller;
use crate::{Kernel, Machine, State};
use abi::{Call, Control, Outcome, Status};

/// What becomes of the caller's result register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Success.
    Done,
    /// It holds what it should: an event, a request that will be made again, or another thread's registers.
    Keep,
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
        let caller = Caller { cpu, thread, process: self.threads.get(thread).process };
        match self.invoke(m, caller) {
            Ok(Answer::Done) => self.cpus[cpu].frame.rax = Outcome::of(Status::Ok).0,
            Ok(Answer::Keep) => {}
            Err(status) => self.cpus[cpu].frame.rax = Outcome::of(status).0,
        }
        self.dispatch(m, cpu);
    }

    /// The request of the running thread of `cpu`.
    pub(crate) fn control(&self, cpu: usize) -> Control {
        Control(self.cpus[cpu].frame.rax)
    }

    fn invoke(&mut self, m: &mut impl Machine, caller: Caller) -> Result<Answer, Status> {
        let control = self.control(caller.cpu);
        let handle = control.handle();
        match Call::from_bits(control.call()).ok_or(Status::NoSuchCall)? {
            Call::Null => Ok(Answer::Done),
            Call::Call => self.send(m, caller, handle, true),
            Call::ReplyReceive => self.reply_receive(m, caller, handle),
            Call::Send => self.send(m, caller, handle, false),
            Call::Receive => self.receive(m, caller, handle),
            Call::Reply => self.reply(caller, handle),
            Call::SaveReply => self.save_reply(caller),
            Call::Signal => self.signal(caller, handle),
            Call::Wait => self.wait_for(m, caller, handle),
            Call::BindNotification => self.bind_notification(caller, handle),
            Call::Yield => {
                self.cpus[caller.cpu].frame.rax = Outcome::of(Status::Ok).0;
                self.yield_now(m, caller.cpu);
                Ok(Answer::Keep)
            }
            Call::Copy => self.copy(caller, handle),
            Call::Drop => self.drop_handle(caller, handle),
            Call::Revoke => self.revoke(caller, handle),
            Call::Identify => self.identify(caller, handle),
            Call::Destroy => self.destroy(m, caller, handle),
            Call::Create => self.create(m, caller, handle),
            Call::Grant => self.grant(caller, handle),
            Call::SetMemoryPort => self.set_memory_port(caller, handle),
            Call::Start => self.start(caller, handle),
            Call::Stop => self.stop(m, caller, handle),
            Call::SetPriority => self.set_priority(caller, handle),
            Call::Map => self.map(m, caller, handle),
            Call::Unmap => self.unmap(m, caller, handle),
            Call::Protect => self.protect(m, caller, handle),
            Call::Cut => self.cut(m, caller, handle),
            Call::ReadLog => self.read_log(caller, handle),
            Call::Donate => self.donate(caller, handle),
            Call::SetFrames => self.set_frames(m, caller, handle),
            Call::Export => self.export(m, caller, handle),
            Call::Restore => self.restore(m, caller, handle),
            Call::Resume => self.resume(m, caller, handle),
            Call::Committed => self.commit(caller, handle),
            Call::BindPort => self.bind_port(caller, handle),
            Call::Clock => self.clock(m, caller),
            Call::BindInterrupt => self.bind_interrupt(m, caller, handle),
            Call::AckInterrupt => self.ack_interrupt(m, caller, handle),
            Call::PortRead => self.port_read(m, caller, handle),
            Call::PortWrite => self.port_write(m, caller, handle),
            Call::DebugWrite => self.debug_write(m, caller, handle),
        }
    }
}
