//! Making a server's process: fresh pages, what the manifest grants, a thread.

use super::boot::System;
use super::chain::BuildError;
use super::memory::OwnMemory;
use super::server::{Lazy, Server};
use init::{BellTo, Found, Grant, Image, Link, NEWS_PAGE, STARTUP_PAGE, Source, Windows, fingerprint};
use libos::abi::boot_info::{FrameRange, INTERRUPT_LINES, handle};
use libos::abi::bundle::Bundle;
use libos::abi::protocol::service::Service;
use libos::abi::protocol::startup::{STARTUP_ADDRESS, StartupBuilder, WindowEntry, WindowFlags};
use libos::abi::protocol::wiring::{self, Bell, link, option};
use libos::abi::{Epoch, Handle, MapFlags, PAGE_SIZE, Rights};
use libos::{Budget, Capability, MapError, Mapping, Memory, Notification, Process, RangePart, Space, ThreadStart};
use zerocopy::IntoBytes;

/// Handles of a volatile server.
const HANDLES: u64 = 256;
/// Where the debug serial port lies among the I/O ports, and how many it has.
const DEBUG_PORTS: RangePart = RangePart { offset: 0x3f8, length: 8 };

/// A process while it is made.
pub(super) struct Making<'s> {
    pub(super) server: &'s mut Server,
    image: &'s Image,
    pub(super) process: Process,
    pub(super) windows: Windows,
    pub(super) page: StartupBuilder,
}

impl System {
    /// Starts the server at `place` with fresh memory. Its device, if it wants one, is `found`.
    pub(crate) fn spawn(&mut self, place: usize, found: Option<Found>) -> Result<(), BuildError> {
        let Some(mut server) = self.servers.get(place) else { return Err(BuildError::NoProgram) };
        server.lazy = init::List::new();
        let image = self.image(&server.planned)?;
        let process = Budget(handle::BUDGET).process(HANDLES)?;
        server.process = Some(process);
        server.news.life += 1;
        self.servers.set(place, server);
        self.memory.zero(server.own, server.own_pages);
        process.set_memory_port(self.faults, place as u64 + 1)?;
        let page = StartupBuilder::new(server.name())?;
        let mut making = Making { server: &mut server, image: &image, process, windows: Windows::new(), page };
        let own = making.server.own;
        map_image(process, making.image, &self.bundle, &self.memory, own, Epoch::NONE)?;
        self.give_common(&mut making)?;
        for grant in making.server.planned.grants() {
            self.give(&mut making, place, grant, found)?;
        }
        let Making { page, .. } = making;
        self.memory.write(server.own + STARTUP_PAGE, page.finish().as_bytes());
        let start = ThreadStart {
            entry: image.entry,
            stack: image.stack,
            argument: STARTUP_ADDRESS,
            priority: server.planned.service.priority(),
        };
        let thread = Budget(handle::BUDGET).thread(process, start)?;
        // The news come before the thread, so that it never sees an older port than its clients.
        self.servers.set(place, server);
        if server.planned.has(Grant::Link(Link::Lent)) {
            self.introduce(place)?;
        }
        self.tell_port(place);
        thread.start()?;
        let _ = Capability(thread.0).drop();
        Ok(())
    }

    /// What every server has: its notification, its news, the page of epochs.
    fn give_common(&self, making: &mut Making<'_>) -> Result<(), BuildError> {
        making.grant(wiring::WAKE, Capability(making.server.wake.0), Rights::WAIT, 0)?;
        let news = making.server.own + NEWS_PAGE;
        self.pool_window(making, wiring::NEWS, news, 1, false)?;
        if !making.server.planned.has(Grant::Epochs) {
            self.pool_window(making, wiring::EPOCHS, self.epochs_page, 1, false)?;
        }
        Ok(())
    }

    /// One word of the manifest.
    fn give(
        &mut self,
        making: &mut Making<'_>,
        place: usize,
        grant: Grant,
        found: Option<Found>,
    ) -> Result<(), BuildError> {
        let epoch = Capability(handle::EPOCH);
        match grant {
            Grant::Debug => {
                let ports = Capability(handle::PORTS).copy(Rights::PORTS_USE | Rights::COPY, 0, DEBUG_PORTS)?;
                making.grant_once(wiring::DEBUG, ports, Rights::PORTS_USE)
            }
            Grant::EpochCut => making.grant(wiring::EPOCH, epoch, Rights::EPOCH_CUT, 0),
            Grant::EpochRecords => making.grant(wiring::EPOCH, epoch, Rights::EPOCH_RECORDS, 0),
            Grant::Epochs => {
                self.pool_window(making, wiring::EPOCHS, self.epochs_page, 1, true)?;
                making.number(option::PROGRAMS, fingerprint(&self.bundle, &self.plan))?;
                if let Some(asked) = self.asked {
                    making.number(option::EPOCH, asked.bits())?;
                }
                making.grant(link::EPOCHS_BELL, Capability(self.bell.0), Rights::SIGNAL, Bell::EPOCHS.bits())
            }
            Grant::Ram { write } => self.give_ram(making, write),
            Grant::Buffers { pages } => self.give_buffers(making, pages.into()),
            Grant::Link(link) => self.give_link(making, place, link),
            Grant::Bell(bell) => {
                let (name, bit) = match bell {
                    BellTo::Output => (link::OUTPUT_BELL, Bell::OUTPUT),
                    BellTo::Console => (link::CONSOLE_BELL, Bell::EPOCHS),
                };
                let rung = self.plan.rung_by(bell).and_then(|place| self.servers.get(place));
                let wake = rung.map_or(self.bell, |server| server.wake);
                making.grant(name, Capability(wake.0), Rights::SIGNAL, bit.bits())
            }
            // Ports come with the world: `tell_port`.
            Grant::Port(_) => Ok(()),
            Grant::Ports { first, count } => {
                let part = RangePart { offset: first.into(), length: count.into() };
                let ports = Capability(handle::PORTS).copy(Rights::PORTS_USE | Rights::COPY, 0, part)?;
                making.grant_once(wiring::PORTS, ports, Rights::PORTS_USE)
            }
            Grant::Line(line) => making.interrupt(line.into()),
            Grant::MessageInterrupt => {
                let message = making.server.message.unwrap_or(0);
                making.interrupt(u64::from(INTERRUPT_LINES) + message)
            }
            Grant::Device(_) => match found {
                Some(found) => self.give_device(making, &found),
                None => Ok(()),
            },
            Grant::Devices => self.give_all_devices(making),
            Grant::Serve(_) | Grant::Call(_) | Grant::Use(_) | Grant::Tend(_) => Ok(()),
        }
    }

    /// A window onto pages of init's pool.
    fn pool_window(
        &self,
        making: &mut Making<'_>,
        name: &str,
        first: u64,
        pages: u64,
        write: bool,
    ) -> Result<(), BuildError> {
        let address = making.windows.take(pages)?;
        let flags = if write { MapFlags::WRITE } else { MapFlags::empty() };
        let at = Mapping { address, memory: self.memory.memory, first_page: first, pages, flags, epoch: Epoch::NONE };
        Space::Own(making.process).map_all(at)?;
        making.page.window(name, self.memory.entry(address, first, pages, write))?;
        Ok(())
    }

    /// The memory of the world: mapped as it is touched.
    fn give_ram(&self, making: &mut Making<'_>, write: bool) -> Result<(), BuildError> {
        let range = self.memory.ram_range;
        let address = making.windows.take(range.count)?;
        let mut rights = Rights::MEMORY_MAP;
        let (mut flags, mut map) = (WindowFlags::empty(), MapFlags::empty());
        if write {
            (rights, flags, map) = (rights | Rights::MEMORY_WRITE | Rights::COPY, WindowFlags::WRITE, MapFlags::WRITE);
        }
        let there = making.process.grant(Capability(self.memory.ram.0), rights, 0)?;
        making.page.handle(wiring::RAM, there)?;
        let bytes = range.count * PAGE_SIZE as u64;
        making
            .page
            .window(wiring::RAM, WindowEntry { address, bytes, first_frame: range.first, flags, handle: there })?;
        let lazy = Lazy { address, memory: self.memory.ram, range, flags: map };
        making.server.lazy.push(lazy).map_err(|_| BuildError::Windows(init::WindowsFull))
    }

    /// Pages of its own whose frames it may tell a device.
    fn give_buffers(&self, making: &mut Making<'_>, pages: u64) -> Result<(), BuildError> {
        let first = making.server.own + making.image.buffers;
        let part = self.memory.part(first, pages)?;
        let there = making.process.grant(Capability(part.0), Rights::MEMORY_MAP | Rights::MEMORY_WRITE, 0)?;
        let _ = Capability(part.0).drop();
        making.page.handle(wiring::BUFFERS, there)?;
        let address = making.windows.take(pages)?;
        let at = Mapping {
            address,
            memory: self.memory.memory,
            first_page: first,
            pages,
            flags: MapFlags::WRITE,
            epoch: Epoch::NONE,
        };
        Space::Own(making.process).map_all(at)?;
        let entry = WindowEntry { handle: there, ..self.memory.entry(address, first, pages, true) };
        making.page.window(wiring::BUFFERS, entry)?;
        Ok(())
    }

    /// One end of a link.
    fn give_link(&mut self, making: &mut Making<'_>, place: usize, link: Link) -> Result<(), BuildError> {
        let area = self.area(link);
        let borrows = link == Link::Lent && !making.server.planned.has(Grant::Port(Service::Memory));
        self.pool_window(making, link.name(), area.first, area.pages, !borrows)?;
        if borrows {
            self.let_borrow(making)?;
        }
        let other = self.plan.other_end(link, place).and_then(|other| self.servers.get(other));
        let wake = other.map_or(self.bell, |server| server.wake);
        making.grant(link.bell(), Capability(wake.0), Rights::SIGNAL, bell_of(link).bits())
    }

    /// A device's registers, and where its message interrupts are.
    fn give_device(&self, making: &mut Making<'_>, found: &Found) -> Result<(), BuildError> {
        self.device_window(making, wiring::REGISTERS, found.registers)?;
        let (Some(bar), Some(table)) = (found.messages, found.device.messages) else { return Ok(()) };
        self.device_window(making, wiring::MESSAGES, bar)?;
        making.number(option::MESSAGE_OFFSET, table.offset.into())?;
        making.number(option::MESSAGE_VECTORS, table.vectors.into())
    }

    fn device_window(&self, making: &mut Making<'_>, name: &str, bar: init::Bar) -> Result<(), BuildError> {
        let range = FrameRange { first: bar.base / PAGE_SIZE as u64, count: bar.bytes / PAGE_SIZE as u64 };
        let flags = WindowFlags::WRITE | WindowFlags::DEVICE;
        self.foreign_window(making, name, handle::DEVICES, range, flags)
    }

    /// A window onto frames that are not memory, out of init's capability to a larger range.
    fn foreign_window(
        &self,
        making: &mut Making<'_>,
        name: &str,
        from: Handle,
        range: FrameRange,
        flags: WindowFlags,
    ) -> Result<(), BuildError> {
        let whole = range_of(Memory(from)).ok_or(libos::MapError::BadRange)?;
        let first_page = range.first.checked_sub(whole.first).ok_or(libos::MapError::BadRange)?;
        let (address, pages) = (making.windows.take(range.count)?, range.count);
        let mut map = MapFlags::empty();
        map.set(MapFlags::WRITE, flags.contains(WindowFlags::WRITE));
        map.set(MapFlags::DEVICE, flags.contains(WindowFlags::DEVICE));
        let at = Mapping { address, memory: Memory(from), first_page, pages, flags: map, epoch: Epoch::NONE };
        Space::Own(making.process).map_all(at)?;
        let bytes = pages * PAGE_SIZE as u64;
        let entry = WindowEntry { address, bytes, first_frame: range.first, flags, handle: Handle::NULL };
        making.page.window(name, entry)?;
        Ok(())
    }

    /// Everything that is not memory, for the platform driver.
    fn give_all_devices(&self, making: &mut Making<'_>) -> Result<(), BuildError> {
        let process = Capability(making.process.0);
        making.grant(wiring::PROCESS, process, Rights::PROCESS_MAP, 0)?;
        let rights = Rights::MEMORY_MAP | Rights::MEMORY_WRITE;
        making.grant(wiring::NON_MEMORY, Capability(handle::DEVICES), rights, 0)?;
        if let Some(low) = range_of(Memory(handle::FIRMWARE)) {
            self.foreign_window(making, wiring::FIRMWARE, handle::FIRMWARE, low, WindowFlags::empty())?;
        }
        match self.info.raw().rsdp {
            0 => Ok(()),
            rsdp => making.number(option::RSDP, rsdp),
        }
    }
}

impl Making<'_> {
    /// Puts a copy of `what` into the server's table and names it.
    fn grant(&mut self, name: &str, what: Capability, rights: Rights, badge: u64) -> Result<(), BuildError> {
        let there = self.process.grant(what, rights, badge)?;
        self.page.handle(name, there)?;
        Ok(())
    }

    /// The same for a capability that was made for this and is then dropped.
    fn grant_once(&mut self, name: &str, what: Capability, rights: Rights) -> Result<(), BuildError> {
        let granted = self.grant(name, what, rights, 0);
        let _ = what.drop();
        granted
    }

    /// An interrupt, and the bell to bind it to.
    fn interrupt(&mut self, number: u64) -> Result<(), BuildError> {
        let part = RangePart { offset: number, length: 1 };
        let interrupt = Capability(handle::INTERRUPTS).copy(Rights::INTERRUPT_BIND | Rights::COPY, 0, part)?;
        self.grant_once(wiring::INTERRUPT, interrupt, Rights::INTERRUPT_BIND)?;
        let wake = Capability(self.server.wake.0);
        self.grant(wiring::INTERRUPT_BELL, wake, Rights::SIGNAL, Bell::INTERRUPT.bits())
    }

    /// A hexadecimal option.
    fn number(&mut self, key: &str, value: u64) -> Result<(), BuildError> {
        let mut word = Word { bytes: [0; 64], used: 0 };
        // The buffer holds the longest name and 16 digits; what did not fit would be no option that anybody asks for.
        let _ = core::fmt::write(&mut word, format_args!("{key}={value:#x}"));
        self.page.option(word.text())?;
        Ok(())
    }
}

/// Maps an image into a process: what it may only read where it lies in the bundle, the rest out of init's pool, from
/// page `own` on. For a process of the world that runs, `epoch` is the running one.
pub(crate) fn map_image(
    process: Process,
    image: &Image,
    bundle: &Bundle<'_>,
    from: &OwnMemory,
    own: u64,
    epoch: Epoch,
) -> Result<(), MapError> {
    let bundle_page = |page: u64| page as usize * PAGE_SIZE;
    for filled in image.filled.iter() {
        let start = bundle_page(filled.bundle_page);
        let bytes = bundle.bytes().get(start..start + bundle_page(filled.pages)).unwrap_or(&[]);
        from.write(own + filled.own_page, bytes);
    }
    for piece in image.pieces.iter() {
        let (memory, first_page) = match piece.source {
            Source::Bundle(page) => (Memory(handle::BUNDLE), page),
            Source::Own(page) => (from.memory, own + page),
        };
        let (address, pages, flags) = (piece.address, piece.pages, piece.flags);
        Space::Own(process).map_all(Mapping { address, memory, first_page, pages, flags, epoch })?;
    }
    Ok(())
}

/// The bit that a link's other end is rung with.
pub(crate) const fn bell_of(link: Link) -> Bell {
    match link {
        Link::Paging => Bell::PAGING,
        Link::Block => Bell::BLOCK,
        Link::Genesis => Bell::GENESIS,
        Link::Devices => Bell::DEVICES,
        Link::Lent => Bell::LENT,
    }
}

/// A short text.
struct Word {
    bytes: [u8; 64],
    used: usize,
}

impl Word {
    fn text(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.used]).unwrap_or_default()
    }
}

impl core::fmt::Write for Word {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.used + text.len();
        self.bytes.get_mut(self.used..end).ok_or(core::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

/// A range as the kernel's identify gives it.
pub(crate) fn range_of(memory: Memory) -> Option<FrameRange> {
    let identity = Capability(memory.0).identify().ok()?;
    Some(FrameRange { first: identity.offset, count: identity.length })
}

/// Rings a server.
pub(crate) fn ring(wake: Notification, bell: Bell) {
    let copy = Capability(wake.0).copy(Rights::SIGNAL, bell.bits(), RangePart::default());
    if let Ok(signal) = copy {
        // A server that is being restarted looks for itself when it starts.
        let _ = Notification(signal.0).signal();
        let _ = signal.drop();
    }
}
