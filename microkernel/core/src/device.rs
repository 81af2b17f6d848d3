//! What volatile processes may do with the machine: page tables, interrupts, I/O ports, the debug port.

use crate::decode::{Answer, Called, require};
use crate::kernel::Caller;
use crate::space::{ACCESSED, Run};
use crate::{Capability, Kernel, Machine, Process};
use abi::boot_info::INTERRUPT_LINES;
use abi::{Epoch, Handle, Kind, MapFlags, Registers, Rights, Status, WORDS};

/// First I/O port of the debug serial port.
const DEBUG_PORT: u32 = 0x3f8;

/// Where an interrupt is delivered: as a signal that its process makes, as long as that process may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Binding {
    /// Name of the process, as a fault message tells it.
    pub(crate) process: u64,
    /// Its handle for the interrupt.
    pub(crate) interrupt: Handle,
    /// Its handle for the notification.
    pub(crate) bell: Handle,
}

impl Binding {
    pub(crate) const NONE: Self = Self { process: u64::MAX, interrupt: Handle::NULL, bell: Handle::NULL };
}

impl Kernel {
    /// The process that `Map`, `Unmap`, `Protect` or `Accessed` is about.
    pub(crate) fn target_process(&self, caller: Caller, name: u64) -> Result<u32, Status> {
        let capability = self.named(caller, Rights::empty())?;
        match capability.kind() {
            Some(Kind::Process) if capability.rights().contains(Rights::PROCESS_MAP) => Ok(capability.object),
            Some(Kind::Endpoint) if capability.rights().contains(Rights::RECEIVE) => {
                let number = self.process_named(name)?;
                let served = self.memory_port(number).is_some_and(|port| port.object == capability.object);
                if served { Ok(number) } else { Err(Status::BadArgument) }
            }
            Some(Kind::Process | Kind::Endpoint) => Err(Status::MissingRight),
            _ => Err(Status::WrongKind),
        }
    }

    /// The process with this name, as a fault message tells it.
    pub(crate) fn process_named(&self, name: u64) -> Result<u32, Status> {
        let number = name as u32;
        let is_it = |process: &Process| process.exists() && process.name(number) == name;
        let named = self.processes.try_get(number).is_some_and(is_it);
        if named { Ok(number) } else { Err(Status::BadArgument) }
    }

    /// The process that `Unmap` is about: as above, or any of the world for who may end its epochs. That is who keeps its
    /// pages, and must be able to take them from a process that has another memory port by now, or none.
    fn unmap_target(&self, caller: Caller, name: u64) -> Result<u32, Status> {
        if self.named(caller, Rights::EPOCH_CUT).is_err() {
            return self.target_process(caller, name);
        }
        let number = self.process_named(name)?;
        if self.is_world_process(number) { Ok(number) } else { Err(Status::BadArgument) }
    }

    /// System call `Map`.
    pub(crate) fn map(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let arguments = self.cpus[caller.cpu].frame;
        let [first_page, pages, flags, epoch, name, ..] = arguments.words;
        let process = self.target_process(caller, name)?;
        let flags = MapFlags::from_bits(flags).ok_or(Status::BadArgument)?;
        require(!flags.contains(MapFlags::WRITE | MapFlags::EXECUTE), Status::BadArgument)?;
        Self::check_range(arguments.rdi, pages)?;
        let mut needed = Rights::MEMORY_MAP;
        needed.set(Rights::MEMORY_WRITE, flags.contains(MapFlags::WRITE));
        let (first, count) = self.given(caller, needed)?.range();
        if first_page.checked_add(pages).is_none_or(|end| end > u64::from(count)) {
            return Err(Status::BadRange);
        }
        let decided_late = flags.contains(MapFlags::WRITE) && self.is_world_process(process);
        if decided_late && Epoch::from_bits(epoch) != self.epoch() && self.started {
            return Err(Status::StaleEpoch);
        }
        require(self.processes.get(process).dying == 0, Status::PeerDied)?;
        let (mut replaced, mut page) = (false, 0);
        while page < pages {
            let address = arguments.rdi + page * abi::PAGE_SIZE as u64;
            let frame = first + (first_page + page) as u32;
            match self.map_run(m, process, Run { address, frame, pages: pages - page, flags }) {
                Ok((mapped, before)) => (page, replaced) = (page + mapped, replaced | before),
                // What has been mapped stays; the count says how far it came.
                Err(status) if page == 0 => return Err(status),
                Err(_) => break,
            }
        }
        if replaced {
            m.flush(self.cpus_with(process), (pages == 1).then_some(arguments.rdi));
        }
        Ok(Answer::Value(page))
    }

    /// System call `Unmap`.
    pub(crate) fn unmap(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let Registers { rdi: address, words: [pages, _, _, _, name, ..], .. } = self.cpus[caller.cpu].frame;
        let process = self.unmap_target(caller, name)?;
        self.change_pages(m, process, address, pages, |_, _| 0)
    }

    /// System call `Protect`.
    pub(crate) fn protect(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let Registers { rdi: address, words: [pages, flags, _, _, name, ..], .. } = self.cpus[caller.cpu].frame;
        let process = self.target_process(caller, name)?;
        let flags = MapFlags::from_bits(flags).ok_or(Status::BadArgument)?;
        let (keep, set) = Self::narrowing(flags);
        self.change_pages(m, process, address, pages, |_, entry| entry & keep | set)
    }

    /// System call `Accessed`.
    pub(crate) fn accessed(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let Registers { rdi: address, words: [pages, _, _, _, name, ..], .. } = self.cpus[caller.cpu].frame;
        let process = self.target_process(caller, name)?;
        let mut found = [0; WORDS];
        let mapped = self.change_pages(m, process, address, pages, |page, entry| {
            found[page / 64] |= u64::from(entry & ACCESSED != 0) << (page % 64);
            entry & !ACCESSED
        })?;
        self.cpus[caller.cpu].frame.words = found;
        Ok(mapped)
    }

    /// The first number of the range of an Interrupt capability.
    fn interrupt_line(&self, caller: Caller) -> Result<u32, Status> {
        let (first, _) = self.named(caller, Rights::INTERRUPT_BIND)?.range();
        if (first as usize) < self.bindings.len() { Ok(first) } else { Err(Status::BadRange) }
    }

    /// System call `BindInterrupt`.
    pub(crate) fn bind_interrupt(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let line = self.interrupt_line(caller)?;
        require(self.given(caller, Rights::SIGNAL)?.badge != 0, Status::BadArgument)?;
        let Caller { process, handle: interrupt, given: bell, .. } = caller;
        let process = self.processes.get(process).name(process);
        self.bindings[line as usize] = Binding { process, interrupt, bell };
        let (address, data) = m.route_interrupt(line);
        m.mask_interrupt(line, false);
        self.cpus[caller.cpu].frame.words[0] = data;
        Ok(Answer::Value(address))
    }

    /// System call `AckInterrupt`.
    pub(crate) fn ack_interrupt(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let line = self.interrupt_line(caller)?;
        // Nobody has said where it goes.
        self.bound_to(line).ok_or(Status::WrongState)?;
        m.mask_interrupt(line, false);
        Ok(Answer::Done)
    }

    /// A device interrupt arrived on `cpu`: line, or message number. A line stays masked until it is acknowledged.
    pub fn interrupt(&mut self, m: &mut impl Machine, cpu: usize, line: u32) {
        self.settle(m, cpu);
        if line < INTERRUPT_LINES {
            m.mask_interrupt(line, true);
        }
        if let Some((notification, badge)) = self.bound_to(line) {
            self.signal_bits(notification, badge);
        }
        self.dispatch(m, cpu);
    }

    /// The notification that an interrupt rings, and with what badge, if its process may still have both.
    fn bound_to(&self, line: u32) -> Option<(u32, u64)> {
        let Binding { process, interrupt, bell } = *self.bindings.get(line as usize)?;
        let process = self.process_named(process).ok()?;
        let of = |handle, needed| self.look_up(process, handle, needed).ok().map(|slot| self.capabilities.get(slot));
        let (first, _) = of(interrupt, Rights::INTERRUPT_BIND)?.range();
        let Capability { object, badge, .. } = *of(bell, Rights::SIGNAL)?;
        (first == line && badge != 0).then_some((object, badge))
    }

    /// The port and width of a port call, if the capability covers them.
    fn port_range(&self, caller: Caller) -> Result<(u16, u8), Status> {
        let (first, count) = self.named(caller, Rights::PORTS_USE)?.range();
        let Registers { rdi: port, words: [width, ..], .. } = self.cpus[caller.cpu].frame;
        require(matches!(width, 1 | 2 | 4), Status::BadArgument)?;
        let inside = port >= u64::from(first)
            && port.checked_add(width).is_some_and(|end| end <= u64::from(first) + u64::from(count));
        if inside { Ok((port as u16, width as u8)) } else { Err(Status::BadRange) }
    }

    /// System call `PortRead`.
    pub(crate) fn port_read(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let (port, width) = self.port_range(caller)?;
        Ok(Answer::Value(u64::from(m.port_read(port, width))))
    }

    /// System call `PortWrite`.
    pub(crate) fn port_write(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let (port, width) = self.port_range(caller)?;
        m.port_write(port, width, self.cpus[caller.cpu].frame.words[1] as u32);
        Ok(Answer::Done)
    }

    /// System call `DebugWrite`.
    pub(crate) fn debug_write(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let (first, count) = self.named(caller, Rights::PORTS_USE)?.range();
        require((first..first.saturating_add(count)).contains(&DEBUG_PORT), Status::BadRange)?;
        let frame = self.cpus[caller.cpu].frame;
        require(frame.rdi <= 64, Status::BadArgument)?;
        let mut bytes = [0; 64];
        for (place, word) in bytes.chunks_exact_mut(8).zip(frame.words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        m.debug_write(&bytes[..frame.rdi as usize]);
        Ok(Answer::Done)
    }
}
