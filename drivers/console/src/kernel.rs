//! The library's traits over the kernel's calls.

use console::World;
use libos::abi::protocol::console::{Answer, Error};
use libos::abi::protocol::lent::{self, LentName};
use libos::abi::{Epoch, Handle, Kind, PAGE_SIZE};
use libos::mmio::Ports;
use libos::{Capability, IoPorts, Message, ReadWords, SavedReply};

/// I/O ports by the kernel's calls.
pub(crate) struct KernelPorts {
    ports: IoPorts,
    first: u16,
    count: u16,
}

impl KernelPorts {
    /// All ports of the capability.
    pub(crate) fn of(handle: Handle) -> Self {
        let Ok(range) = Capability(handle).identify() else { panic!("the ports cannot be identified") };
        Self { ports: IoPorts(handle), first: range.offset as u16, count: range.length as u16 }
    }

    fn port(&self, offset: u16) -> u16 {
        assert!(offset < self.count, "port {offset} of {}", self.count);
        self.first + offset
    }
}

impl Ports for KernelPorts {
    fn count(&self) -> u16 {
        self.count
    }

    fn read_u8(&self, offset: u16) -> u8 {
        // A port that cannot be read is one without a device.
        self.ports.read(self.port(offset), 1).map_or(u8::MAX, |value| value as u8)
    }

    fn write_u8(&self, offset: u16, value: u8) {
        let _ = self.ports.write(self.port(offset), 1, value.into());
    }
}

/// A call whose Reply has been put aside. Dropping it gives the handle back: whoever waited then hears that it was
/// abandoned, unless the world it waited in has gone.
#[derive(Debug)]
pub(crate) struct Caller(Handle);

impl Caller {
    /// Puts the Reply that the thread holds aside; `None` when there is no handle for it.
    pub(crate) fn put_aside() -> Option<Self> {
        libos::save_reply().ok().map(|saved| Self(saved.0))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = Capability(self.0).drop();
    }
}

/// The world behind the port, and what of it is lent.
pub(crate) struct KernelWorld {
    pages: ReadWords,
    table: ReadWords,
    /// Which life of this server's this is: what an earlier one was told does not count.
    life: u32,
}

impl KernelWorld {
    /// Over the windows of what is lent and whose it is. Nothing is, before this life is known.
    pub(crate) const fn new(pages: ReadWords, table: ReadWords) -> Self {
        Self { pages, table, life: 0 }
    }

    /// Which life this is, once init has said so.
    pub(crate) const fn is_in_life(&mut self, life: u32) {
        self.life = life;
    }

    /// What the capability that came with a call names, if it is one of the memory port: nobody else can make such a one.
    pub(crate) fn ring_of(&self, message: &Message) -> Option<LentName> {
        let port = lent::memory_port(|index| self.table.load(index), self.life)?;
        let identity = Capability(*message.caps.first()?).identify().ok()?;
        let is_memory = identity.kind == Kind::Endpoint && identity.object == port;
        is_memory.then(|| LentName::of_badge(identity.badge)).flatten()
    }
}

impl World for KernelWorld {
    type Caller = Caller;

    fn answer(&mut self, caller: Caller, answer: &Answer) -> bool {
        let handle = caller.0;
        // Answering uses the handle up, whatever comes of it.
        core::mem::forget(caller);
        SavedReply(handle).reply(&message(answer)).is_ok()
    }

    fn running(&mut self) -> Epoch {
        libos::clock().epoch
    }

    fn lent(&self, place: usize) -> Option<LentName> {
        lent::name(|index| self.table.load(index), self.life, place)
    }

    fn word(&self, place: usize, index: usize) -> u64 {
        self.pages.load(place * (PAGE_SIZE / 8) + index)
    }
}

/// Answers the call whose Reply the thread holds: there is no room for it.
pub(crate) fn refuse() {
    let _ = libos::reply(&message(&Answer::Refused(Error::Full)));
}

/// What comes with a message is looked at and not kept: it must not fill the table.
pub(crate) fn drop_capabilities(message: &Message) {
    for handle in message.caps.into_iter().take_while(|handle| !handle.is_null()) {
        let _ = Capability(handle).drop();
    }
}

fn message(answer: &Answer) -> Message {
    let (tag, words) = answer.carry();
    Message { tag, words, ..Message::default() }
}
