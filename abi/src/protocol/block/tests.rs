//! Both ends of a link against each other, and against memory that neither wrote.

use core::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::protocol::ring::PeerBroken;

const INFO: DiskInfo =
    DiskInfo { blocks: 1000, request_blocks_max: 128, volatile_cache: true, can_zero: true, can_deallocate: false };

fn area() -> Vec<AtomicU64> {
    (0..AREA_BYTES / 8).map(|_| AtomicU64::new(0)).collect()
}

fn up(area: &[AtomicU64]) -> (Client<'_>, Driver<'_>) {
    let mut driver = Driver::new(area).expect("large enough");
    let mut client = Client::open(area).expect("opens");
    assert_eq!((client.link(), driver.asked()), (Link::Opening, Asked::Open));
    driver.accept(INFO);
    assert_eq!((client.link(), driver.asked()), (Link::Up(INFO), Asked::Nothing));
    (client, driver)
}

fn next(driver: &mut Driver<'_>) -> Request {
    let request = driver.peek().expect("sound").expect("one waits").expect("well formed");
    driver.taken();
    request
}

#[test]
fn requests_and_completions_cross() {
    let area = area();
    let (mut client, mut driver) = up(&area);
    for frames in [1usize, 5, 6, 128] {
        let list: Vec<u64> = (0..frames as u64).map(|i| i * 3 + 1).collect();
        let mut request = Request::transfer(frames as u64, Op::Write, 7, &list).expect("fits");
        request.durable = frames == 5;
        client.submit(&request).expect("room");
        assert_eq!(next(&mut driver), request);
    }
    client.submit(&Request::plain(1, Op::Flush, 0, 0)).expect("room");
    assert_eq!(next(&mut driver).op, Op::Flush);
    let results = [
        Ok(()),
        Err(BlockError::Caller(CallerFault::OutOfRange)),
        Err(BlockError::Medium(MediumFault::Read)),
        Err(BlockError::Controller { again: true }),
        Err(BlockError::Controller { again: false }),
        Err(BlockError::Transport),
        Err(BlockError::Unknown),
    ];
    for result in results {
        let completion = Completion { tag: 9, result, device_status: 0x281 };
        driver.complete(&completion).expect("room");
        assert_eq!(client.poll(), Ok(Some(completion)));
    }
    assert_eq!(client.poll(), Ok(None));
}

#[test]
fn a_list_belongs_to_its_slot_until_it_is_taken() {
    let area = area();
    let (mut client, mut driver) = up(&area);
    for tag in 0..u64::from(REQUESTS_MAX) {
        client.submit(&Request::transfer(tag, Op::Read, 0, &[tag; 128]).expect("fits")).expect("room");
    }
    let another = Request::transfer(99, Op::Read, 0, &[99; 128]).expect("fits");
    assert_eq!(client.submit(&another), Err(SubmitError::Full));
    assert_eq!(next(&mut driver).frames, [0; 128], "the refused request has not touched a list");
    client.submit(&another).expect("room");
    for tag in (1..u64::from(REQUESTS_MAX)).chain([99]) {
        assert_eq!(next(&mut driver).frames, [tag; 128]);
    }
}

#[test]
fn a_driver_that_restarts_refuses_the_old_session() {
    let area = area();
    let (mut client, mut driver) = up(&area);
    client.submit(&Request::plain(1, Op::Flush, 0, 0)).expect("room");
    client.submit(&Request::plain(2, Op::Flush, 0, 0)).expect("room");
    next(&mut driver);
    driver.complete(&Completion { tag: 1, result: Ok(()), device_status: 0 }).expect("room");
    let mut driver = Driver::new(&area).expect("large enough");
    assert_eq!(driver.asked(), Asked::Nothing, "never the session of its predecessor");
    assert_eq!(driver.peek(), Ok(None));
    assert_eq!(client.link(), Link::Lost);
    assert_eq!(client.submit(&Request::plain(3, Op::Flush, 0, 0)), Err(SubmitError::NotUp));
    assert_eq!(client.poll().expect("sound").map(|done| done.tag), Some(1), "what was said still counts");
    let mut client = Client::open(&area).expect("the old session is over");
    assert_eq!(driver.asked(), Asked::Open);
    driver.accept(INFO);
    assert_eq!(client.link(), Link::Up(INFO));
    assert_eq!((client.poll(), driver.peek()), (Ok(None), Ok(None)), "nothing of the old session is left");
}

#[test]
fn a_driver_that_finds_an_open_session_makes_the_client_open_another() {
    let area = area();
    let mut client = Client::open(&area).expect("opens");
    let driver = Driver::new(&area).expect("large enough");
    assert_eq!((client.link(), driver.asked()), (Link::Lost, Asked::Nothing));
    Client::open(&area).expect("opens");
    assert_eq!(driver.asked(), Asked::Open);
}

#[test]
fn a_client_that_restarts_waits_until_the_device_is_quiet() {
    let area = area();
    let (mut client, mut driver) = up(&area);
    client.submit(&Request::plain(1, Op::Flush, 0, 0)).expect("room");
    assert!(matches!(Client::open(&area), Err(OpenError::StillClosing)));
    assert_eq!(driver.asked(), Asked::Close);
    driver.end();
    assert_eq!(driver.asked(), Asked::Nothing);
    assert_eq!(client.link(), Link::Lost, "the dead client's view, for completeness");
    let mut client = Client::open(&area).expect("quiet now");
    driver.accept(INFO);
    assert_eq!(client.link(), Link::Up(INFO));
    assert_eq!(driver.peek(), Ok(None));
}

#[test]
fn sessions_are_never_used_twice() {
    let area = area();
    let mut driver = Driver::new(&area).expect("large enough");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let client = Client::open(&area).expect("opens");
        driver.accept(INFO);
        assert!(seen.insert(area[place::SESSION].load(Ordering::Relaxed)));
        client.close();
        assert_eq!(driver.asked(), Asked::Close);
        driver.end();
    }
}

#[test]
fn a_small_area_is_refused() {
    let area = &area()[..place::END - 1];
    assert!(Driver::new(area).is_none());
    assert!(matches!(Client::open(area), Err(OpenError::TooSmall)));
}

#[test]
fn malformed_requests_do_not_leave_the_client() {
    let area = area();
    let (mut client, mut driver) = up(&area);
    let bad = [
        Request::plain(1, Op::Flush, 0, 1),
        Request::plain(1, Op::Flush, 1, 0),
        Request::plain(1, Op::Read, 0, 0),
        Request::plain(1, Op::Write, 0, 129),
        Request::plain(1, Op::WriteZeroes, 0, 0),
        Request::plain(1, Op::WriteZeroes, 0, ZERO_BLOCKS_MAX + 1),
        Request::plain(1, Op::Deallocate, u64::MAX, 1),
    ];
    for request in bad {
        assert_eq!(client.submit(&request), Err(SubmitError::Malformed(RequestError::BadRange)), "{request:?}");
    }
    assert!(Request::transfer(1, Op::Read, 0, &[0; 129]).is_none());
    assert_eq!(driver.peek(), Ok(None));
}

#[test]
fn foreign_disk_descriptions_are_the_drivers_fault() {
    for shape in [0, 129, 1 | 1 << 35, 1 | 1 << 63] {
        let area = area();
        let (mut client, _) = up(&area);
        area[place::SHAPE].store(shape, Ordering::Relaxed);
        assert_eq!(client.link(), Link::DriverBroken);
        assert_eq!(client.submit(&Request::plain(1, Op::Flush, 0, 0)), Err(SubmitError::DriverBroken));
    }
}

proptest! {
    /// Whatever words a hostile client leaves, the driver gets a well-formed request or a refusal with its tag.
    #[test]
    fn any_entry_is_a_request_or_refused(words in any::<[u64; 8]>(), op in 0u64..8, small in any::<bool>()) {
        let area = area();
        let mut entry = words;
        if small {
            entry[1] = op | (words[1] & 0x1ff) << 32;
            entry[2] &= 0xffff;
        }
        match Request::read(&area, words[7], &entry) {
            Ok(request) => {
                prop_assert_eq!(request.check(), Ok(()));
                prop_assert!(request.frames().len() <= FRAMES_MAX);
                prop_assert_eq!(request.tag, entry[0]);
            }
            Err(RequestError::NoSuchOp | RequestError::BadRange) => {}
        }
    }

    /// Whatever a hostile driver leaves, the client gets a completion it could have written, or refuses it.
    #[test]
    fn any_entry_is_a_completion_or_refused(tag: u64, class in 0u64..8, detail in 0u64..8, status: u32, junk in 0u64..3) {
        let mut entry = [0; 8];
        entry[0] = tag;
        entry[1] = class | detail << 8 | u64::from(status) << 32;
        entry[5] = junk / 2;
        if let Some(completion) = Completion::read(&entry) {
            prop_assert_eq!(completion.write(), entry);
        } else {
            prop_assert!(class > 5 || detail != 0 || entry[5] != 0 || class == 1 || class == 2);
        }
    }

    /// Memory that nobody wrote sensibly stops neither side.
    #[test]
    fn arbitrary_lines_never_panic(head in any::<[u64; 16]>(), rings in any::<[u64; 32]>()) {
        let area = area();
        for (word, value) in area.iter().zip(head.iter()) {
            word.store(*value, Ordering::Relaxed);
        }
        for (i, value) in rings.iter().enumerate() {
            area[place::REQUESTS + i].store(*value, Ordering::Relaxed);
            area[place::COMPLETIONS + i].store(*value, Ordering::Relaxed);
        }
        let mut driver = Driver::new(&area).expect("large enough");
        driver.accept(INFO);
        let _: Result<Option<_>, PeerBroken> = driver.peek();
        driver.taken();
        if let Ok(mut client) = Client::open(&area) {
            client.link();
            let _: Result<Option<_>, PeerBroken> = client.poll();
        }
    }
}
