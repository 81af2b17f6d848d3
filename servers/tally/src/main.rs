//! The tally on libos.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};
use libos::abi::protocol::counter::Request;
use libos::abi::protocol::memory::ObjectFlags;
use libos::abi::{MapFlags, PAGE_SIZE};
use libos::{Console, Endpoint, Message, OwnSpace, SpaceError, Startup};
use tally::{Counting, Lost, SLOTS, Slots, Tally, Trail};

libos::program!(main);

/// Between two steps: the numbers are to be seen to grow, not to keep the machine busy.
const PAUSE_NS: u64 = 500_000;

/// The counter in its process.
struct Remote(Endpoint);

impl Counting for Remote {
    fn increment(&mut self) -> Result<u64, Lost> {
        let message = Message::tagged(Request::Increment as u64).word(0, 1);
        match self.0.call(&message) {
            Ok(answer) if answer.tag == 0 => Ok(answer.words[0]),
            _ => Err(Lost),
        }
    }
}

/// A memory object, mapped: the first word of each page.
struct Mapped(&'static [AtomicU64]);

impl Mapped {
    fn new(space: &mut OwnSpace, flags: ObjectFlags) -> Result<Self, SpaceError> {
        let object = space.create(SLOTS as u64, flags)?;
        let window = space.map(object, SLOTS as u64, MapFlags::WRITE)?;
        window.atomics().map(Self).map_err(|_| SpaceError::NoAddress)
    }

    fn word(&self, slot: usize) -> &AtomicU64 {
        &self.0[slot * (PAGE_SIZE / 8)]
    }
}

impl Slots for Mapped {
    fn load(&self, slot: usize) -> u64 {
        self.word(slot).load(Ordering::Relaxed)
    }
    fn store(&self, slot: usize, value: u64) {
        self.word(slot).store(value, Ordering::Relaxed);
    }
}

fn objects(startup: &Startup) -> (Mapped, Mapped) {
    let mut space = OwnSpace::of(startup);
    let persistent = Mapped::new(&mut space, ObjectFlags::empty());
    match (persistent, Mapped::new(&mut space, ObjectFlags::TRANSIENT)) {
        (Ok(persistent), Ok(transient)) => (persistent, transient),
        (Err(why), _) | (_, Err(why)) => panic!("no memory objects: {why:?}"),
    }
}

fn main(startup: Startup) {
    let mut counter = Remote(startup.endpoint("counter"));
    let mut console = Console::new(startup.endpoint("console"));
    let (persistent, transient) = objects(&startup);
    let (mut tally, mut trail) = (Tally::new(), Trail::new());
    loop {
        let Ok(printed) = tally.step(&mut counter, &mut console) else { panic!("the counter is gone") };
        if let Some(number) = printed {
            let incarnation = || libos::clock().epoch.incarnation();
            if let Err(doubt) = trail.step(number, incarnation, &persistent, &transient) {
                tally.doubt(doubt, &mut console);
            }
        }
        console.flush();
        libos::sleep(PAUSE_NS);
    }
}
