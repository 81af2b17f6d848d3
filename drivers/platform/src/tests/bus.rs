//! What is found on a bus, and where its windows go.

use core::sync::atomic::AtomicU64;

use abi::protocol::devices::{MessageTable, NOTES_WORDS};

use super::fake::*;
use crate::{Bar, ConfigRegion, DEVICES_MAX, Hole, Inventory, Place};

const ALL: ConfigRegion = ConfigRegion { base: 0xb000_0000, segment: 0, first_bus: 0, last_bus: 255 };

fn places(inventory: &Inventory) -> Vec<Place> {
    inventory.iter().map(|function| function.place).collect()
}

#[test]
fn an_nvme_controller_is_described() {
    let at = Place::new(0, 3, 0);
    let bus = FakeBus::default().with(at, nvme(0xfebd_0000));
    let inventory = Inventory::scan(&bus, ALL, &[]);
    let function = inventory.get(0).expect("found");
    assert_eq!(function.place, at);
    assert_eq!((function.device.vendor, function.device.product, function.device.class), (0x1b36, 0x10, NVME));
    assert_eq!(function.bars[0], Bar { base: 0xfebd_0000, bytes: 0x4000, wide: true });
    assert_eq!(function.bars[1..], [Bar::default(); 5]);
    assert_eq!(function.device.messages, Some(MessageTable { bar: 0, offset: 0x2000, vectors: 65 }));
    assert!(function.clean);
    assert_eq!(bus.register(at, 0x10), 0xfebd_0004, "sizing puts the window back");
}

#[test]
fn windows_of_every_kind() {
    let at = Place::new(0, 1, 0);
    let function = FakeFunction::new(0x02_0000)
        .bar(0, 0xfea0_0000, 12, false)
        .set(0x14, 0xc001)
        .bar(2, 0x38_0000_0000, 34, true)
        .set(0x24, 0x4);
    let bus = FakeBus::default().with(at, function);
    let inventory = Inventory::scan(&bus, ALL, &[]);
    let bars = inventory.get(0).expect("found").bars;
    assert_eq!(bars[0], Bar { base: 0xfea0_0000, bytes: 0x1000, wide: false });
    assert_eq!(bars[1], Bar::default(), "ports");
    assert_eq!(bars[2], Bar { base: 0x38_0000_0000, bytes: 1 << 34, wide: true });
    assert_eq!(bars[3], Bar::default(), "the upper half of the one before");
    assert_eq!(bars[5], Bar::default(), "a wide one without an upper half");
}

#[test]
fn sizing_happens_without_decoding() {
    let at = Place::new(0, 3, 0);
    let bus = FakeBus::default().with(at, nvme(0xfebd_0000).set(4, 0x0010_0007));
    let inventory = Inventory::scan(&bus, ALL, &[]);
    let log = bus.0.borrow()[&at].log.clone();
    let mut decoding = true;
    for (register, value) in log {
        match register {
            4 => decoding = value & 3 != 0,
            0x10..=0x24 => assert!(!decoding, "a window moved while it was decoded"),
            _ => {}
        }
    }
    assert_eq!(bus.register(at, 4) & 7, 3, "decoding as before, bus mastering off");
    assert!(!inventory.get(0).expect("found").clean, "it could reach memory before");
}

#[test]
fn buses_behind_bridges_are_found_once() {
    let bridge = |secondary: u32| FakeFunction::new(BRIDGE).set(0x0c, 1 << 16).set(0x18, 0xff << 16 | secondary << 8);
    let several = |function: FakeFunction| function.set(0x0c, 1 << 23);
    let bus = FakeBus::default()
        .with(Place::new(0, 0, 0), several(FakeFunction::new(0x02_0000)))
        .with(Place::new(0, 0, 7), FakeFunction::new(0x02_0000))
        .with(Place::new(0, 1, 0), bridge(5))
        // Leads back, and out of the region.
        .with(Place::new(5, 0, 0), several(bridge(0)))
        .with(Place::new(5, 0, 1), bridge(200))
        .with(Place::new(5, 31, 0), nvme(0xfebd_0000))
        .with(Place::new(200, 0, 0), FakeFunction::new(0x02_0000))
        // One function only: the others must not be looked at.
        .with(Place::new(0, 2, 0), FakeFunction::new(0x02_0000))
        .with(Place::new(0, 2, 1), FakeFunction::new(0x02_0000))
        .with(Place::new(0, 31, 0), FakeFunction::new(0x06_0100));
    let region = ConfigRegion { last_bus: 127, ..ALL };
    let expected = [Place::new(0, 0, 0), Place::new(0, 0, 7), Place::new(0, 2, 0), Place::new(5, 31, 0)];
    assert_eq!(places(&Inventory::scan(&bus, region, &[])), expected);
    assert_eq!(places(&Inventory::scan(&bus, ALL, &[])).len(), 5);
}

#[test]
fn a_second_scan_writes_to_nothing_that_the_first_has_noted() {
    let (first, second) = (Place::new(0, 0, 0), Place::new(0, 3, 0));
    let bus = FakeBus::default().with(first, FakeFunction::new(0x02_0000)).with(second, nvme(0xfebd_0000));
    let notes: Vec<AtomicU64> = (0..NOTES_WORDS).map(|_| AtomicU64::new(0)).collect();
    let before = Inventory::scan(&bus, ALL, &notes);
    for place in [first, second] {
        bus.change(place, |function| function.log.clear());
    }
    let new = Place::new(0, 4, 0);
    let bus = bus.with(new, nvme(0xfebe_0000).set(4, 0x0010_0006));
    let after = Inventory::scan(&bus, ALL, &notes);
    assert!(bus.0.borrow()[&first].log.is_empty() && bus.0.borrow()[&second].log.is_empty());
    assert_eq!(before.get(1).map(|function| function.bars), after.get(1).map(|function| function.bars));
    assert_eq!(bus.register(new, 4) & 4, 0, "one that has come since is silenced");
    assert_eq!(after.get(2).map(|function| function.bars[0].bytes), Some(0x4000));
}

#[test]
fn bridges_keep_bus_mastering() {
    let at = Place::new(0, 1, 0);
    let bus = FakeBus::default().with(at, FakeFunction::new(BRIDGE).set(0x0c, 1 << 16).set(4, 7));
    assert!(places(&Inventory::scan(&bus, ALL, &[])).is_empty());
    assert_eq!(bus.register(at, 4), 7);
}

#[test]
fn more_devices_than_fit_are_counted() {
    let mut bus = FakeBus::default();
    for device in 0..32 {
        for function in 0..3 {
            bus = bus.with(Place::new(0, device, function), FakeFunction::new(0x02_0000).set(0x0c, 1 << 23));
        }
    }
    let inventory = Inventory::scan(&bus, ALL, &[]);
    assert_eq!((inventory.iter().count(), inventory.left_out()), (DEVICES_MAX, 96 - DEVICES_MAX));
}

#[test]
fn capability_lists_that_run_in_circles_end() {
    let at = Place::new(0, 3, 0);
    for function in [
        nvme(0xfebd_0000).set(EXPRESS_AT, u32::from(EXPRESS_AT) << 8 | 0x05).set(MESSAGES_AT, 0x8005),
        nvme(0xfebd_0000).set(0x34, 0x20),
        nvme(0xfebd_0000).set(0x34, 0xfc).set(0xfc, u32::MAX),
        nvme(0xfebd_0000).set(4, 0),
    ] {
        let bus = FakeBus::default().with(at, function);
        assert_eq!(Inventory::scan(&bus, ALL, &[]).get(0).expect("found").device.messages, None);
    }
}

#[test]
fn tables_outside_their_window_are_not_believed() {
    let at = Place::new(0, 3, 0);
    let found = |function: FakeFunction| {
        let bus = FakeBus::default().with(at, function.capabilities(&[(MESSAGES_AT, 0x11)]));
        Inventory::scan(&bus, ALL, &[]).get(0).expect("found").device.messages
    };
    assert!(found(nvme(0xfebd_0000).messages(0, 0x3000, 256)).is_some(), "just fits");
    assert_eq!(found(nvme(0xfebd_0000).messages(0, 0x3000, 257)), None);
    assert_eq!(found(nvme(0xfebd_0000).messages(3, 0, 1)), None, "no such window");
    assert_eq!(found(nvme(0xfebd_0000).messages(7, 0, 1)), None, "no such register");
}

#[test]
fn windows_without_a_place_get_one() {
    let (first, second, third) = (Place::new(0, 1, 0), Place::new(0, 2, 0), Place::new(0, 3, 0));
    let bus = FakeBus::default()
        .with(first, nvme(0))
        .with(second, FakeFunction::new(0x02_0000).bar(0, 0, 8, false).bar(1, 0, 20, false))
        // In the way of the first choice.
        .with(third, FakeFunction::new(0x02_0000).bar(0, 0xfebf_c000, 14, false));
    let mut inventory = Inventory::scan(&bus, ALL, &[]);
    assert_eq!(inventory.place_windows(&bus, Hole::USUAL), 0);
    let mut spans: Vec<(u64, u64)> = inventory
        .iter()
        .flat_map(|function| function.bars)
        .filter(|bar| bar.bytes != 0)
        .map(|bar| {
            assert!(bar.base.is_multiple_of(bar.bytes.max(4096)), "{bar:x?} is not aligned");
            assert!(bar.base >= Hole::USUAL.start && bar.base + bar.bytes <= Hole::USUAL.end);
            (bar.base, bar.base + bar.bytes.max(4096))
        })
        .collect();
    spans.sort_unstable();
    assert_eq!(spans.len(), 4);
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{spans:x?} overlap");
    let told = inventory.get(0).expect("found").bars[0].base;
    assert_eq!(u64::from(bus.register(first, 0x10) & !0xf), told, "the device is told");
    assert_eq!(bus.register(first, 0x14), 0);
}

#[test]
fn a_hole_that_is_too_small_says_so() {
    let hole = Hole { start: 0xf000_0000, end: 0xf000_8000 };
    let bus = FakeBus::default()
        .with(Place::new(0, 1, 0), nvme(0))
        .with(Place::new(0, 2, 0), nvme(0))
        .with(Place::new(0, 3, 0), nvme(0));
    let mut inventory = Inventory::scan(&bus, ALL, &[]);
    assert_eq!(inventory.place_windows(&bus, hole), 1);
    assert_eq!(inventory.place_windows(&bus, Hole { start: 0, end: 0x1000 }), 1);
}
