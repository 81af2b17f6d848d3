//! The service between a client's ring and the fake controller.

use core::sync::atomic::AtomicU64;

use super::*;
use crate::Service;
use abi::protocol::block::{self, AREA_BYTES, BlockError, CallerFault, Client, Link, OpenError};
use fake::Answer;

struct Rig<'m> {
    fake: Fake,
    service: Service<'m, FakeRegisters, FakeDma>,
    client: Client<'m>,
    now_ns: u64,
}

fn area() -> Vec<AtomicU64> {
    (0..AREA_BYTES / 8).map(|_| AtomicU64::new(0)).collect()
}

fn service<'m>(fake: &Fake, area: &'m [AtomicU64]) -> Service<'m, FakeRegisters, FakeDma> {
    let (registers, memory) = fake.windows(DMA_FRAMES);
    let controller = Controller::new(registers, memory, Settings::default()).expect("a good controller");
    Service::new(controller, block::Driver::new(area).expect("large enough"))
}

impl<'m> Rig<'m> {
    fn up(area: &'m [AtomicU64]) -> Self {
        Self::with(area, Profile::default())
    }

    fn with(area: &'m [AtomicU64], profile: Profile) -> Self {
        let fake = Fake::new(profile);
        let service = service(&fake, area);
        let client = Client::open(area).expect("fresh");
        let mut rig = Self { fake, service, client, now_ns: 0 };
        rig.turn_until(|rig| matches!(rig.client.link(), Link::Up(_)));
        rig
    }

    /// The driver's program: a turn, then wait as long as it says (the device works meanwhile).
    fn turn(&mut self) -> bool {
        let turn = self.service.turn(self.now_ns);
        assert!(self.service.controller().check());
        self.now_ns += turn.wait_ns_max.unwrap_or(MILLISECOND_NS);
        turn.signal
    }

    fn turn_until(&mut self, done: impl Fn(&mut Self) -> bool) {
        for _ in 0..20_000 {
            if done(self) {
                return;
            }
            self.turn();
            self.fake.run();
        }
        panic!("never comes about");
    }

    fn tags(&mut self) -> Vec<u64> {
        std::iter::from_fn(|| self.client.poll().expect("sound")).map(|done| done.tag).collect()
    }
}

#[test]
fn requests_are_served_and_the_client_is_signalled() {
    let area = area();
    let mut rig = Rig::up(&area);
    rig.fake.fill(5, 0x42);
    rig.client.submit(&transfer(1, Op::Write, 2, &[5])).expect("room");
    assert!(!rig.turn(), "nothing to tell yet");
    rig.fake.run();
    assert!(rig.turn());
    assert_eq!(rig.tags(), [1]);
    assert_eq!(rig.fake.block(2), 0x42);
    rig.client.submit(&transfer(2, Op::Read, 2, &[6; 100][..1])).expect("room");
    rig.turn_until(|rig| rig.client.poll().expect("sound").is_some());
    assert_eq!(rig.fake.uniform(6), 0x42);
}

#[test]
fn refusals_come_back_and_are_signalled() {
    let area = area();
    let mut rig = Rig::up(&area);
    rig.client.submit(&transfer(9, Op::Read, 1_000_000, &[5])).expect("room");
    assert!(rig.turn());
    let completion = rig.client.poll().expect("sound").expect("refused at once");
    assert_eq!((completion.tag, completion.result), (9, Err(BlockError::Caller(CallerFault::OutOfRange))));
}

#[test]
fn more_than_the_device_takes_waits_in_the_ring() {
    let area = area();
    let mut rig = Rig::up(&area);
    let mut next = 0u64;
    let mut got = Vec::new();
    while got.len() < 1000 {
        while next < 1000 && rig.client.submit(&flush(next)).is_ok() {
            next += 1;
        }
        rig.turn();
        rig.fake.run();
        got.extend(rig.tags());
        assert!(rig.now_ns < 100 * SECOND_NS, "stalled after {}", got.len());
    }
    got.sort_unstable();
    assert_eq!(got, (0..1000).collect::<Vec<_>>());
}

/// A client that submits and never looks: the driver neither spins nor loses anything.
#[test]
fn a_client_that_does_not_drain_stops_only_itself() {
    let area = area();
    let mut rig = Rig::up(&area);
    let mut next = 0u64;
    for _ in 0..50 {
        while rig.client.submit(&flush(next)).is_ok() {
            next += 1;
        }
        rig.turn();
        rig.fake.run();
    }
    let turn = rig.service.turn(rig.now_ns);
    assert_ne!(turn.wait_ns_max, Some(0), "the driver would spin above its client");
    assert_ne!(turn.wait_ns_max, None, "a client that makes room need not ring");
    assert_eq!(next, 64 + 64 + 64, "one ring of completions, the slots, one ring of requests");
    let mut got = Vec::new();
    while got.len() < next as usize {
        got.extend(rig.tags());
        rig.turn();
        rig.fake.run();
        assert!(rig.now_ns < 100 * SECOND_NS, "stalled after {}", got.len());
    }
}

/// The same with requests that are refused: their completions need room too.
#[test]
fn refusals_that_nobody_takes_do_not_make_the_driver_spin() {
    let area = area();
    let mut rig = Rig::up(&area);
    let beyond = |tag| transfer(tag, Op::Read, 1_000_000, &[5]);
    for _ in 0..4 {
        while rig.client.submit(&beyond(1)).is_ok() {}
        assert_ne!(rig.service.turn(rig.now_ns).wait_ns_max, Some(0));
    }
    assert_eq!(rig.tags().len(), 64);
    rig.turn();
    assert_eq!(rig.tags().len(), 64, "the rest, when there is room");
}

#[test]
fn a_restarted_client_gets_its_own_session() {
    let area = area();
    let mut rig = Rig::up(&area);
    rig.client.submit(&transfer(1, Op::Read, 0, &[5])).expect("room");
    rig.turn();
    // The client dies; another one comes while the device still has the frame.
    assert!(matches!(Client::open(&area), Err(OpenError::StillClosing)));
    rig.turn();
    assert!(matches!(Client::open(&area), Err(OpenError::StillClosing)), "the device has not answered");
    rig.fake.run();
    assert!(rig.turn(), "the new client is told");
    rig.client = Client::open(&area).expect("quiet now");
    rig.turn_until(|rig| matches!(rig.client.link(), Link::Up(_)));
    assert_eq!(rig.tags(), [], "nothing of the old session");
    rig.client.submit(&flush(2)).expect("room");
    rig.turn_until(|rig| rig.tags() == [2]);
}

#[test]
fn a_restarted_driver_loses_the_link() {
    let area = area();
    let mut rig = Rig::up(&area);
    rig.client.submit(&transfer(1, Op::Read, 0, &[5])).expect("room");
    rig.turn();
    rig.service = service(&rig.fake, &area);
    assert_eq!(rig.client.link(), Link::Lost);
    assert_eq!(rig.tags(), []);
    rig.client = Client::open(&area).expect("the old session was refused");
    rig.turn_until(|rig| matches!(rig.client.link(), Link::Up(_)));
    assert_eq!(rig.service.controller().under_way(), 0);
}

#[test]
fn a_reset_is_seen_as_unknown_requests_only() {
    let area = area();
    let mut rig = Rig::up(&area);
    rig.fake.0.borrow_mut().answers.push_back(Answer::Lost);
    rig.client.submit(&transfer(1, Op::Read, 0, &[5])).expect("room");
    rig.turn();
    rig.fake.run();
    rig.now_ns += 11 * SECOND_NS;
    rig.turn();
    // Asked while the controller is being reset: waits, and is served.
    rig.client.submit(&transfer(2, Op::Read, 0, &[5])).expect("room");
    let mut results = Vec::new();
    for _ in 0..1000 {
        rig.turn();
        rig.fake.run();
        results.extend(std::iter::from_fn(|| rig.client.poll().expect("sound")).map(|done| (done.tag, done.result)));
    }
    assert_eq!(results, [(1, Err(BlockError::Unknown)), (2, Ok(()))]);
    assert!(matches!(rig.client.link(), Link::Up(_)));
}

#[test]
fn a_dead_device_ends_the_session_once_it_is_silent() {
    let area = area();
    let mut rig = Rig::up(&area);
    rig.client.submit(&transfer(1, Op::Read, 0, &[5])).expect("room");
    rig.turn();
    rig.fake.0.borrow_mut().faults.removed = true;
    rig.turn();
    rig.turn();
    assert!(matches!(rig.service.controller().state(), State::Dead(_)));
    assert!(matches!(rig.client.link(), Link::Up(_)), "the frame is still the device's");
    rig.service.silenced();
    assert!(rig.turn());
    let completion = rig.client.poll().expect("sound").expect("said before the link went");
    assert_eq!((completion.tag, completion.result), (1, Err(BlockError::Unknown)));
    assert_eq!(rig.client.link(), Link::Lost);
}

/// A client that overwrites the ring's indices loses its session, and nothing else happens.
#[test]
fn a_broken_client_is_cut_off() {
    let area = area();
    let mut rig = Rig::up(&area);
    rig.client.submit(&transfer(1, Op::Read, 0, &[5])).expect("room");
    rig.turn();
    let write_index = 16;
    area[write_index].store(u64::MAX, core::sync::atomic::Ordering::Relaxed);
    rig.turn();
    assert!(matches!(rig.client.link(), Link::Up(_)), "until the device has let go");
    rig.fake.run();
    rig.turn_until(|rig| rig.client.link() == Link::Lost);
    rig.client = Client::open(&area).expect("begins anew");
    rig.turn_until(|rig| matches!(rig.client.link(), Link::Up(_)));
}

/// A device that takes two blocks at a time.
fn narrow() -> Profile {
    Profile { mdts: 1, ..Profile::default() }
}

fn done(rig: &mut Rig<'_>) -> Vec<(u64, Result<(), BlockError>)> {
    std::iter::from_fn(|| rig.client.poll().expect("sound")).map(|done| (done.tag, done.result)).collect()
}

#[test]
fn long_requests_are_cut_up_for_a_narrow_device() {
    let area = area();
    let mut rig = Rig::with(&area, narrow());
    let frames: Vec<u64> = (0..127).map(|i| 0x9000 + i * 3).collect();
    for (i, frame) in frames.iter().enumerate() {
        rig.fake.fill(*frame, i as u8 + 1);
    }
    rig.client.submit(&transfer(1, Op::Write, 5, &frames)).expect("room");
    rig.client.submit(&flush(2)).expect("room");
    let others: Vec<u64> = frames.iter().map(|frame| frame + 1).collect();
    let mut ends = Vec::new();
    for _ in 0..20 {
        rig.turn();
        rig.fake.run();
        ends.extend(done(&mut rig));
    }
    assert_eq!(ends, [(1, Ok(())), (2, Ok(()))], "one completion each");
    assert_eq!(rig.fake.0.borrow().executed.len(), 64 + 1);
    rig.client.submit(&transfer(3, Op::Read, 5, &others)).expect("room");
    rig.turn_until(|rig| done(rig) == [(3, Ok(()))]);
    for (i, frame) in others.iter().enumerate() {
        assert_eq!((rig.fake.block(5 + i as u64), rig.fake.uniform(*frame)), (i as u8 + 1, i as u8 + 1));
    }
    assert_eq!((rig.fake.block(4), rig.fake.block(132)), (0, 0));
}

#[test]
fn a_request_that_reaches_past_the_end_writes_nothing() {
    let area = area();
    let mut rig = Rig::with(&area, narrow());
    rig.client.submit(&transfer(1, Op::Write, 250, &[7; 10])).expect("room");
    let fault = Err(BlockError::Caller(CallerFault::OutOfRange));
    rig.turn_until(|rig| done(rig) == [(1, fault)]);
    assert!(rig.fake.0.borrow().executed.is_empty());
}

#[test]
fn a_part_that_fails_fails_the_whole_and_ends_it() {
    let area = area();
    let mut rig = Rig::with(&area, Profile { entries: 3, ..narrow() });
    rig.fake.0.borrow_mut().answers.extend([Answer::Truth, Answer::Status(0x280)]);
    rig.client.submit(&transfer(1, Op::Write, 0, &[7; 100])).expect("room");
    rig.client.submit(&flush(2)).expect("room");
    let mut ends = Vec::new();
    for _ in 0..20 {
        rig.turn();
        rig.fake.run();
        ends.extend(done(&mut rig));
    }
    let fault = BlockError::Medium(abi::protocol::block::MediumFault::Write);
    assert_eq!(ends, [(1, Err(fault)), (2, Ok(()))]);
    assert_eq!(rig.fake.0.borrow().executed.len(), 2 + 1, "the rest is not tried");
    // A part that goes well afterwards does not mend it.
    rig.fake.0.borrow_mut().answers.push_back(Answer::Status(0x280));
    rig.client.submit(&transfer(3, Op::Write, 0, &[7; 4])).expect("room");
    rig.turn_until(|rig| done(rig) == [(3, Err(fault))]);
}

#[test]
fn every_part_of_a_durable_write_is_durable() {
    let area = area();
    let mut rig = Rig::with(&area, narrow());
    rig.fake.fill(7, 3);
    let request = Request { durable: true, ..transfer(1, Op::Write, 0, &[7; 6]) };
    rig.client.submit(&request).expect("room");
    rig.turn_until(|rig| done(rig) == [(1, Ok(()))]);
    rig.fake.power_cut();
    assert_eq!((rig.fake.block(0), rig.fake.block(5)), (3, 3));
}

/// With room for two commands of two blocks: the driver waits for the device, and goes on when it has answered.
#[test]
fn a_long_request_neither_spins_nor_stalls() {
    let area = area();
    let mut rig = Rig::with(&area, Profile { entries: 3, ..narrow() });
    rig.client.submit(&transfer(1, Op::Read, 0, &[7; 100])).expect("room");
    assert_ne!(rig.service.turn(rig.now_ns).wait_ns_max, Some(0), "only the device can make room");
    rig.fake.run();
    rig.fake.0.borrow_mut().faults.instant = true;
    let start_ns = rig.now_ns;
    for _ in 0..10 {
        rig.turn();
    }
    assert_eq!(done(&mut rig), [(1, Ok(()))]);
    assert!(rig.now_ns - start_ns < 20 * MILLISECOND_NS, "a device that answers at once is not waited for");
}

#[test]
fn a_reset_amid_a_long_request_leaves_it_unknown() {
    let area = area();
    let mut rig = Rig::with(&area, Profile { entries: 9, ..narrow() });
    rig.fake.0.borrow_mut().answers.extend([Answer::Truth, Answer::Lost]);
    rig.client.submit(&transfer(1, Op::Write, 0, &[7; 100])).expect("room");
    rig.turn();
    rig.fake.run();
    rig.now_ns += 11 * SECOND_NS;
    rig.turn_until(|rig| done(rig) == [(1, Err(BlockError::Unknown))]);
    rig.client.submit(&transfer(2, Op::Write, 0, &[7; 100])).expect("room");
    rig.turn_until(|rig| done(rig) == [(2, Ok(()))]);
}

#[test]
fn a_client_that_goes_amid_a_long_request_gets_its_frames_back() {
    let area = area();
    let mut rig = Rig::with(&area, Profile { entries: 3, ..narrow() });
    rig.client.submit(&transfer(1, Op::Read, 0, &[7; 100])).expect("room");
    rig.turn();
    assert!(matches!(Client::open(&area), Err(OpenError::StillClosing)));
    rig.turn();
    rig.fake.run();
    rig.turn();
    rig.client = Client::open(&area).expect("two commands were under way, and have ended");
    rig.turn_until(|rig| matches!(rig.client.link(), Link::Up(_)));
    assert_eq!(rig.fake.0.borrow().executed.len(), 2, "the rest never began");
    assert_eq!(done(&mut rig), []);
}
