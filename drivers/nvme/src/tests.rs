//! The driver against a controller that is not there.

mod bring_up;
mod fake;
mod faults;
mod model;
mod rings;
mod transfer;

use abi::protocol::block::{Completion, Op, Request};

use crate::{Controller, DMA_FRAMES, Settings, State};
use fake::{Fake, FakeDma, FakeRegisters, Profile};

type Driver = Controller<FakeRegisters, FakeDma>;

/// A driver, its controller, and a clock that only tests move.
struct Bench {
    fake: Fake,
    driver: Driver,
    now_ns: u64,
}

const MILLISECOND_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000_000_000;

impl Bench {
    fn new(profile: Profile, settings: Settings) -> Self {
        let fake = Fake::new(profile);
        let (registers, memory) = fake.windows(DMA_FRAMES);
        let driver = Controller::new(registers, memory, settings).expect("a good controller");
        Self { fake, driver, now_ns: 0 }
    }

    /// A bench whose controller is ready.
    fn ready(profile: Profile) -> Self {
        let mut bench = Self::new(profile, Settings::default());
        bench.driver.start(0);
        bench.run_until_settled();
        assert_eq!(bench.driver.state(), State::Ready);
        bench
    }

    fn poll(&mut self) {
        self.driver.poll(self.now_ns);
        assert!(self.driver.check(), "an invariant is broken");
    }

    fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        self.poll();
    }

    /// Lets the device and the driver run until nothing changes by itself, for 100 s at most.
    fn run_until_settled(&mut self) {
        for _ in 0..100_000 {
            self.fake.run();
            self.pass(MILLISECOND_NS);
            if self.driver.state() != State::Starting {
                return;
            }
        }
        panic!("the driver does not settle");
    }

    fn submit(&mut self, request: &Request) {
        self.driver.submit(self.now_ns, request).expect("admissible");
    }

    /// Submits a request and gives its completion, which the device makes at once.
    fn ask(&mut self, request: &Request) -> Completion {
        self.submit(request);
        self.poll();
        self.fake.run();
        self.poll();
        let completion = self.driver.completion().expect("answered");
        assert_eq!(completion.tag, request.tag);
        completion
    }

    fn completions(&mut self) -> Vec<Completion> {
        std::iter::from_fn(|| self.driver.completion()).collect()
    }
}

fn transfer(tag: u64, op: Op, block: u64, frames: &[u64]) -> Request {
    Request::transfer(tag, op, block, frames).expect("fits")
}

fn flush(tag: u64) -> Request {
    Request::plain(tag, Op::Flush, 0, 0)
}
