//! From any state to ready, or to a reason why not.

use super::*;
use crate::{Death, Missing, SetupError, Status, Step};
use abi::protocol::block::DiskInfo;
use fake::Faults;

fn settle(profile: Profile, settings: Settings, faults: Faults) -> Bench {
    let mut bench = Bench::new(profile, settings);
    bench.fake.0.borrow_mut().faults = faults;
    bench.driver.start(0);
    bench.run_until_settled();
    bench
}

fn death(profile: Profile, faults: Faults) -> Death {
    match settle(profile, Settings::default(), faults).driver.state() {
        State::Dead(death) => death,
        state => panic!("{state:?}"),
    }
}

#[test]
fn a_typical_controller_gets_ready() {
    let bench = Bench::ready(Profile::default());
    let info =
        DiskInfo { blocks: 256, request_blocks_max: 128, volatile_cache: true, can_zero: true, can_deallocate: true };
    assert_eq!(bench.driver.info(), Some(info));
    assert_eq!(bench.driver.wait_ns_max(), None, "nothing to do");
    assert_eq!(bench.driver.resets(), 0);
}

#[test]
fn sectors_limits_and_strides_vary() {
    let profile = Profile { sector_bytes: 4096, sectors: 100, mdts: 3, stride: 2, namespace: 7, ..Profile::default() };
    let bench = Bench::ready(profile);
    let info = bench.driver.info().expect("ready");
    assert_eq!((info.blocks, info.request_blocks_max), (100, 8));
    let unlimited = Bench::ready(Profile { mdts: 0, sectors: 15, optional: 0, ..Profile::default() });
    let info = unlimited.driver.info().expect("ready");
    assert_eq!((info.blocks, info.request_blocks_max), (1, 128), "a part of a block is no block");
    assert!(!info.can_zero && !info.can_deallocate);
    let huge = Bench::ready(Profile { mdts: 200, ..Profile::default() });
    assert_eq!(huge.driver.info().expect("ready").request_blocks_max, 128);
}

#[test]
fn the_write_cache_is_set_when_told() {
    let off = Settings { write_cache: Some(false), ..Settings::default() };
    let info = |bench: &Bench| bench.driver.info().expect("ready").volatile_cache;
    assert!(!info(&settle(Profile::default(), off, Faults::default())));
    let refused = Faults { refuse_admin: Some((9, 0x10d)), ..Faults::default() };
    let bench = settle(Profile::default(), off, refused);
    // Number of Queues is set by the same command, and that one must succeed.
    assert!(matches!(bench.driver.state(), State::Dead(Death::Refused(Step::QueueCount, _))));
    let none = Profile { write_cache: false, ..Profile::default() };
    assert!(!info(&settle(none, off, Faults::default())), "without a cache it is not set: the fake would panic");
    let on = Settings { write_cache: Some(true), ..Settings::default() };
    assert!(info(&settle(Profile::default(), on, Faults::default())));
}

#[test]
fn what_is_missing_is_named() {
    let metadata = Profile { metadata_bytes: 8, ..Profile::default() };
    assert_eq!(death(metadata, Faults::default()), Death::Missing(Missing::Sectors));
    let odd = Profile { sector_bytes: 1024, ..Profile::default() };
    assert_eq!(death(odd, Faults::default()), Death::Missing(Missing::Sectors));
    let empty = Profile { sectors: 0, ..Profile::default() };
    assert_eq!(death(empty, Faults::default()), Death::Missing(Missing::Namespace));
    let none = Profile { namespace: 0, ..Profile::default() };
    assert_eq!(death(none, Faults::default()), Death::Missing(Missing::Namespace));
    let protected = Profile { protection: 1, ..Profile::default() };
    assert_eq!(death(protected, Faults::default()), Death::Missing(Missing::Sectors));
    let beyond = Profile { format: 3, ..Profile::default() };
    assert_eq!(death(beyond, Faults::default()), Death::Missing(Missing::Sectors), "there are formats 0 to 2");
    let blank = Faults { blank_identify: Some(1), ..Faults::default() };
    assert_eq!(death(Profile::default(), blank), Death::Missing(Missing::EntrySizes));
    let other = Settings { namespace: Some(3), ..Settings::default() };
    let bench = settle(Profile::default(), other, Faults::default());
    assert_eq!(bench.driver.state(), State::Dead(Death::Missing(Missing::Namespace)));
}

/// What Identify said before must not pass for what it says now.
#[test]
fn an_answer_that_was_not_written_is_not_read() {
    let blank = Faults { blank_identify: Some(0), ..Faults::default() };
    // The list of namespaces, read as a namespace, is one of a single sector.
    assert_eq!(death(Profile::default(), blank), Death::Missing(Missing::Namespace));
}

#[test]
fn each_refused_step_is_named() {
    for (opcode, step) in [(6, Step::Controller), (5, Step::CompletionQueue), (1, Step::SubmissionQueue)] {
        let faults = Faults { refuse_admin: Some((opcode, 0x106)), ..Faults::default() };
        let status = Status { code: 6, kind: 1, do_not_retry: false };
        assert_eq!(death(Profile::default(), faults), Death::Refused(step, status));
    }
}

#[test]
fn a_controller_that_does_not_change_is_given_up_in_time() {
    let stuck = Faults { stuck: true, ..Faults::default() };
    let bench = settle(Profile::default(), Settings::default(), stuck);
    assert_eq!(bench.driver.state(), State::Dead(Death::NeverReady));
    let waited = bench.now_ns;
    assert!((2 * SECOND_NS..3 * SECOND_NS).contains(&waited), "CAP.TO says 2 s, it took {waited} ns");

    let mut bench = Bench::ready(Profile::default());
    bench.fake.0.borrow_mut().faults.stuck = true;
    bench.submit(&flush(1));
    bench.pass(11 * SECOND_NS);
    bench.run_until_settled();
    assert_eq!(bench.driver.state(), State::Dead(Death::NeverStops));
}

#[test]
fn a_controller_that_is_running_is_reset_first() {
    let bench = Bench::ready(Profile::default());
    let (registers, memory) = bench.fake.windows(DMA_FRAMES);
    let mut second = Bench {
        driver: Controller::new(registers, memory, Settings::default()).expect("good"),
        fake: bench.fake.clone(),
        now_ns: 0,
    };
    second.driver.start(0);
    second.run_until_settled();
    assert_eq!(second.driver.state(), State::Ready);
    assert_eq!(bench.fake.0.borrow().resets, 1);
}

#[test]
fn small_windows_and_absent_devices_are_refused() {
    let fake = Fake::new(Profile::default());
    let (registers, memory) = fake.windows(DMA_FRAMES - 1);
    assert_eq!(Controller::new(registers, memory, Settings::default()).err(), Some(SetupError::TooSmall));
    fake.0.borrow_mut().faults.removed = true;
    let (registers, memory) = fake.windows(DMA_FRAMES);
    assert_eq!(Controller::new(registers, memory, Settings::default()).err(), Some(SetupError::Removed));
}

#[test]
fn shutting_down_flushes_and_stops() {
    let mut bench = Bench::ready(Profile::default());
    bench.fake.fill(5, 0x77);
    assert_eq!(bench.ask(&transfer(1, Op::Write, 3, &[5])).result, Ok(()));
    bench.submit(&transfer(2, Op::Read, 3, &[6]));
    bench.driver.shut_down(bench.now_ns);
    bench.run_until_settled();
    assert_eq!(bench.driver.state(), State::Stopped);
    assert_eq!(bench.completions().len(), 1, "what flew is over, one way or the other");
    bench.fake.power_cut();
    assert_eq!(bench.fake.block(3), 0x77);
    bench.driver.start(bench.now_ns);
    bench.run_until_settled();
    assert_eq!(bench.driver.state(), State::Ready, "and it can be started again");
}
