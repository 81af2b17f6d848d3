//! Devices are let work and are silenced, through init's questions.

use core::sync::atomic::AtomicU64;

use abi::protocol::devices::{AREA_BYTES, Answerer, Asker, Refusal, Reply, Request};

use super::fake::*;
use crate::{ConfigRegion, Inventory, Place, Service};

const AT: Place = Place::new(0, 3, 0);
const ALL: ConfigRegion = ConfigRegion { base: 0xb000_0000, segment: 0, first_bus: 0, last_bus: 255 };
const BASE: u64 = 0xfebd_0000;
const MILLISECOND_NS: u64 = 1_000_000;

struct Rig<'a> {
    bus: &'a FakeBus,
    service: Service<'a, &'a FakeBus>,
    init: Asker<'a>,
    now_ns: u64,
}

fn area() -> Vec<AtomicU64> {
    (0..AREA_BYTES / 8).map(|_| AtomicU64::new(0)).collect()
}

impl<'a> Rig<'a> {
    fn new(bus: &'a FakeBus, area: &'a [AtomicU64]) -> Self {
        let link = Answerer::new(area).expect("large enough");
        let service = Service::new(bus, Inventory::scan(bus, ALL, link.notes()), link);
        Self { bus, service, init: Asker::new(area).expect("large enough"), now_ns: 0 }
    }

    /// Asks and waits as long as it takes; the answer and the time it took in milliseconds.
    fn ask(&mut self, request: Request) -> (Reply, u64) {
        let start = self.now_ns;
        self.init.ask(request).expect("room");
        for _ in 0..10_000 {
            let turn = self.service.turn(self.now_ns).expect("a sound peer");
            if let Some(reply) = self.init.answer().expect("a sound peer") {
                assert!(turn.signal);
                return (reply, (self.now_ns - start) / MILLISECOND_NS);
            }
            self.now_ns += turn.wait_ns_max.expect("it is busy");
        }
        panic!("{request:?} is never answered");
    }

    fn command(&self) -> u32 {
        self.bus.register(AT, 4) & 0xffff
    }
}

#[test]
fn a_device_is_described_and_let_work() {
    let (bus, area) = (FakeBus::default().with(AT, nvme(BASE)), area());
    let mut rig = Rig::new(&bus, &area);
    let Reply::Device(device) = rig.ask(Request::Describe(0)).0 else { panic!("described") };
    assert_eq!((device.class, device.place), (NVME, AT.number()));
    assert_eq!(rig.ask(Request::Bar { device: 0, bar: 0 }).0, Reply::Bar { base: BASE, bytes: 0x4000 });
    for bar in [1, 6, 255] {
        assert_eq!(rig.ask(Request::Bar { device: 0, bar }).0, Reply::Refused(Refusal::NoSuchDevice));
    }
    assert_eq!(rig.ask(Request::Enable(0)), (Reply::Done, 0), "clean: no reset is needed");
    assert_eq!(rig.command() & 0x407, 0x406, "memory and bus mastering on, ports and pin off");
    assert_eq!(bus.register(AT, MESSAGES_AT) >> 30, 2, "message interrupts on and unmasked");
    for request in [Request::Describe(1), Request::Enable(1), Request::Silence(255)] {
        assert_eq!(rig.ask(request).0, Reply::Refused(Refusal::NoSuchDevice));
    }
}

#[test]
fn silencing_stops_resets_and_mends() {
    let (bus, area) = (FakeBus::default().with(AT, nvme(BASE)), area());
    let mut rig = Rig::new(&bus, &area);
    rig.ask(Request::Enable(0));
    bus.change(AT, |function| {
        function.pending_looks = 5;
        function.reset_reads = 7;
        function.log.clear();
    });
    let (reply, took_ms) = rig.ask(Request::Silence(0));
    assert_eq!(reply, Reply::Done);
    assert!((100..300).contains(&took_ms), "took {took_ms} ms");
    let log = bus.0.borrow()[&AT].log.clone();
    let first = log.iter().find(|(register, _)| *register == 4).expect("the command register");
    assert_eq!(first.1 & 4, 0, "bus mastering goes first");
    assert_eq!(bus.0.borrow()[&AT].resets, 1);
    assert_eq!(rig.command() & 4, 0);
    assert_eq!(bus.register(AT, 0x10) & !0xf, BASE as u32, "its window is put back");
    assert_eq!(rig.ask(Request::Enable(0)), (Reply::Done, 0));
}

#[test]
fn a_device_that_was_running_is_reset_before_it_is_enabled() {
    let (bus, area) = (FakeBus::default().with(AT, nvme(BASE).set(4, 0x0010_0006)), area());
    let mut rig = Rig::new(&bus, &area);
    assert_eq!(rig.command() & 4, 0, "silent since it was found");
    let (reply, took_ms) = rig.ask(Request::Enable(0));
    assert_eq!((reply, bus.0.borrow()[&AT].resets), (Reply::Done, 1));
    assert!(took_ms >= 100);
    rig.ask(Request::Enable(0));
    assert_eq!(bus.0.borrow()[&AT].resets, 2, "it has been let work since: asked again, it is reset again");
}

/// A platform driver dies and the next one comes, while a disk is at work.
#[test]
fn the_next_driver_does_not_disturb_devices_at_work() {
    let card = Place::new(0, 4, 0);
    let bus = FakeBus::default().with(AT, nvme(BASE)).with(card, FakeFunction::new(0x02_0000).set(4, 0x0010_0006));
    let area = area();
    let mut rig = Rig::new(&bus, &area);
    assert_eq!(bus.register(card, 4) & 4, 0, "the first one silences what firmware left on");
    rig.ask(Request::Enable(0));
    bus.change(AT, |function| function.log.clear());
    let told = (rig.ask(Request::Describe(0)).0, rig.ask(Request::Bar { device: 0, bar: 0 }).0);
    abi::protocol::devices::reset(&area);
    let mut rig = Rig::new(&bus, &area);
    assert_eq!((rig.ask(Request::Describe(0)).0, rig.ask(Request::Bar { device: 0, bar: 0 }).0), told);
    assert!(bus.0.borrow()[&AT].log.is_empty(), "not one register was written");
    assert_eq!(rig.command() & 6, 6);
    // Asked to, it silences it, and it resets before it lets work, for it does not know what was before.
    assert_eq!(rig.ask(Request::Silence(0)).0, Reply::Done);
    assert_eq!(rig.ask(Request::Enable(0)), (Reply::Done, 0));
    assert_eq!(rig.ask(Request::Enable(1)).0, Reply::Refused(Refusal::Stuck), "it cannot be reset");
    abi::protocol::devices::reset(&area);
    let mut rig = Rig::new(&bus, &area);
    rig.ask(Request::Enable(0));
    assert_eq!(bus.0.borrow()[&AT].resets, 2);
}

#[test]
fn the_older_reset_will_do() {
    let function =
        FakeFunction::new(NVME).bar(0, BASE, 14, true).set(ADVANCED_AT, 1 << 25).capabilities(&[(ADVANCED_AT, 0x13)]);
    let (bus, area) = (FakeBus::default().with(AT, function), area());
    let mut rig = Rig::new(&bus, &area);
    rig.ask(Request::Enable(0));
    bus.change(AT, |function| function.pending_looks = 3);
    assert_eq!(rig.ask(Request::Silence(0)).0, Reply::Done);
    assert_eq!(bus.0.borrow()[&AT].resets, 1);
}

#[test]
fn without_a_reset_it_is_silent_but_not_given_again() {
    let function = FakeFunction::new(NVME).bar(0, BASE, 14, true);
    let (bus, area) = (FakeBus::default().with(AT, function), area());
    let mut rig = Rig::new(&bus, &area);
    assert_eq!(rig.ask(Request::Enable(0)).0, Reply::Done);
    let (reply, took_ms) = rig.ask(Request::Silence(0));
    assert_eq!(reply, Reply::Done);
    assert!(took_ms >= 200, "nothing says what is pending, so it gets its time: {took_ms} ms");
    assert_eq!(rig.command() & 4, 0);
    assert_eq!(rig.ask(Request::Enable(0)).0, Reply::Refused(Refusal::Stuck), "its old orders would go on");
}

#[test]
fn devices_that_do_not_obey_or_answer_are_named() {
    let (bus, area) = (FakeBus::default().with(AT, nvme(BASE)), area());
    let mut rig = Rig::new(&bus, &area);
    rig.ask(Request::Enable(0));
    bus.change(AT, |function| function.defiant = true);
    assert_eq!(rig.ask(Request::Silence(0)).0, Reply::Refused(Refusal::Stuck));
    bus.change(AT, |function| {
        function.defiant = false;
        function.reset_reads = u32::MAX;
    });
    let (reply, took_ms) = rig.ask(Request::Silence(0));
    assert_eq!(reply, Reply::Refused(Refusal::Removed));
    assert!((1000..2000).contains(&took_ms), "took {took_ms} ms");
    bus.change(AT, |function| function.removed = true);
    assert_eq!(rig.ask(Request::Silence(0)), (Reply::Refused(Refusal::Removed), 0));
    assert_eq!(rig.ask(Request::Enable(0)).0, Reply::Refused(Refusal::Removed));
}

#[test]
fn pending_transactions_are_not_waited_for_for_ever() {
    let (bus, area) = (FakeBus::default().with(AT, nvme(BASE)), area());
    let mut rig = Rig::new(&bus, &area);
    rig.ask(Request::Enable(0));
    bus.change(AT, |function| function.pending_looks = u32::MAX);
    let (reply, took_ms) = rig.ask(Request::Silence(0));
    assert_eq!((reply, bus.0.borrow()[&AT].resets), (Reply::Done, 1), "a reset drops them");
    assert!((300..500).contains(&took_ms), "took {took_ms} ms");
}

#[test]
fn answers_come_in_order() {
    let (bus, area) = (FakeBus::default().with(AT, nvme(BASE).set(4, 0x0010_0006)), area());
    let mut rig = Rig::new(&bus, &area);
    rig.init.ask(Request::Silence(0)).expect("room");
    rig.init.ask(Request::Describe(9)).expect("room");
    rig.service.turn(0).expect("sound");
    assert_eq!(rig.init.answer(), Ok(None));
    rig.service.turn(50 * MILLISECOND_NS).expect("sound");
    assert_eq!(rig.init.answer(), Ok(None), "a reset takes its time");
    rig.service.turn(500 * MILLISECOND_NS).expect("sound");
    assert_eq!(rig.init.answer(), Ok(Some(Reply::Done)));
    assert_eq!(rig.init.answer(), Ok(Some(Reply::Refused(Refusal::NoSuchDevice))));
}
