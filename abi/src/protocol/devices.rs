//! Between init and the platform driver: which devices there are, and switching them on and off. Messages through two
//! rings in one shared page, no calls: init must not wait inside a driver that may die.
//!
//! Init asks, the platform driver answers in order, each rings the other's bell after pushing. Init resets the area
//! ([`reset`]) before it starts a platform driver, also after one has died: whatever it had asked and was not answered it
//! asks again. All requests may be repeated.
//!
//! **The rule this is for**: before a frame that a dead driver's device could reach is used again, [`Request::Silence`]
//! has been answered with [`Reply::Done`]; until then those frames are lost to everybody.

use core::sync::atomic::AtomicU64;

use super::ring::{Consumer, ENTRY_WORDS, Entry, Layout, PeerBroken, Producer, PushError};
use crate::PAGE_SIZE;

/// Shape of both rings.
const RING: Layout = Layout::new(16).expect("a power of two");
const REPLIES: usize = RING.words();
const NOTES: usize = 2 * RING.words();

/// Words in which a platform driver leaves notes for the next one of the same boot: zero at first, and nobody else's.
pub const NOTES_WORDS: usize = 64;
/// Bytes of shared memory that the link takes, in whole pages.
pub const AREA_BYTES: usize = ((NOTES + NOTES_WORDS) * 8).next_multiple_of(PAGE_SIZE);
/// Base address registers of a device.
pub const BARS_MAX: u8 = 6;

/// Class code of NVMe controllers: mass storage, non-volatile memory, NVM Express.
pub const CLASS_NVME: u32 = 0x01_08_02;

/// What init asks. Devices are numbered from 0 in the order of their places on the bus; numbers hold for this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// What device this is. Answered with [`Reply::Device`] or [`Refusal::NoSuchDevice`].
    Describe(u8),
    /// Where one of its register windows is. Answered with [`Reply::Bar`].
    Bar {
        /// The device.
        device: u8,
        /// Which of its base address registers, below [`BARS_MAX`].
        bar: u8,
    },
    /// Let the device decode its registers, reach memory and send message interrupts. Answered with [`Reply::Done`].
    Enable(u8),
    /// Make the device reach memory no more: bus mastering off, then reset. Takes up to two seconds; answered with
    /// [`Reply::Done`] when it is certain.
    Silence(u8),
}

/// Where the MSI-X table of a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageTable {
    /// In the window of this base address register.
    pub bar: u8,
    /// From this byte on.
    pub offset: u32,
    /// So many vectors, 1 to 2048.
    pub vectors: u16,
}

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Bus, device (5 bits) and function (3 bits).
    pub place: u16,
    /// Who made it.
    pub vendor: u16,
    /// What they call it.
    pub product: u16,
    /// Class, subclass and programming interface, from the high byte down.
    pub class: u32,
    /// Its message interrupts, if it has any.
    pub messages: Option<MessageTable>,
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// Init asks for a device, or a window of it, that is not there.
    NoSuchDevice = 1,
    /// The device has gone from the bus: it reaches memory no more.
    Removed = 2,
    /// The device does not obey: nothing is certain about it.
    Stuck = 3,
}

/// What the platform driver answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Describe`].
    Device(Device),
    /// To [`Request::Bar`].
    Bar {
        /// First physical address, page-aligned.
        base: u64,
        /// Length, a multiple of a page.
        bytes: u64,
    },
    /// To [`Request::Enable`] and [`Request::Silence`].
    Done,
    /// To any.
    Refused(Refusal),
}

impl Request {
    fn write(self) -> Entry {
        let mut entry = [0; ENTRY_WORDS];
        (entry[0], entry[1]) = match self {
            Self::Describe(device) => (1, u64::from(device)),
            Self::Bar { device, bar } => (2, u64::from(device) | u64::from(bar) << 8),
            Self::Enable(device) => (3, u64::from(device)),
            Self::Silence(device) => (4, u64::from(device)),
        };
        entry
    }

    fn read(entry: &Entry) -> Option<Self> {
        let device = u8::try_from(entry[1] & 0xff).ok()?;
        let request = match entry[0] {
            1 => Self::Describe(device),
            2 => Self::Bar { device, bar: (entry[1] >> 8) as u8 },
            3 => Self::Enable(device),
            4 => Self::Silence(device),
            _ => return None,
        };
        (request.write() == *entry).then_some(request)
    }
}

impl Reply {
    fn write(self) -> Entry {
        let mut entry = [0; ENTRY_WORDS];
        match self {
            Self::Device(device) => {
                entry[0] = 1;
                entry[1] = u64::from(device.place) | u64::from(device.vendor) << 16 | u64::from(device.product) << 32;
                entry[2] = u64::from(device.class);
                if let Some(table) = device.messages {
                    entry[3] = 1 | u64::from(table.bar) << 8 | u64::from(table.vectors) << 16;
                    entry[4] = u64::from(table.offset);
                }
            }
            Self::Bar { base, bytes } => entry[..3].copy_from_slice(&[2, base, bytes]),
            Self::Done => entry[0] = 3,
            Self::Refused(refusal) => entry[..2].copy_from_slice(&[4, refusal as u64]),
        }
        entry
    }

    fn read(entry: &Entry) -> Option<Self> {
        let reply = match entry[0] {
            1 => Self::Device(Device {
                place: entry[1] as u16,
                vendor: (entry[1] >> 16) as u16,
                product: (entry[1] >> 32) as u16,
                class: entry[2] as u32,
                messages: (entry[3] & 1 == 1).then_some(MessageTable {
                    bar: (entry[3] >> 8) as u8,
                    offset: entry[4] as u32,
                    vectors: (entry[3] >> 16) as u16,
                }),
            }),
            2 => Self::Bar { base: entry[1], bytes: entry[2] },
            3 => Self::Done,
            4 => Self::Refused(match entry[1] {
                1 => Refusal::NoSuchDevice,
                2 => Refusal::Removed,
                3 => Refusal::Stuck,
                _ => return None,
            }),
            _ => return None,
        };
        // Nothing else may be set: what reads back differently was not written by a platform driver.
        (reply.write() == *entry).then_some(reply)
    }
}

/// Empties the rings, and leaves the notes. Only while no platform driver runs.
pub fn reset(area: &[AtomicU64]) {
    RING.reset(area);
    RING.reset(area.get(REPLIES..).unwrap_or(&[]));
}

/// Init's end.
#[derive(Debug)]
pub struct Asker<'m> {
    requests: Producer<'m>,
    replies: Consumer<'m>,
}

/// The platform driver's end.
#[derive(Debug)]
pub struct Answerer<'m> {
    notes: &'m [AtomicU64],
    requests: Consumer<'m>,
    replies: Producer<'m>,
}

impl<'m> Asker<'m> {
    /// Over an area that has just been [`reset`]; `None` when it is too small.
    #[must_use]
    pub fn new(area: &'m [AtomicU64]) -> Option<Self> {
        let replies = Consumer::new(area.get(REPLIES..)?, RING)?;
        Some(Self { requests: Producer::new(area, RING)?, replies })
    }

    /// Asks; ring the bell afterwards.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn ask(&mut self, request: Request) -> Result<(), PushError> {
        self.requests.push(&request.write())
    }

    /// The next answer. They come in the order of the requests.
    ///
    /// # Errors
    /// [`PeerBroken`]: what no platform driver writes.
    pub fn answer(&mut self) -> Result<Option<Reply>, PeerBroken> {
        let Some(entry) = self.replies.pop()? else { return Ok(None) };
        Reply::read(&entry).map(Some).ok_or(PeerBroken)
    }
}

impl<'m> Answerer<'m> {
    /// As [`Asker::new`].
    #[must_use]
    pub fn new(area: &'m [AtomicU64]) -> Option<Self> {
        let replies = Producer::new(area.get(REPLIES..)?, RING)?;
        let notes = area.get(NOTES..NOTES + NOTES_WORDS)?;
        Some(Self { notes, requests: Consumer::new(area, RING)?, replies })
    }

    /// What the platform driver before this one has noted; [`NOTES_WORDS`] words, all zero when it is the first.
    #[must_use]
    pub fn notes(&self) -> &'m [AtomicU64] {
        self.notes
    }

    /// The next request, if there is room for its answer.
    ///
    /// # Errors
    /// [`PeerBroken`]: what init does not write.
    pub fn request(&mut self) -> Result<Option<Request>, PeerBroken> {
        if self.replies.room()? == 0 {
            return Ok(None);
        }
        let Some(entry) = self.requests.pop()? else { return Ok(None) };
        Request::read(&entry).map(Some).ok_or(PeerBroken)
    }

    /// Answers the oldest unanswered request; ring the bell afterwards.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn reply(&mut self, reply: Reply) -> Result<(), PushError> {
        self.replies.push(&reply.write())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering;
    use proptest::prelude::*;

    const DEVICE: Device = Device { place: 0x18, vendor: 0x1b36, product: 0x10, class: CLASS_NVME, messages: None };

    fn area() -> Vec<AtomicU64> {
        (0..AREA_BYTES / 8).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn questions_and_answers_cross() {
        let area = area();
        let mut init = Asker::new(&area).expect("large enough");
        let mut platform = Answerer::new(&area).expect("large enough");
        let table = MessageTable { bar: 0, offset: 0x2000, vectors: 65 };
        let exchanges = [
            (Request::Describe(255), Reply::Refused(Refusal::NoSuchDevice)),
            (Request::Describe(0), Reply::Device(DEVICE)),
            (Request::Describe(1), Reply::Device(Device { messages: Some(table), ..DEVICE })),
            (Request::Bar { device: 1, bar: 5 }, Reply::Bar { base: 0xfebd_0000, bytes: 0x4000 }),
            (Request::Enable(1), Reply::Done),
            (Request::Silence(1), Reply::Refused(Refusal::Stuck)),
            (Request::Silence(1), Reply::Refused(Refusal::Removed)),
        ];
        for (request, reply) in exchanges {
            init.ask(request).expect("room");
            assert_eq!(platform.request(), Ok(Some(request)));
            platform.reply(reply).expect("room");
            assert_eq!(init.answer(), Ok(Some(reply)));
        }
        assert_eq!((platform.request(), init.answer()), (Ok(None), Ok(None)));
    }

    #[test]
    fn a_new_driver_starts_with_an_empty_area() {
        let area = area();
        let mut init = Asker::new(&area).expect("large enough");
        init.ask(Request::Describe(0)).expect("room");
        let before = Answerer::new(&area).expect("large enough");
        assert!(before.notes().iter().all(|word| word.load(Ordering::Relaxed) == 0));
        before.notes().iter().for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
        reset(&area);
        let mut init = Asker::new(&area).expect("large enough");
        let mut platform = Answerer::new(&area).expect("large enough");
        assert_eq!(platform.request(), Ok(None));
        assert!(platform.notes().iter().all(|word| word.load(Ordering::Relaxed) == u64::MAX), "notes stay");
        init.ask(Request::Describe(1)).expect("room");
        assert_eq!(platform.request(), Ok(Some(Request::Describe(1))));
        assert!(Asker::new(&area[..200]).is_none() && Answerer::new(&area[..200]).is_none());
    }

    proptest! {
        #[test]
        fn foreign_entries_are_refused_or_read_exactly(mut entry: Entry, kind in 0u64..6, small in any::<bool>()) {
            entry[0] = kind;
            if small {
                entry[1] &= 0xffff;
                entry[2..].fill(0);
            }
            prop_assert!(Request::read(&entry).is_none_or(|request| request.write() == entry));
            prop_assert!(Reply::read(&entry).is_none_or(|reply| reply.write() == entry));
        }
    }
}
