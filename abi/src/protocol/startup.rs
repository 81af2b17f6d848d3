//! What a program is told when it starts: one page, mapped read-only, its address in the program's argument (rdi).
//!
//! It names the capabilities that the maker of the process put into its table, the memory that was mapped for it, and
//! its options. Volatile programs get it from init, programs of the world from the genesis (there it is a page of
//! the world like any other, and is there again after a restore). Raw form first, checked form after.
//!
//! Also here: how a program ends. There is no call for it. A program reads from [`exit_address`], which is never mapped,
//! and whoever serves its faults learns the code from the address.

use crate::bundle::Name;
use crate::{Handle, PAGE_SIZE, USER_START};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Where init and the genesis put the page; programs take the address from their argument.
pub const STARTUP_ADDRESS: u64 = 0x7fe0_0000_0000;
/// One past the highest byte of a program's stack as init and the genesis lay it out; the page there is unmapped.
pub const STACK_TOP: u64 = 0x7fd0_0000_0000;
/// Windows that are mapped for a program lie from here …
pub const WINDOWS_START: u64 = 0x1000_0000_0000;
/// … to here. No program segment and no stack lies between.
pub const WINDOWS_END: u64 = 0x7f00_0000_0000;
/// "PerenniS".
pub const STARTUP_MAGIC: u64 = u64::from_le_bytes(*b"PerenniS");
/// Version of this layout.
pub const STARTUP_VERSION: u32 = 1;
/// Named handles, at most.
pub const HANDLES_MAX: usize = 32;
/// Named windows, at most.
pub const WINDOWS_MAX: usize = 24;
/// Bytes of options, at most.
pub const OPTIONS_BYTES_MAX: usize = 768;

/// The code of a program that has done its work.
pub const EXIT_DONE: u8 = 0;
/// The code of a first program that cannot work on this machine, or with what was loaded; it has said why.
pub const EXIT_REFUSED: u8 = 2;
/// The code of a program that stopped itself (a panic): one of its own invariants was broken.
pub const EXIT_PANIC: u8 = 101;
const EXIT_BASE: u64 = 0x8000;

/// The address whose read ends a program with `code`.
pub const fn exit_address(code: u8) -> u64 {
    EXIT_BASE + code as u64 * 8
}

/// The code with which a program ended that faulted at `address`; `None` when it was an ordinary fault.
pub const fn exit_code(address: u64) -> Option<u8> {
    if address < EXIT_BASE || address > exit_address(u8::MAX) || !address.is_multiple_of(8) {
        return None;
    }
    Some(((address - EXIT_BASE) / 8) as u8)
}

const _: () = assert!(exit_address(u8::MAX) + 8 <= USER_START);

bitflags::bitflags! {
    /// What a window is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct WindowFlags: u32 {
        /// The program may write to it.
        const WRITE = 1;
        /// Device registers, uncached.
        const DEVICE = 2;
        /// Nobody writes to it while the program lives.
        const FIXED = 4;
    }
}

/// A capability of the program.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawNamedHandle {
    /// What the program knows it by.
    pub name: Name,
    /// The handle.
    pub handle: u16,
    /// Zero.
    pub reserved: [u16; 3],
}

/// Memory that is mapped for the program.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawNamedWindow {
    /// What the program knows it by.
    pub name: Name,
    /// First byte, page-aligned.
    pub address: u64,
    /// Length; whole pages are mapped.
    pub bytes: u64,
    /// First frame, when the frames are consecutive and the program may know them (device memory); else 0.
    pub first_frame: u64,
    /// [`WindowFlags`].
    pub flags: u32,
    /// The Memory capability behind it, or the null handle.
    pub handle: u16,
    /// Zero.
    pub reserved: u16,
}

/// The page, as it lies in memory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawStartup {
    /// [`STARTUP_MAGIC`].
    pub magic: u64,
    /// [`STARTUP_VERSION`].
    pub version: u32,
    /// How many of `handles` are there.
    pub handle_count: u16,
    /// How many of `windows` are there.
    pub window_count: u16,
    /// How many bytes of `options` are there.
    pub options_bytes: u16,
    /// Zero.
    pub reserved: [u16; 7],
    /// Name of the service.
    pub name: Name,
    /// Capabilities by name.
    pub handles: [RawNamedHandle; HANDLES_MAX],
    /// Windows by name.
    pub windows: [RawNamedWindow; WINDOWS_MAX],
    /// `key=value` words, separated by spaces; UTF-8.
    pub options: [u8; OPTIONS_BYTES_MAX],
}

const _: () = assert!(size_of::<RawStartup>() <= PAGE_SIZE);
const _: () = assert!(size_of::<RawNamedHandle>() == 40 && size_of::<RawNamedWindow>() == 64);

/// Why a page is not a startup page this build understands: its maker is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartupError {
    /// Not a startup page at all.
    Foreign,
    /// Of another version (which one).
    Version(u32),
    /// A count leaves its array, or the options are not UTF-8.
    Malformed,
    /// This entry of the handles is unnamed or null.
    Handle(u16),
    /// This entry of the windows is unnamed, not aligned, empty, or outside the range for windows.
    Window(u16),
}

/// Checked view of the page.
#[derive(Clone, Copy, Debug)]
pub struct StartupPage<'a>(&'a RawStartup);

impl<'a> StartupPage<'a> {
    /// Checks the page.
    pub fn new(raw: &'a RawStartup) -> Result<Self, StartupError> {
        if raw.magic != STARTUP_MAGIC {
            return Err(StartupError::Foreign);
        }
        if raw.version != STARTUP_VERSION {
            return Err(StartupError::Version(raw.version));
        }
        let handles = raw.handles.get(..raw.handle_count as usize).ok_or(StartupError::Malformed)?;
        let windows = raw.windows.get(..raw.window_count as usize).ok_or(StartupError::Malformed)?;
        let options = raw.options.get(..raw.options_bytes as usize).ok_or(StartupError::Malformed)?;
        core::str::from_utf8(options).map_err(|_| StartupError::Malformed)?;
        for (index, entry) in (0..).zip(handles) {
            if !entry.name.is_valid() || entry.handle == 0 {
                return Err(StartupError::Handle(index));
            }
        }
        for (index, entry) in (0..).zip(windows) {
            let end = entry.address.checked_add(entry.bytes).filter(|end| *end <= WINDOWS_END);
            let aligned = entry.address.is_multiple_of(PAGE_SIZE as u64) && entry.address >= WINDOWS_START;
            if !entry.name.is_valid() || !aligned || entry.bytes == 0 || end.is_none() {
                return Err(StartupError::Window(index));
            }
        }
        Ok(Self(raw))
    }

    /// Name of the service.
    pub fn name(&self) -> &'a str {
        self.0.name.as_str()
    }

    /// The capability called `name`.
    pub fn handle(&self, name: &str) -> Option<Handle> {
        let entries = self.0.handles.get(..self.0.handle_count as usize)?;
        entries.iter().find(|entry| entry.name.as_str() == name).map(|entry| Handle(entry.handle))
    }

    /// The window called `name`.
    pub fn window(&self, name: &str) -> Option<&'a RawNamedWindow> {
        let entries = self.0.windows.get(..self.0.window_count as usize)?;
        entries.iter().find(|entry| entry.name.as_str() == name)
    }

    /// All windows.
    pub fn windows(&self) -> &'a [RawNamedWindow] {
        self.0.windows.get(..self.0.window_count as usize).unwrap_or(&[])
    }

    /// The value of `key=value` among the options, or the empty string for a bare `key`.
    pub fn option(&self, key: &str) -> Option<&'a str> {
        let options = self.0.options.get(..self.0.options_bytes as usize)?;
        core::str::from_utf8(options).ok()?.split_ascii_whitespace().find_map(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            (name == key).then_some(value)
        })
    }
}

/// Why an entry cannot be added to a page; whoever planned the process is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartupFull {
    /// Not a valid name.
    Name,
    /// No room for another entry of this kind.
    NoRoom,
}

/// Fills a page.
pub struct StartupBuilder(RawStartup);

impl StartupBuilder {
    /// A page for the service `name`.
    pub fn new(name: &str) -> Result<Self, StartupFull> {
        let mut raw = RawStartup::new_zeroed();
        raw.magic = STARTUP_MAGIC;
        raw.version = STARTUP_VERSION;
        raw.name = Name::new(name).ok_or(StartupFull::Name)?;
        Ok(Self(raw))
    }

    /// Names a capability.
    pub fn handle(&mut self, name: &str, handle: Handle) -> Result<(), StartupFull> {
        let entry = self.0.handles.get_mut(self.0.handle_count as usize).ok_or(StartupFull::NoRoom)?;
        entry.name = Name::new(name).ok_or(StartupFull::Name)?;
        entry.handle = handle.0;
        self.0.handle_count += 1;
        Ok(())
    }

    /// Names a window of `bytes` at `address`.
    pub fn window(&mut self, name: &str, window: WindowEntry) -> Result<(), StartupFull> {
        let entry = self.0.windows.get_mut(self.0.window_count as usize).ok_or(StartupFull::NoRoom)?;
        *entry = RawNamedWindow {
            name: Name::new(name).ok_or(StartupFull::Name)?,
            address: window.address,
            bytes: window.bytes,
            first_frame: window.first_frame,
            flags: window.flags.bits(),
            handle: window.handle.0,
            reserved: 0,
        };
        self.0.window_count += 1;
        Ok(())
    }

    /// Adds `key=value` (or a bare `key`).
    pub fn option(&mut self, word: &str) -> Result<(), StartupFull> {
        let used = self.0.options_bytes as usize;
        let end = used + word.len() + 1;
        let room = self.0.options.get_mut(used..end).ok_or(StartupFull::NoRoom)?;
        room[..word.len()].copy_from_slice(word.as_bytes());
        room[word.len()] = b' ';
        self.0.options_bytes = end as u16;
        Ok(())
    }

    /// The page.
    pub fn finish(self) -> RawStartup {
        self.0
    }
}

/// What a window is, to name it in a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowEntry {
    /// First byte, page-aligned.
    pub address: u64,
    /// Length.
    pub bytes: u64,
    /// First frame or 0.
    pub first_frame: u64,
    /// What it is.
    pub flags: WindowFlags,
    /// The Memory capability behind it, or the null handle.
    pub handle: Handle,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> RawStartup {
        let mut page = StartupBuilder::new("pager").expect("name");
        page.handle("memory-port", Handle(7)).expect("room");
        let window = WindowEntry { address: WINDOWS_START, bytes: 8192, first_frame: 9, ..WindowEntry::default() };
        page.window("ram", window).expect("room");
        page.option("quiet").expect("room");
        page.option("pages=12").expect("room");
        page.finish()
    }

    #[test]
    fn what_is_named_is_found() {
        let raw = sample();
        let page = StartupPage::new(&raw).expect("valid");
        assert_eq!(page.name(), "pager");
        assert_eq!(page.handle("memory-port"), Some(Handle(7)));
        assert_eq!(page.handle("memory"), None);
        assert_eq!(page.window("ram").map(|window| (window.bytes, window.first_frame)), Some((8192, 9)));
        assert_eq!((page.option("quiet"), page.option("pages"), page.option("page")), (Some(""), Some("12"), None));
    }

    #[test]
    fn foreign_pages_are_refused() {
        let mut raw = sample();
        raw.windows[0].address = WINDOWS_END - 4096;
        assert_eq!(StartupPage::new(&raw).err(), Some(StartupError::Window(0)));
        raw.handles[0].handle = 0;
        assert_eq!(StartupPage::new(&raw).err(), Some(StartupError::Handle(0)));
        raw.handle_count = 99;
        assert_eq!(StartupPage::new(&raw).err(), Some(StartupError::Malformed));
        raw.version = 2;
        assert_eq!(StartupPage::new(&raw).err(), Some(StartupError::Version(2)));
        raw.magic = 0;
        assert_eq!(StartupPage::new(&raw).err(), Some(StartupError::Foreign));
    }

    #[test]
    fn a_full_page_says_so() {
        let mut page = StartupBuilder::new("x").expect("name");
        for _ in 0..HANDLES_MAX {
            page.handle("h", Handle(1)).expect("room");
        }
        assert_eq!(page.handle("h", Handle(1)), Err(StartupFull::NoRoom));
        assert_eq!(page.handle("", Handle(1)), Err(StartupFull::NoRoom));
        assert_eq!(page.option(core::str::from_utf8(&[b'x'; 800]).expect("ascii")), Err(StartupFull::NoRoom));
    }

    #[test]
    fn exit_codes_come_back() {
        for code in 0..=u8::MAX {
            assert_eq!(exit_code(exit_address(code)), Some(code));
        }
        assert_eq!(exit_code(0), None);
        assert_eq!(exit_code(exit_address(3) + 1), None);
    }
}
