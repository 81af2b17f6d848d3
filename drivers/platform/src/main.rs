//! The platform driver's program: maps firmware tables and configuration space, and answers init.
//!
//! Grants: `devices`, `link:devices`, `debug`. Without an ACPI root pointer, or with tables that do not add up, it says so
//! and answers that there is no device.
#![no_std]
#![no_main]

mod mapped;

use libos::abi::Timeout;
use libos::abi::protocol::devices::Answerer;
use libos::abi::protocol::wiring::{FIRMWARE, WAKE, link, option};
use libos::mmio::SteadyClock;
use libos::{Startup, println};
use mapped::{MappedConfig, MappedFirmware, NonMemory};
use platform::{ConfigRegion, Hole, Inventory, Service, find_config_regions};

libos::program!(main);

/// The longest that counts as having passed between two looks: a reset must not seem over because world time leapt.
const STEP_NS_MAX: u64 = 10_000_000;

fn main(startup: Startup) {
    let Ok(area) = startup.window(link::DEVICES).words() else { panic!("the link is read-only") };
    let Some(answerer) = Answerer::new(area.words()) else { panic!("the link is too small") };
    let non_memory = NonMemory::of(&startup);
    let region = find_region(&startup, non_memory);
    let config = MappedConfig::new(non_memory, region.unwrap_or_default());
    let mut inventory = Inventory::empty();
    if let Some(region) = region {
        inventory = Inventory::scan(&config, region, answerer.notes());
        let left = inventory.place_windows(&config, Hole::USUAL);
        report(&inventory, left);
    }
    serve(&startup, Service::new(config, inventory, answerer));
}

fn find_region(startup: &Startup, non_memory: NonMemory) -> Option<ConfigRegion> {
    let pointer = startup.number(option::RSDP, 0);
    match find_config_regions(&MappedFirmware::new(non_memory, startup.find_window(FIRMWARE).ok()), pointer) {
        // Further segments have devices that no machine we know boots from.
        Ok(regions) => regions.iter().find(|region| region.segment == 0).copied(),
        Err(error) => {
            println!("platform: no configuration space: {error:?} (root pointer {pointer:#x})");
            None
        }
    }
}

fn report(inventory: &Inventory, left: usize) {
    for function in inventory.iter() {
        let (device, place) = (function.device, function.place.number());
        println!(
            "platform: {:02x}:{:02x}.{} {:04x}:{:04x} class {:06x}, registers at {:#x}, {} messages",
            place >> 8,
            place >> 3 & 31,
            place & 7,
            device.vendor,
            device.product,
            device.class,
            function.bars[0].base,
            device.messages.map_or(0, |table| table.vectors),
        );
    }
    if left > 0 || inventory.left_out() > 0 {
        println!("platform: {left} windows without a place, {} devices left out", inventory.left_out());
    }
}

fn serve(startup: &Startup, mut service: Service<'_, MappedConfig>) {
    let (wake, init) = (startup.notification(WAKE), startup.notification(link::DEVICES_BELL));
    let mut clock = SteadyClock::new();
    loop {
        let now_ns = clock.advance(libos::clock().world_ns, STEP_NS_MAX);
        let Ok(turn) = service.turn(now_ns) else { panic!("init writes what init does not write") };
        if turn.signal {
            // Init is always there.
            let _ = init.signal();
        }
        // Whatever ends the wait, there may be something to do.
        let _ = wake.wait(turn.wait_ns_max.map_or(Timeout::FOREVER, Timeout::from_ns));
    }
}
