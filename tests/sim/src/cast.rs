//! The programs of the world, and how a genesis makes them.
//!
//! - The *counter* keeps a number and adds what it is asked to.
//! - The *tally* asks it to, counts along, and raises the alarm when the two disagree; every [`EVERY`]th number it
//!   puts, in two pieces, into a ring that it has lent to the console's server, and runs ahead of what is shown by
//!   [`AHEAD`] bytes at most, which a repeatable call of the console port waits for; now and then it asks for a `sync`.
//! - *Scribblers* write all over their memory, keep sums of their pages, and now and then wait for something typed, by a call
//!   of the console port that is not repeatable. The second one sees the first one's memory, and has transient memory as well.
//! - The *maker* makes memory objects, lends them, maps them, copies them, writes, reads, and destroys them again; when
//!   the store is full it makes none until it is not.

use crate::chronicle::Chronicle;
use crate::text::{CAPS, Label, Op, R11, RAX, RBP, RBX, RCX, RSP, Reg, TAG, Text, W};
use abi::protocol::console::{Error as ConsoleError, RING_BYTES};
use abi::protocol::memory::{Error as MemoryError, ObjectFlags, Request as MemoryRequest};
use abi::protocol::service::Service;
use abi::protocol::snapshot::Request as SnapshotRequest;
use abi::{Call, Control, FLAG_REPEATABLE, Handle, MapFlags, Status, Timeout};
use std::collections::BTreeMap;

/// Where programs lie.
pub(crate) const TEXT: u64 = 0x40_0000;
/// Where their memory lies.
pub(crate) const DATA: u64 = 0x60_0000;
/// Where the second scribbler sees the first one's memory.
pub(crate) const OTHERS: u64 = 0x80_0000;
/// Where the second scribbler's transient memory lies.
pub(crate) const PASSING: u64 = 0xa0_0000;
/// And how many pages there are of it.
pub(crate) const PASSING_PAGES: u64 = 4;
/// Where the maker maps what it has made, and the copy.
const MADE: u64 = 0xc0_0000;
const COPIED: u64 = 0xe0_0000;
/// Pages of what it makes.
const MADE_PAGES: i32 = 4;

/// Every so many numbers one is printed.
pub(crate) const EVERY: u64 = 16;
/// Prints until a `sync`.
const SYNC_EVERY: i32 = 5;

/// How far the second piece of a number that is shown is shifted.
pub(crate) const MARK: u32 = 24;
/// Tags of the console port.
const SHOW: i32 = 1;
const READ: i32 = 2;
/// Where the tally maps its ring, and how much it prints ahead of what has been shown.
const RING: u64 = 0xc0_0000;
const AHEAD: i32 = 64;
/// Bytes of a number that is printed, and where in the ring the first one goes: so that the ring's end is soon met.
const PRINTED: i32 = 16;
const FIRST_AT: i32 = RING_BYTES as i32 - 2 * PRINTED;
/// Where a ring's words lie: write index, what is known to be shown, the bytes.
const RING_WRITTEN: i32 = 0;
const RING_SHOWN: i32 = 8;
const RING_BEGIN: i32 = 64;

/// What programs tell the test.
const ALARM: i32 = 1;
const SYNCED: i32 = 2;
const FRESH: i32 = 3;
const COPY_MADE: i32 = 4;
const GONE: i32 = 5;
const SLEPT: i32 = 6;
const RING_MADE: i32 = 7;

/// Who is who, by the kernel's numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cast {
    pub(crate) counter: u32,
    pub(crate) tally: u32,
    /// How long programs sleep when they do; 0: never.
    pub(crate) sleep_ns: u64,
    processes: BTreeMap<u32, u32>,
}

impl Cast {
    pub(crate) fn add(&mut self, thread: u32, process: u32) {
        self.processes.insert(thread, process);
    }

    pub(crate) fn process_of(&self, thread: u32) -> u32 {
        self.processes.get(&thread).copied().unwrap_or_else(|| panic!("thread {thread} is nobody's"))
    }
}

impl Chronicle {
    /// A program has reached a `Tell`.
    pub(crate) fn told(&mut self, process: u32, what: i32, [a, b, _]: [u64; 3]) {
        match what {
            SYNCED => self.told_durable(a),
            FRESH => {
                self.figures.objects_made += 1;
                let object = self.model.object(false);
                self.model.map(process, a, MADE_PAGES as u64, object, 0);
            }
            COPY_MADE => {
                let copy = self.model.copy(process, b);
                self.model.map(process, a, MADE_PAGES as u64, copy, 0);
            }
            RING_MADE => {
                let object = self.model.object(false);
                self.model.map(process, RING, 1, object, 0);
            }
            SLEPT => {
                let least = self.cast.sleep_ns;
                assert!(a >= b + least, "process {process} slept from {b} to {a} of world time, not for {least} ns");
                self.figures.sleeps += 1;
            }
            GONE => {
                self.model.forget(process, a);
                self.model.forget(process, b);
            }
            _ => panic!("process {process} raises the alarm: {a:#x}, {b:#x}"),
        }
    }
}

fn call(handle: Handle) -> Control {
    Control::new(Call::Call, handle)
}

fn repeatable(handle: Handle, caps: u8) -> Control {
    call(handle).with_flags(FLAG_REPEATABLE | caps)
}

/// Where a program keeps the time at which it went to sleep.
const ASLEEP: i32 = 4072;

/// Sleeps, and compares world time before and after. RBP is DATA.
fn sleep(text: &mut Text, ns: u64) {
    if ns == 0 {
        return;
    }
    text.call(Control::new(Call::Clock, Handle::NULL));
    text.store(W[1], RBP, ASLEEP);
    text.timed_call(Control::new(Call::Wait, Handle::NULL).with_timeout(Timeout::from_ns(ns)));
    text.call(Control::new(Call::Clock, Handle::NULL));
    text.load(RCX, RBP, ASLEEP);
    text.op(Op::Tell, W[1], RCX, RAX, SLEPT);
}

/// Raises the alarm, for ever.
fn alarm(text: &mut Text) {
    let here = text.here();
    text.op(Op::Tell, RAX, TAG, RBX, ALARM);
    text.jump(here);
}

pub(crate) fn counter(receive: Handle) -> Vec<u64> {
    let mut text = Text::new(TEXT);
    text.number(RBP, DATA as i32);
    text.call(Control::new(Call::Receive, receive));
    let serve = text.here();
    text.load(RBX, RBP, 0);
    text.add(RBX, RBX, W[0]);
    text.store(RBX, RBP, 0);
    text.copy(W[0], RBX);
    text.number(TAG, 0);
    text.number(CAPS, 0);
    text.call(Control::new(Call::ReplyReceive, receive));
    text.jump(serve);
    text.finish()
}

/// Words of the tally's memory: the number, then countdowns to the next print and to the next sync, where in the ring the
/// next number goes, what has been put into it, and the capability to it.
const COUNTDOWN: i32 = 8;
const SYNC_COUNTDOWN: i32 = 16;
const RING_AT: i32 = 24;
const RING_END: i32 = 32;
const RING_CAP: i32 = 40;

/// What the tally's memory holds at first.
pub(crate) fn tally_memory() -> [u64; 6] {
    [0, EVERY, SYNC_EVERY as u64, FIRST_AT as u64, FIRST_AT as u64, 0]
}

pub(crate) fn tally([counter, console, snapshot]: [Handle; 3], space: Handle, sleep_ns: u64) -> Vec<u64> {
    let mut text = Text::new(TEXT);
    let (bad, zero) = (text.label(), W[7]);
    text.number(RBP, DATA as i32);
    make_ring(&mut text, space, bad);
    let step = text.here();
    text.number(TAG, 1);
    text.number(W[0], 1);
    text.number(CAPS, 0);
    text.call(call(counter));
    text.number(zero, 0);
    text.if_not(RAX, zero, bad);
    text.copy(RBX, W[0]);
    text.load(RCX, RBP, 0);
    text.add_number(RCX, RCX, 1);
    text.store(RCX, RBP, 0);
    text.if_not(RCX, RBX, bad);
    text.load(RCX, RBP, COUNTDOWN);
    text.add_number(RCX, RCX, -1);
    text.store(RCX, RBP, COUNTDOWN);
    text.if_not(RCX, zero, step);
    text.number(RCX, EVERY as i32);
    text.store(RCX, RBP, COUNTDOWN);
    put_number(&mut text);
    show(&mut text, console, bad);
    text.load(RCX, RBP, SYNC_COUNTDOWN);
    text.add_number(RCX, RCX, -1);
    text.store(RCX, RBP, SYNC_COUNTDOWN);
    text.number(zero, 0);
    text.if_not(RCX, zero, step);
    text.number(RCX, SYNC_EVERY);
    text.store(RCX, RBP, SYNC_COUNTDOWN);
    text.number(TAG, SnapshotRequest::Sync as i32);
    text.number(CAPS, 0);
    text.call(repeatable(snapshot, 0));
    text.number(zero, 0);
    text.if_not(RAX, zero, bad);
    text.if_not(TAG, zero, bad);
    text.op(Op::Tell, RBX, RAX, RAX, SYNCED);
    sleep(&mut text, sleep_ns);
    text.jump(step);
    text.place(bad);
    alarm(&mut text);
    text.finish()
}

/// Makes the ring, maps it, lends it, and keeps a capability to it that is read-only. RBP is DATA.
fn make_ring(text: &mut Text, space: Handle, bad: Label) {
    let zero = R11;
    let checked = |text: &mut Text| {
        text.number(zero, 0);
        text.if_not(RAX, zero, bad);
        text.if_not(TAG, zero, bad);
    };
    text.number(TAG, MemoryRequest::CreateObject as i32);
    text.number(W[0], 1);
    text.number(W[1], ObjectFlags::empty().bits() as i32);
    text.number(CAPS, 0);
    text.call(repeatable(space, 0));
    checked(text);
    text.copy(RBX, CAPS);
    map(text, space, RING, 1);
    checked(text);
    text.op(Op::Tell, RAX, RAX, RAX, RING_MADE);
    text.number(W[0], RING as i32);
    text.number(W[1], FIRST_AT);
    text.store(W[1], W[0], RING_SHOWN);
    text.store(W[1], W[0], RING_WRITTEN);
    text.number(TAG, MemoryRequest::ReadOnly as i32);
    text.number(CAPS, 0);
    text.call_through(repeatable(Handle::NULL, 0), RBX);
    checked(text);
    text.store(CAPS, RBP, RING_CAP);
    lend(text, space);
    checked(text);
}

/// Puts the number in RBX into the ring. RBP is DATA.
fn put_number(text: &mut Text) {
    let (at, end, base) = (W[0], W[1], W[2]);
    text.number(base, RING as i32);
    text.load(at, RBP, RING_AT);
    text.add(base, base, at);
    text.store(RBX, base, RING_BEGIN);
    text.op(Op::Left, W[3], RBX, RAX, MARK as i32);
    text.store(W[3], base, RING_BEGIN + 8);
    let whole = text.label();
    text.add_number(at, at, PRINTED);
    text.number(RCX, RING_BYTES as i32);
    text.if_not(at, RCX, whole);
    text.number(at, 0);
    text.place(whole);
    text.store(at, RBP, RING_AT);
    text.load(end, RBP, RING_END);
    text.add_number(end, end, PRINTED);
    text.store(end, RBP, RING_END);
    text.number(base, RING as i32);
    text.store(end, base, RING_WRITTEN);
}

/// Says that there is something, and waits until no more than [`AHEAD`] bytes of it have not been shown. RBP is DATA.
fn show(text: &mut Text, console: Handle, bad: Label) {
    let (zero, until) = (W[7], W[0]);
    let again = text.here();
    text.load(until, RBP, RING_END);
    text.add_number(until, until, -AHEAD);
    text.number(TAG, SHOW);
    text.load(CAPS, RBP, RING_CAP);
    text.call(repeatable(console, 1));
    text.number(zero, 0);
    text.if_not(RAX, zero, bad);
    // A server that was just started may not see the ring yet.
    text.number(RCX, ConsoleError::NotLent as i32);
    text.if_equal(TAG, RCX, again);
    text.if_not(TAG, zero, bad);
    // Whole numbers only, so that what is repeated begins with one.
    text.load(until, RBP, RING_END);
    text.add_number(until, until, -AHEAD);
    text.number(RCX, RING as i32);
    let early = text.label();
    text.number(W[1], FIRST_AT);
    text.op(Op::Subtract, W[1], until, W[1], 0);
    text.op(Op::Right, W[1], W[1], RAX, 63);
    text.if_not(W[1], zero, early);
    text.store(until, RCX, RING_SHOWN);
    text.place(early);
}

/// Writes over `pages` pages (a power of two) from DATA; its stack pointer is the random state it begins with. `sees`: looks at
/// another's memory and at transient memory of its own, too.
pub(crate) fn scribbler(console: Handle, pages: i32, sees: bool, sleep_ns: u64) -> Vec<u64> {
    let mut text = Text::new(TEXT);
    let (bad, restarted, zero, base) = (text.label(), text.label(), W[7], W[6]);
    text.number(RBP, DATA as i32);
    text.copy(RBX, RSP);
    let step = text.here();
    for (shift, number) in [(Op::Left, 13), (Op::Right, 7), (Op::Left, 17)] {
        text.op(shift, RCX, RBX, RAX, number);
        text.op(Op::Xor, RBX, RBX, RCX, 0);
    }
    text.op(Op::Right, base, RBX, RAX, 8);
    text.op(Op::And, base, base, RAX, pages - 1);
    text.op(Op::Left, base, base, RAX, 12);
    if sees {
        text.add_number(R11, base, OTHERS as i32);
        text.load(RCX, R11, 4088);
        text.op(Op::And, R11, base, RAX, (PASSING_PAGES as i32 - 1) << 12);
        text.add_number(R11, R11, PASSING as i32);
        text.store(RBX, R11, 8);
        text.load(RCX, R11, 16);
    }
    text.add(base, base, RBP);
    text.op(Op::Right, R11, RBX, RAX, 24);
    text.op(Op::And, R11, R11, RAX, 255);
    text.op(Op::Left, R11, R11, RAX, 3);
    text.add(R11, R11, base);
    text.load(W[2], R11, 0);
    text.store(RBX, R11, 0);
    text.load(W[3], base, 4088);
    text.add(W[3], W[3], RBX);
    text.op(Op::Subtract, W[3], W[3], W[2], 0);
    text.store(W[3], base, 4088);
    text.op(Op::And, W[5], RBX, RAX, 0x3f);
    text.number(zero, 0);
    text.if_not(W[5], zero, step);
    text.number(TAG, READ);
    text.number(CAPS, 0);
    text.call(call(console));
    text.number(RCX, Status::Restarted as i32);
    text.if_equal(RAX, RCX, restarted);
    text.number(zero, 0);
    text.if_not(RAX, zero, bad);
    sleep(&mut text, sleep_ns);
    text.jump(step);
    text.place(restarted);
    text.load(RCX, RBP, 4080);
    text.add_number(RCX, RCX, 1);
    text.store(RCX, RBP, 4080);
    text.jump(step);
    text.place(bad);
    alarm(&mut text);
    text.finish()
}

/// Makes, maps, copies and destroys memory objects.
pub(crate) fn maker(space: Handle, sleep_ns: u64) -> Vec<u64> {
    let mut text = Text::new(TEXT);
    let bad = text.label();
    let zero = R11;
    let checked = |text: &mut Text| {
        text.number(zero, 0);
        text.if_not(RAX, zero, bad);
        text.if_not(TAG, zero, bad);
    };
    text.number(RSP, 1);
    let step = text.here();
    text.number(TAG, MemoryRequest::CreateObject as i32);
    text.number(W[0], MADE_PAGES);
    text.number(W[1], ObjectFlags::empty().bits() as i32);
    text.number(CAPS, 0);
    text.call(repeatable(space, 0));
    let full = MemoryError::StoreFull as i32;
    if_tag(&mut text, full, step);
    checked(&mut text);
    text.copy(RBX, CAPS);
    map(&mut text, space, MADE, MADE_PAGES);
    checked(&mut text);
    text.number(W[0], MADE as i32);
    text.op(Op::Tell, W[0], RAX, RAX, FRESH);
    // The console's server is lent it, too: as a ring whose indices make no sense.
    text.number(W[1], -1);
    text.store(W[1], W[0], RING_SHOWN);
    text.copy(CAPS, RBX);
    lend(&mut text, space);
    checked(&mut text);
    write_over(&mut text, MADE);
    text.number(TAG, MemoryRequest::CopyObject as i32);
    text.number(CAPS, i32::from(space.0));
    text.call_through(repeatable(Handle::NULL, 1), RBX);
    let alone = text.label();
    if_tag(&mut text, full, alone);
    checked(&mut text);
    text.copy(RBP, CAPS);
    map(&mut text, space, COPIED, MADE_PAGES);
    checked(&mut text);
    text.number(W[0], COPIED as i32);
    text.number(W[1], MADE as i32);
    text.op(Op::Tell, W[0], W[1], RAX, COPY_MADE);
    write_over(&mut text, COPIED);
    write_over(&mut text, MADE);
    read_over(&mut text, COPIED);
    read_over(&mut text, MADE);
    for address in [MADE, COPIED] {
        unmap(&mut text, space, address);
        checked(&mut text);
    }
    text.number(W[0], COPIED as i32);
    text.number(W[1], MADE as i32);
    text.op(Op::Tell, W[0], W[1], RAX, GONE);
    for handle in [RBX, RBP] {
        destroy(&mut text, handle, &checked);
    }
    text.number(RBP, DATA as i32);
    sleep(&mut text, sleep_ns);
    text.jump(step);
    // There is no copy: the object goes alone.
    text.place(alone);
    unmap(&mut text, space, MADE);
    checked(&mut text);
    text.number(W[0], MADE as i32);
    text.op(Op::Tell, W[0], W[0], RAX, GONE);
    destroy(&mut text, RBX, &checked);
    text.jump(step);
    text.place(bad);
    alarm(&mut text);
    text.finish()
}

/// Lends the object in CAPS to the console's server.
fn lend(text: &mut Text, space: Handle) {
    text.number(TAG, MemoryRequest::Lend as i32);
    text.number(W[0], Service::Console as i32);
    text.call(repeatable(space, 1));
}

/// Goes on at `there` when the answer has this tag.
fn if_tag(text: &mut Text, tag: i32, there: Label) {
    text.number(RCX, tag);
    text.if_equal(TAG, RCX, there);
}

fn unmap(text: &mut Text, space: Handle, address: u64) {
    text.number(TAG, MemoryRequest::UnmapRegion as i32);
    text.number(W[0], address as i32);
    text.number(W[1], MADE_PAGES);
    text.number(CAPS, 0);
    text.call(repeatable(space, 0));
}

/// Destroys the object whose handle is in a register, and drops that.
fn destroy(text: &mut Text, handle: Reg, checked: &impl Fn(&mut Text)) {
    text.number(TAG, MemoryRequest::DestroyObject as i32);
    text.number(CAPS, 0);
    text.call_through(repeatable(Handle::NULL, 0), handle);
    checked(text);
    text.call_through(Control::new(Call::Drop, Handle::NULL), handle);
    text.number(TAG, 0);
    checked(text);
}

/// Asks for so many pages of the object in CAPS to be mapped, writable.
fn map(text: &mut Text, space: Handle, address: u64, pages: i32) {
    text.number(TAG, MemoryRequest::MapRegion as i32);
    text.number(W[0], address as i32);
    text.number(W[1], pages);
    text.number(W[2], 0);
    text.number(W[3], MapFlags::WRITE.bits() as i32);
    text.call(repeatable(space, 1));
}

/// Writes new numbers to all pages but the last.
fn write_over(text: &mut Text, address: u64) {
    for page in 0..MADE_PAGES - 1 {
        text.add_number(RSP, RSP, 1);
        text.number(W[0], address as i32 + page * 4096);
        text.store(RSP, W[0], 8 * page);
    }
}

fn read_over(text: &mut Text, address: u64) {
    for page in 0..MADE_PAGES {
        text.number(W[0], address as i32 + page * 4096);
        text.load(W[1], W[0], 8 * page);
    }
}
