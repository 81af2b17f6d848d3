//! What can enter the kernel: calls, faults, timers, interrupts.

use super::{Called, Doing, End, Model, Unspecified};
use crate::event::{Event, Frame};
use crate::sim::{AGAIN_RIP, FAULT_ADDRESS, FAULT_CODE, WRITE_ADDRESS};
use abi::fault::Access;
use abi::{Call, Event as Arrival, Outcome, Status};

impl Model {
    /// What `event` makes of this state. `at` is the time at which it happens; `seen` is what the kernel made of it,
    /// which is looked at only where the kernel may choose.
    pub fn step(&mut self, event: Event, at: u64, seen: &Self) -> Result<(), Unspecified> {
        self.now = at;
        match event {
            Event::Call(cpu, op) => {
                if let Some(thread) = self.cpus[cpu].runs {
                    let thread = self.thread_mut(thread);
                    (thread.frame, thread.rip) = (op.frame, AGAIN_RIP + 2);
                    return self.call(cpu, seen);
                }
            }
            Event::Again(cpu) => {
                if let Some(thread) = self.cpus[cpu].runs {
                    self.thread_mut(thread).rip = AGAIN_RIP + 2;
                    return self.call(cpu, seen);
                }
            }
            Event::Fault(cpu) => {
                if !self.settle(cpu) && self.cpus[cpu].runs.is_some() {
                    self.fault(cpu, [FAULT_ADDRESS, 0, FAULT_CODE]);
                }
                self.dispatch(cpu);
            }
            Event::Write(cpu) => {
                if self.write(cpu, WRITE_ADDRESS)
                    && let Some(thread) = self.cpus[cpu].runs
                {
                    if !self.settle(cpu) {
                        let frozen = self.is_frozen(self.thread(thread).process, WRITE_ADDRESS);
                        let more = if frozen { Access::FROZEN | Access::PRESENT } else { Access::empty() };
                        self.fault(cpu, [WRITE_ADDRESS, (Access::WRITE | more).bits(), FAULT_CODE]);
                    }
                    self.dispatch(cpu);
                }
            }
            Event::Timer(cpu) => {
                self.settle(cpu);
                self.timer(cpu);
                self.dispatch(cpu);
            }
            Event::Reschedule(cpu) => {
                self.settle(cpu);
                self.dispatch(cpu);
            }
            Event::Interrupt(cpu, line) => {
                self.settle(cpu);
                self.interrupt(line);
                self.dispatch(cpu);
            }
            Event::Crash => return Err(Unspecified),
        }
        Ok(())
    }

    /// A thread that was stopped while it ran leaves the CPU as soon as that enters the kernel.
    fn settle(&mut self, cpu: usize) -> bool {
        let stopped = self.cpus[cpu].runs.is_some_and(|thread| self.thread(thread).doing != Doing::Ready);
        if stopped {
            self.leave(cpu);
        }
        stopped
    }

    fn call(&mut self, cpu: usize, seen: &Self) -> Result<(), Unspecified> {
        let Some(thread) = self.cpus[cpu].runs else { return Ok(()) };
        if self.settle(cpu) {
            // It will make its call when it is started.
            self.thread_mut(thread).rip = AGAIN_RIP;
            self.dispatch(cpu);
            return Ok(());
        }
        let frame = self.thread(thread).frame;
        let ended = self.invoke(cpu, thread, frame, seen)?;
        if let Some(record) = self.threads.get_mut(&thread) {
            match ended {
                Ok(End::Done) => record.frame.rax = Outcome::of(Status::Ok).0,
                Ok(End::Again) => record.rip = AGAIN_RIP,
                Ok(End::Kept) => {}
                Err(status) => record.frame.rax = Outcome::of(status).0,
            }
        }
        self.dispatch(cpu);
        Ok(())
    }

    fn invoke(&mut self, cpu: usize, thread: u32, frame: Frame, seen: &Self) -> Result<Called, Unspecified> {
        let Some(call) = Call::from_bits(frame.control().call()) else { return Ok(Err(Status::NoSuchCall)) };
        let process = self.thread(thread).process;
        let name = (process, frame.control().handle().0);
        Ok(match call {
            Call::Null => Ok(End::Done),
            Call::Call => self.send(cpu, thread, name, frame, true),
            Call::Send => self.send(cpu, thread, name, frame, false),
            Call::Receive => self.receive(cpu, thread, name, frame, seen),
            Call::ReplyReceive => self.reply_receive(cpu, thread, name, frame, seen),
            Call::Reply => self.reply(thread, name, frame),
            Call::SaveReply => self.save_reply(thread),
            Call::Signal => self.signal(name),
            Call::Wait => self.wait_for(cpu, thread, name, frame),
            Call::BindNotification => self.bind(thread, name),
            Call::Yield => {
                self.thread_mut(thread).frame.rax = Outcome::of(Status::Ok).0;
                self.leave(cpu);
                self.wake(thread);
                Ok(End::Kept)
            }
            Call::Copy => self.copy(thread, name, frame),
            Call::Drop => self.drop_cap(name, seen),
            Call::Revoke => self.revoke(name, seen),
            Call::Destroy => self.destroy(cpu, thread, name, seen),
            Call::Create => self.create(thread, name, frame, seen),
            Call::Grant => self.grant(thread, name, frame),
            Call::SetMemoryPort => self.set_memory_port(process, name, frame),
            Call::Start => self.start(name),
            Call::Stop => self.stop(cpu, thread, name),
            Call::SetPriority => self.set_priority(thread, name, frame),
            Call::Map => self.map(thread, name, frame, seen),
            Call::Unmap => self.change_pages(thread, name, frame, false),
            Call::Protect => self.change_pages(thread, name, frame, true),
            Call::Accessed => self.accessed(thread, name, frame),
            Call::Cut => self.cut(thread, name, seen),
            Call::ReadLog => self.read_log(thread, name, frame),
            Call::Donate => self.donate(thread, name, frame),
            Call::SetFrames => self.set_frames(thread, name, frame),
            Call::Identify => self.identify(thread, name, seen),
            Call::Clock => self.clock(thread),
            Call::Export => self.export(thread, name, frame, seen),
            Call::Restore | Call::Resume => self.begin(name)?,
            Call::Committed => self.commit(name, frame),
            Call::BindPort => self.bind_port(thread, name, frame),
            Call::BindInterrupt => self.bind_interrupt(thread, name, frame, seen),
            Call::AckInterrupt => self.ack_interrupt(name),
            Call::PortRead => self.port_read(thread, name, frame),
            Call::PortWrite => self.port_write(name, frame),
            Call::DebugWrite => self.debug_write(name, frame),
        })
    }

    /// Deadlines that have passed end their waits, the earliest first; a time slice that is over ends.
    fn timer(&mut self, cpu: usize) {
        loop {
            let due = self.threads.iter().filter_map(|(&number, thread)| Some((thread.deadline?, number))).min();
            let Some((_, thread)) = due.filter(|&(at, _)| at <= self.now) else { break };
            let slept = self.thread(thread).doing == Doing::Sleeping;
            self.wake_with(thread, if slept { Status::Ok } else { Status::TimedOut });
        }
        let runs = self.cpus[cpu].runs;
        let awaited = runs.is_some_and(|thread| self.ready.keys().any(|&ready| ready >= self.thread(thread).priority));
        let over = self.cpus[cpu].slice.is_some_and(|end| end <= self.now);
        if over || !awaited {
            self.cpus[cpu].slice = None;
        }
        if let Some(thread) = runs.filter(|_| over && awaited) {
            self.leave(cpu);
            self.wake(thread);
        }
    }

    /// A fault is a message to whoever serves the process's memory; nobody there to serve it, the thread stops.
    fn fault(&mut self, cpu: usize, fault: [u64; 3]) {
        let Some(thread) = self.cpus[cpu].runs else { return };
        let port = self.memory_port(self.thread(thread).process);
        self.leave(cpu);
        let Some((endpoint, badge)) = port else {
            self.thread_mut(thread).doing = Doing::Stopped;
            return;
        };
        self.thread_mut(thread).fault = Some(fault);
        match self.first_receiver(endpoint) {
            Some(receiver) => {
                self.hand_over(receiver);
                self.deliver_fault(thread, receiver, badge);
            }
            None => self.wait(thread, Doing::Faulting(endpoint), abi::Timeout::FOREVER),
        }
    }

    /// The receiver takes a fault, and with it the Reply that lets the thread go on.
    pub(super) fn deliver_fault(&mut self, thread: u32, receiver: u32, badge: u64) {
        let record = self.thread(thread);
        let process = &self.processes[&record.process];
        let [address, access, code] = record.fault.unwrap_or_default();
        let words = [address, access, process.name, u64::from(thread), record.rip, code, 0, 0];
        let rax = Outcome::event(Arrival::Fault, badge).0;
        self.thread_mut(receiver).frame = Frame { rax, rdi: abi::fault::Fault::Page as u64, words, caps: 0 };
        let record = self.thread_mut(thread);
        (record.doing, record.fault) = (Doing::AwaitFault, None);
        self.thread_mut(receiver).serves = Some(super::Serves::Caller(thread));
    }
}
