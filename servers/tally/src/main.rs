//! The tally on libos.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};
use libos::abi::protocol::counter::Request;
use libos::abi::protocol::memory::ObjectFlags;
use libos::abi::{MapFlags, PAGE_SIZE};
use libos::{Console, Endpoint, Message, Object, OwnSpace, SpaceError, Startup};
use tally::{Counting, Doubt, Keepsake, Lost, SLOTS, Slots, Tally, Trail};

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
    fn new(space: &mut OwnSpace, object: Object) -> Result<Self, SpaceError> {
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

/// The memory objects and what should be in them.
struct Memory {
    space: OwnSpace,
    object: Object,
    persistent: Mapped,
    transient: Mapped,
    trail: Trail,
    /// A copy of the persistent object, made after the first round.
    copy: Option<(Mapped, Keepsake)>,
    steps: usize,
}

impl Memory {
    fn new(mut space: OwnSpace) -> Result<Self, SpaceError> {
        let object = space.create(SLOTS as u64, ObjectFlags::empty())?;
        let persistent = Mapped::new(&mut space, object)?;
        let transient = space.create(SLOTS as u64, ObjectFlags::TRANSIENT)?;
        let transient = Mapped::new(&mut space, transient)?;
        Ok(Self { space, object, persistent, transient, trail: Trail::new(), copy: None, steps: 0 })
    }

    /// Writes a number down and checks what was there.
    fn step(&mut self, number: u64) -> Result<Result<(), Doubt>, SpaceError> {
        let incarnation = || libos::clock().epoch.incarnation();
        let kept = self.trail.step(number, incarnation, &self.persistent, &self.transient);
        self.steps += 1;
        if self.steps == SLOTS {
            let copy = self.object.copy(&self.space)?;
            self.copy = Some((Mapped::new(&mut self.space, copy)?, self.trail.keepsake()));
        }
        let copied = self.copy.as_mut().map_or(Ok(()), |(copy, keepsake)| keepsake.check(copy));
        Ok(kept.and(copied))
    }
}

fn main(startup: Startup) {
    let mut counter = Remote(startup.endpoint("counter"));
    let mut space = OwnSpace::of(&startup);
    let console = Console::new(startup.endpoint("console"), &mut space);
    let mut console = console.unwrap_or_else(|why| panic!("nothing can be printed: {why:?}"));
    let mut memory = Memory::new(space).unwrap_or_else(|why| panic!("no memory objects: {why:?}"));
    let mut tally = Tally::new();
    loop {
        let Ok(printed) = tally.step(&mut counter, &mut console) else { panic!("the counter is gone") };
        if let Some(number) = printed {
            match memory.step(number) {
                Ok(Ok(())) => {}
                Ok(Err(doubt)) => tally.doubt(doubt, &mut console),
                Err(why) => panic!("no copy of a memory object: {why:?}"),
            }
        }
        console.flush();
        libos::sleep(PAUSE_NS);
    }
}
