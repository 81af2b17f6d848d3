//! Processes and their address spaces.

use crate::error::errors;
use crate::message::Message;
use crate::raw::{Window, syscall};
use crate::{Capability, Endpoint, EpochControl, Memory};
use abi::protocol::startup::WindowFlags;
use abi::{Call, Control, Epoch, Handle, MAP_PAGES_MAX, MapFlags, PAGE_SIZE, Rights, WORDS};

errors! {
    /// Why the process did not get the capability.
    GrantError {
        BadHandle, WrongKind, MissingRight, BadArgument, Revoked, PeerTableFull, WorldClosed, PeerDied,
        TablesExhausted, BudgetExhausted,
    }
    /// Why its faults go where they went.
    SetMemoryPortError {
        BadHandle, WrongKind, MissingRight, BadArgument, Revoked, WorldClosed, PeerDied, TablesExhausted,
    }
    /// Why nothing (more) was mapped.
    MapError {
        BadHandle, WrongKind, MissingRight, BadArgument, Revoked, BadAddress, BadRange, PoolExhausted, StaleEpoch,
        PeerDied, WrongState, WorldClosed, Busy,
    }
    /// Why mappings stayed.
    UnmapError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, BadAddress, PeerDied }
}

/// A capability to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(pub Handle);

/// A process as fault messages name it, for the server of its memory port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessName(pub u64);

/// Whose page tables are meant: a process by capability, or one whose memory port the caller serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// By a capability with the right PROCESS_MAP.
    Own(Process),
    /// By the memory port's receiving capability and the name from a fault message.
    Served(Endpoint, ProcessName),
    /// Any process of the world, by the right to end its epochs and a name: to take pages from it, and for nothing else.
    OfWorld(EpochControl, ProcessName),
}

impl Space {
    #[inline]
    fn name(self) -> (Handle, u64) {
        match self {
            Self::Own(process) => (process.0, 0),
            Self::Served(port, process) => (port.0, process.0),
            Self::OfWorld(epoch, process) => (epoch.0, process.0),
        }
    }

    /// Maps up to 512 pages; returns how many. `epoch` is the one in which a writable mapping of tracked frames was
    /// decided ([`Epoch::NONE`] for untracked ones).
    #[inline]
    pub fn map(self, at: Mapping) -> Result<u64, MapError> {
        let (handle, process) = self.name();
        let message = Message::tagged(at.address)
            .word(0, at.first_page)
            .word(1, at.pages)
            .word(2, at.flags.bits())
            .word(3, at.epoch.bits())
            .word(4, process)
            .cap(0, at.memory.0);
        let (outcome, frame) = syscall(Control::new(Call::Map, handle).with_flags(1), message.frame());
        MapError::check(outcome)?;
        Ok(frame.tag)
    }

    /// Maps as many pages as asked, in as many calls as it takes; on an error some may be mapped.
    pub fn map_all(self, mut at: Mapping) -> Result<(), MapError> {
        let mut left = at.pages;
        while left > 0 {
            at.pages = left.min(MAP_PAGES_MAX);
            let mapped = self.map(at)?;
            assert!(mapped > 0 && mapped <= at.pages, "a mapping that succeeds maps something");
            at.address += mapped * PAGE_SIZE as u64;
            at.first_page += mapped;
            left -= mapped;
        }
        Ok(())
    }

    /// Removes what is mapped in up to 512 pages; returns how many were.
    pub fn unmap(self, address: u64, pages: u64) -> Result<u64, UnmapError> {
        self.change(Call::Unmap, address, pages, MapFlags::empty())
    }

    /// Narrows the rights of up to 512 pages; returns how many were mapped.
    pub fn protect(self, address: u64, pages: u64, flags: MapFlags) -> Result<u64, UnmapError> {
        self.change(Call::Protect, address, pages, flags)
    }

    /// Which of up to 512 pages have been accessed since they were mapped or since this was last asked: bit i of word w
    /// is page 64 w + i.
    pub fn accessed(self, address: u64, pages: u64) -> Result<[u64; WORDS], UnmapError> {
        self.ask(Call::Accessed, address, pages, MapFlags::empty()).map(|(_, words)| words)
    }

    fn change(self, call: Call, address: u64, pages: u64, flags: MapFlags) -> Result<u64, UnmapError> {
        self.ask(call, address, pages, flags).map(|(changed, _)| changed)
    }

    fn ask(self, call: Call, address: u64, pages: u64, flags: MapFlags) -> Result<(u64, [u64; WORDS]), UnmapError> {
        let (handle, process) = self.name();
        let message = Message::tagged(address).word(0, pages).word(1, flags.bits()).word(4, process);
        let (outcome, frame) = syscall(Control::new(call, handle), message.frame());
        UnmapError::check(outcome)?;
        Ok((frame.tag, frame.words))
    }
}

/// What is mapped where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Page-aligned user address.
    pub address: u64,
    /// The frames.
    pub memory: Memory,
    /// First page within `memory`.
    pub first_page: u64,
    /// How many.
    pub pages: u64,
    /// What is allowed.
    pub flags: MapFlags,
    /// See [`Space::map`].
    pub epoch: Epoch,
}

impl Process {
    /// The calling process, where its maker put a capability to it.
    pub const OWN: Self = Self(Handle::PROCESS);

    /// Puts a copy of `what`, with at most `rights` and with `badge` (0 keeps it), into the process's table.
    pub fn grant(self, what: Capability, rights: Rights, badge: u64) -> Result<Handle, GrantError> {
        let message = Message::tagged(rights.bits().into()).word(0, badge).cap(0, what.0);
        let (outcome, frame) = syscall(Control::new(Call::Grant, self.0).with_flags(1), message.frame());
        GrantError::check(outcome)?;
        Ok(Handle(frame.tag as u16))
    }

    /// Sends its faults to `port`, with `badge`.
    pub fn set_memory_port(self, port: Endpoint, badge: u64) -> Result<(), SetMemoryPortError> {
        let message = Message::tagged(badge).cap(0, port.0);
        let (outcome, _) = syscall(Control::new(Call::SetMemoryPort, self.0).with_flags(1), message.frame());
        SetMemoryPortError::check(outcome)
    }

    /// Maps untracked frames into the calling process, of which this must be a capability, at an address between
    /// `WINDOWS_START` and `WINDOWS_END`, and returns the window. On an error some pages may be mapped.
    pub fn map_window(self, at: Mapping, fixed: bool) -> Result<Window, MapError> {
        let mut flags = WindowFlags::empty();
        flags.set(WindowFlags::WRITE, at.flags.contains(MapFlags::WRITE));
        flags.set(WindowFlags::DEVICE, at.flags.contains(MapFlags::DEVICE));
        flags.set(WindowFlags::FIXED, fixed);
        let bytes = at.pages.saturating_mul(PAGE_SIZE as u64);
        let window = Window::of_mapping(at.address, bytes, flags).ok_or(MapError::BadAddress)?;
        Space::Own(self).map_all(at)?;
        Ok(window)
    }
}
