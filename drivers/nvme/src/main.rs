//! The NVMe driver's program: waits for its device and its client, and lets the library work.
//!
//! Grants: `device:nvme`, `irq:message`, `link:block`, `buffers:N` (N at least `nvme::DMA_FRAMES`), `debug`.
//! Options: `disk-timeout-ms`. Ends with code 1 when the device is dead; init then silences it and starts the next one.
#![no_std]
#![no_main]

use libos::abi::Timeout;
use libos::abi::protocol::block::Driver;
use libos::abi::protocol::wiring::{BUFFERS, Bell, INTERRUPT, INTERRUPT_BELL, MESSAGES, REGISTERS, WAKE, link, option};
use libos::mmio::{SteadyClock, SubWindow};
use libos::{Interrupt, Startup, println};
use nvme::{Controller, DMA_FRAMES, Service, Settings, State, msix};

libos::program!(main);

/// The code with which the program ends when the device is dead.
const EXIT_DEAD: u8 = 1;
/// The vector for everything.
const VECTOR: u16 = 0;
/// Without interrupts the device is looked at this often while it has work.
const POLL_NS: u64 = 200_000;
/// The longest that counts as having passed between two looks: far below the time that a command has.
const STEP_NS_MAX: u64 = 500_000_000;

fn main(startup: Startup) {
    let interrupt = route_interrupt(&startup);
    let mut settings = Settings { vector: interrupt.map(|_| VECTOR), ..Settings::default() };
    if interrupt.is_none() {
        settings.look_ns_max = POLL_NS;
    }
    settings.command_ns_max = startup.number("disk-timeout-ms", 10_000).saturating_mul(1_000_000);
    let Ok(registers) = startup.window(REGISTERS).registers() else { give_up("its registers are read-only") };
    let Ok(memory) = startup.window(BUFFERS).dma::<DMA_FRAMES>() else { give_up("its buffers are too small") };
    let Ok(area) = startup.window(link::BLOCK).words() else { give_up("its link is read-only") };
    let Some(driver) = Driver::new(area.words()) else { give_up("its link is too small") };
    let controller = match Controller::new(registers, memory, settings) {
        Ok(controller) => controller,
        Err(error) => {
            println!("nvme: {error:?}");
            libos::exit(EXIT_DEAD)
        }
    };
    serve(&startup, Service::new(controller, driver), interrupt);
}

/// Makes the device's messages arrive; `None` when it has none, or is not to use them.
fn route_interrupt(startup: &Startup) -> Option<Interrupt> {
    let window = startup.find_window(MESSAGES).ok()?.registers().ok()?;
    let interrupt = Interrupt(startup.find(INTERRUPT).ok()?);
    let vectors = startup.number(option::MESSAGE_VECTORS, 0) as usize;
    let table = SubWindow::new(&window, startup.number(option::MESSAGE_OFFSET, 0) as usize, vectors * 16)?;
    let message = interrupt.bind(startup.notification(INTERRUPT_BELL)).ok()?;
    msix::route(&table, VECTOR, message.address, message.data).ok()?;
    Some(interrupt)
}

fn serve<R: mmio::Registers, D: mmio::DmaMemory>(
    startup: &Startup,
    mut service: Service<'_, R, D>,
    interrupt: Option<Interrupt>,
) {
    let (wake, client) = (startup.notification(WAKE), startup.notification(link::BLOCK_BELL));
    let mut clock = SteadyClock::new();
    let (mut said, mut interrupted) = (State::Stopped, false);
    loop {
        let turn = service.turn(clock.advance(libos::clock().world_ns, STEP_NS_MAX));
        if turn.signal {
            // A client that has died looks for itself when it comes back.
            let _ = client.signal();
        }
        let state = service.controller().state();
        if state != said {
            said = state;
            report(&service);
        }
        if let State::Dead(_) = state {
            libos::exit(EXIT_DEAD);
        }
        let timeout = turn.wait_ns_max.map_or(Timeout::FOREVER, Timeout::from_ns);
        let bits = wake.wait(timeout).unwrap_or(0);
        if let Some(interrupt) = interrupt.filter(|_| bits & Bell::INTERRUPT.bits() != 0) {
            // Before the queue is looked at: what comes later interrupts again.
            let _ = interrupt.acknowledge();
            if !core::mem::replace(&mut interrupted, true) {
                // Without, all goes on by looks at the device, only slower: nobody would notice.
                println!("nvme: its interrupts arrive");
            }
        }
    }
}

fn report<R: mmio::Registers, D: mmio::DmaMemory>(service: &Service<'_, R, D>) {
    let controller = service.controller();
    match (controller.state(), controller.info()) {
        (State::Ready, Some(info)) => println!(
            "nvme: ready, {} MiB, {} blocks a request, write cache {}, {} resets",
            info.blocks >> 8,
            info.request_blocks_max,
            if info.volatile_cache { "volatile" } else { "none" },
            controller.resets(),
        ),
        (State::Dead(death), _) => println!("nvme: given up: {death:?}"),
        (State::Starting, _) if controller.resets() > 0 => println!("nvme: reset {}", controller.resets()),
        _ => {}
    }
}

fn give_up(why: &str) -> ! {
    println!("nvme: {why}");
    libos::exit(EXIT_DEAD)
}
