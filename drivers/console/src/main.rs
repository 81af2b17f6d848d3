//! The console driver's program: receives on the world's console port, and wakes for the line, commits and news.
//!
//! Grants: `port:console`, `ports:3f8+8`, `irq:4`, `bell:output`, `link:lent`, `debug`. Without an interrupt it looks at the line every
//! few milliseconds. Ends with code 1 when there is no serial port.
#![no_std]
#![no_main]

mod kernel;

use console::{Console, Line, Uart};
use kernel::{Caller, KernelPorts, KernelWorld};
use libos::abi::protocol::lent;
use libos::abi::protocol::wiring::{
    Bell, EPOCHS, EpochsPage, INTERRUPT, INTERRUPT_BELL, NEWS, News, PORTS, WAKE, link,
};
use libos::abi::{Epoch, Timeout};
use libos::{Endpoint, Interrupt, Notification, ReadWords, ReceiveError, Received, Startup, println};

libos::program!(main);

const EXIT_NO_LINE: u8 = 1;
/// How often to look at a line that does not interrupt, or that could take no more.
const LOOK_NS: u64 = 4_000_000;

struct Server {
    console: Console<Caller>,
    wake: Notification,
    output_bell: Option<Notification>,
    interrupt: Option<Interrupt>,
    news: ReadWords,
    epochs: ReadWords,
    heard: News,
    world: KernelWorld,
    committed: Epoch,
    port: Option<Endpoint>,
}

fn main(startup: Startup) {
    let mut uart = match Uart::new(KernelPorts::of(startup.handle(PORTS))) {
        Ok(uart) => uart,
        Err(error) => {
            println!("console: no serial line: {error:?}");
            libos::exit(EXIT_NO_LINE)
        }
    };
    let wake = startup.notification(WAKE);
    if let Err(error) = wake.bind() {
        panic!("the notification cannot be bound: {error:?}");
    }
    let mut server = Server {
        console: Console::new(),
        wake,
        output_bell: startup.find(link::OUTPUT_BELL).ok().map(Notification),
        interrupt: bind_interrupt(&startup),
        news: startup.window(NEWS).read_words(),
        epochs: startup.window(EPOCHS).read_words(),
        heard: News::default(),
        world: KernelWorld::new(startup.window(lent::PAGES).read_words(), startup.window(link::LENT).read_words()),
        committed: Epoch::NONE,
        port: None,
    };
    loop {
        server.turn(&mut uart);
    }
}

fn bind_interrupt(startup: &Startup) -> Option<Interrupt> {
    let interrupt = Interrupt(startup.find(INTERRUPT).ok()?);
    let bell = Notification(startup.find(INTERRUPT_BELL).ok()?);
    // A line, so there is no message to tell the device.
    interrupt.bind(bell).ok().map(|_| interrupt)
}

impl Server {
    /// Does what can be done, then waits for something to happen.
    fn turn(&mut self, line: &mut impl Line) {
        self.hear_news();
        let turn = self.console.turn(&mut self.world, line, self.committed);
        if let (true, Some(bell)) = (turn.want_cut, self.output_bell) {
            // A snapshot server that is being restarted will cut anyway.
            let _ = bell.signal();
        }
        let soon = turn.line_busy || self.interrupt.is_none();
        self.wait(if soon { Timeout::from_ns(LOOK_NS) } else { Timeout::FOREVER });
    }

    /// Looks at what init and the snapshot server have written.
    fn hear_news(&mut self) {
        if let Some(page) = EpochsPage::read(|index| self.epochs.load(index)) {
            self.committed = page.committed;
            let news = News::read(|index| self.news.load(index));
            if news.changes != self.heard.changes {
                self.port = (!news.port.is_null()).then_some(Endpoint(news.port));
                self.world.is_in_life(news.life);
                if news.incarnation != self.heard.incarnation && news.incarnation != 0 {
                    self.console.world_began(page.restored, libos::clock().world_ns);
                }
                self.heard = news;
            }
        }
    }

    fn wait(&mut self, timeout: Timeout) {
        let Some(port) = self.port.filter(|_| self.console.knows_a_world()) else {
            return self.woken(self.wake.wait(timeout).unwrap_or(0));
        };
        match port.receive(timeout) {
            Ok(Received::Call { message, .. }) => {
                let ring = self.world.ring_of(&message);
                kernel::drop_capabilities(&message);
                let carried = (message.tag, message.words);
                match Caller::put_aside() {
                    Some(caller) => self.console.request(&mut self.world, caller, &carried, ring),
                    None => kernel::refuse(),
                }
            }
            Ok(Received::Notification(bits)) => self.woken(bits),
            // A message that wants no answer says nothing in this protocol.
            Ok(Received::Message { message, .. }) => kernel::drop_capabilities(&message),
            Ok(Received::Fault(_)) => {}
            Err(
                ReceiveError::TimedOut | ReceiveError::WouldBlock | ReceiveError::Cancelled | ReceiveError::Restarted,
            ) => {}
            // The world has gone; init tells of the next one.
            Err(_) => self.port = None,
        }
    }

    fn woken(&mut self, bits: u64) {
        if let (true, Some(interrupt)) = (bits & Bell::INTERRUPT.bits() != 0, self.interrupt) {
            // Before the line is looked at: what comes later interrupts again.
            let _ = interrupt.acknowledge();
        }
    }
}
