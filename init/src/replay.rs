//! Sequences of calls that are made twice: by programs on the machine (`replay=SEED` on the kernel's command line), and
//! on the host by the kernel's core alone. Both go by what is here, so both must come to the same results.
//!
//! Four puppets, two of the world and two volatile, each a process with one thread, make the calls of their [`Script`]
//! until it ends. All have priorities of their own, nothing has a deadline, and no interrupt arrives: who runs next
//! depends on the calls alone. Below them runs the conductor, who is heard only when all of them wait; it stops and
//! starts one of them, which ends its wait.
//!
//! What differs from machine to machine (object numbers, frames, time) is left out of results: [`normal`].

use abi::boot_info::handle;
use abi::registers::pack_caps;
use abi::{
    Call, Control, Epoch, FLAG_MOVE, FLAG_REPEATABLE, Handle, Kind, MapFlags, Outcome, PAGE_SIZE, Rights, Status,
    Timeout,
};

/// The registers of a call, in and out: rax, rdi, words 0 … 7, capabilities.
pub type CallRegisters = [u64; 11];

/// Puppets.
pub const PUPPETS: usize = 4;
/// Calls of each puppet.
pub const CALLS_MAX: u32 = 300;
/// Calls of the conductor.
pub const ROUNDS: u32 = 400;
/// Its number in results.
pub const CONDUCTOR: usize = PUPPETS;
/// Words of a result: who, and the registers after the call.
pub const RESULT_WORDS: usize = 12;
/// Results there can be.
pub const RESULTS_MAX: usize = PUPPETS * CALLS_MAX as usize + ROUNDS as usize;

/// Puppets below this are of the world.
const WORLD_PUPPETS: usize = 2;
/// Pages of the memory that volatile puppets are given.
pub const MEMORY_PAGES: u64 = 16;
/// Where mappings are made, in processes that run nothing.
pub const MAPPED_AT: u64 = abi::protocol::startup::WINDOWS_START + (5 << 40);
/// Message interrupts that puppets are given, and ports: the one that shows POST codes.
const INTERRUPTS: (u64, u64) = (26, 2);
const PORTS: (u64, u64) = (0x80, 1);
/// Entry and stack of threads that never run: their priority is below the conductor's.
const NEVER: [u64; 2] = [0x40_0000, 0x50_0000];

/// A call with its first argument, words and capabilities.
fn call(call: Call, to: u16, first: u64, words: &[u64], caps: [u16; 4]) -> CallRegisters {
    let mut registers = [0; 11];
    (registers[0], registers[1]) = (Control::new(call, Handle(to)).0, first);
    registers[2..2 + words.len()].copy_from_slice(words);
    registers[10] = pack_caps(caps.map(Handle));
    registers
}

/// Where the play is put on: the machine, or the core on the host.
pub trait Stage {
    /// Init makes a call; the registers after it.
    fn call(&mut self, registers: CallRegisters) -> CallRegisters;
    /// Gives the process behind this handle of init's all that puppet `who` needs to run: its entry and its stack.
    fn furnish(&mut self, process: u16, who: usize) -> [u64; 2];
    /// Init's handle for [`MEMORY_PAGES`] of memory that nobody uses.
    fn memory(&mut self) -> u16;
}

/// The play as it begins: init's handles for the threads of the puppets.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    threads: [u16; PUPPETS],
}

impl Cast {
    /// Makes the puppets, gives them what they have, lets the world run and starts them. Init's own priority is then
    /// below theirs: it goes on when all of them wait. An error is the status of the call that failed.
    pub fn gather(stage: &mut impl Stage) -> Result<Self, Status> {
        let mut play = Play { stage };
        let world = |who: usize| if who < WORLD_PUPPETS { handle::WORLD_BUDGET.0 } else { handle::BUDGET.0 };
        let mut processes = [0; PUPPETS];
        let mut threads = [0; PUPPETS];
        for who in 0..PUPPETS {
            processes[who] = play.create(world(who), Kind::Process, &[32], 0)?;
            let [entry, stack] = play.stage.furnish(processes[who], who);
            let start = [entry, stack, who as u64, 5 - who as u64];
            threads[who] = play.create(world(who), Kind::Thread, &start, processes[who])?;
        }
        let port = play.create(handle::WORLD_BUDGET.0, Kind::Endpoint, &[7], 0)?;
        let memory = play.stage.memory();
        let interrupts = play.part(handle::INTERRUPTS.0, INTERRUPTS)?;
        let ports = play.part(handle::PORTS.0, PORTS)?;
        let mut sandboxes = [0; 2];
        for side in 0..2 {
            let first = side * WORLD_PUPPETS;
            let budget = world(first);
            let endpoint = play.create(budget, Kind::Endpoint, &[0], 0)?;
            let bell = play.create(budget, Kind::Notification, &[], 0)?;
            let purse = play.create(budget, Kind::Budget, &[1, 1, 2, 2, 1, 16], 0)?;
            sandboxes[side] = play.create(budget, Kind::Process, &[16], 0)?;
            for who in first..first + 2 {
                let (process, other) = (processes[who], first + 1 - (who - first));
                let to_port = if side == 0 { Rights::SEND | Rights::COPY } else { Rights::all() };
                play.grant(process, port, to_port, if side == 0 { 16 + who as u64 } else { 0 })?;
                play.grant(process, endpoint, Rights::all(), 0)?;
                play.grant(process, bell, Rights::all(), 1 << who)?;
                let hand_out = Rights::PROCESS_GRANT | Rights::PROCESS_THREADS | Rights::COPY;
                play.grant(process, processes[other], hand_out, 0)?;
                play.grant(process, purse, Rights::all(), 0)?;
                play.grant(process, threads[other], Rights::THREAD_CONTROL | Rights::COPY, 0)?;
                play.grant(process, sandboxes[side], Rights::all(), 0)?;
                if side == 1 {
                    for given in [memory, handle::EPOCH.0, interrupts, ports] {
                        play.grant(process, given, Rights::all(), 0)?;
                    }
                    play.grant(process, sandboxes[0], Rights::PROCESS_MAP, 0)?;
                }
            }
        }
        let first = Epoch::first_of(1).ok_or(Status::BadArgument)?;
        play.make(call(Call::Resume, handle::EPOCH.0, first.bits(), &[], [0; 4]))?;
        for thread in threads {
            play.make(call(Call::Start, thread, 0, &[], [0; 4]))?;
        }
        play.make(call(Call::SetPriority, handle::THREAD.0, 1, &[], [0; 4]))?;
        Ok(Self { threads })
    }
}

/// Init's calls that must succeed.
struct Play<'s, S> {
    stage: &'s mut S,
}

impl<S: Stage> Play<'_, S> {
    fn make(&mut self, registers: CallRegisters) -> Result<u16, Status> {
        let after = self.stage.call(registers);
        match Outcome(after[0]).status() {
            Status::Ok => Ok(after[1] as u16),
            status => Err(status),
        }
    }

    fn create(&mut self, budget: u16, kind: Kind, words: &[u64], cap: u16) -> Result<u16, Status> {
        self.make(call(Call::Create, budget, kind as u64, words, [cap, 0, 0, 0]))
    }

    fn part(&mut self, whole: u16, (offset, length): (u64, u64)) -> Result<u16, Status> {
        self.make(call(Call::Copy, whole, Rights::all().bits().into(), &[0, offset, length], [0; 4]))
    }

    fn grant(&mut self, process: u16, what: u16, rights: Rights, badge: u64) -> Result<u16, Status> {
        self.make(call(Call::Grant, process, rights.bits().into(), &[badge], [what, 0, 0, 0]))
    }
}

/// What puppets call, as often as it is named; those of the second list only volatile ones can make with success.
const ANY: &[Call] = {
    use Call as C;
    &[
        C::Call,
        C::Call,
        C::Call,
        C::Send,
        C::Send,
        C::Receive,
        C::Receive,
        C::ReplyReceive,
        C::ReplyReceive,
        C::Reply,
        C::Reply,
        C::SaveReply,
        C::Signal,
        C::Signal,
        C::Wait,
        C::BindNotification,
        C::Yield,
        C::Copy,
        C::Copy,
        C::Drop,
        C::Drop,
        C::Revoke,
        C::Identify,
        C::Destroy,
        C::Create,
        C::Create,
        C::Grant,
        C::SetMemoryPort,
        C::Start,
        C::Stop,
        C::SetPriority,
        C::Null,
        C::Clock,
    ]
};
const VOLATILE: &[Call] = {
    use Call as C;
    &[
        C::Map,
        C::Map,
        C::Unmap,
        C::Protect,
        C::Accessed,
        C::Cut,
        C::ReadLog,
        C::Donate,
        C::SetFrames,
        C::Export,
        C::Export,
        C::Restore,
        C::Resume,
        C::Committed,
        C::BindPort,
        C::BindInterrupt,
        C::AckInterrupt,
        C::PortRead,
        C::PortWrite,
        C::DebugWrite,
    ]
};

/// The calls of a puppet, or of the conductor: the same at each run with the same seed.
#[derive(Clone, Debug)]
pub struct Script {
    state: u64,
    who: usize,
    made: u32,
}

impl Script {
    /// Of puppet `who`, or of [`CONDUCTOR`].
    pub fn new(seed: u64, who: usize) -> Self {
        Self { state: seed.wrapping_mul(PUPPETS as u64 + 1).wrapping_add(who as u64), who, made: 0 }
    }

    /// The next call of a puppet.
    pub fn next_call(&mut self) -> Option<CallRegisters> {
        if self.made == CALLS_MAX {
            return None;
        }
        self.made += 1;
        let world = self.who < WORLD_PUPPETS;
        let which = if !world && self.chance(3) { self.one_of(VOLATILE) } else { self.one_of(ANY) };
        Some(self.arguments(which))
    }

    /// The next call of the conductor: it stops a puppet, and in the next round starts it.
    pub fn next_round(&mut self, cast: &Cast) -> Option<CallRegisters> {
        if self.made == ROUNDS {
            return None;
        }
        self.made += 1;
        if self.made % 2 == 1 {
            self.random();
        }
        // The same puppet in both rounds.
        let thread = cast.threads[(self.state >> 32) as usize % PUPPETS];
        let which = if self.made % 2 == 1 { Call::Stop } else { Call::Start };
        Some(call(which, thread, 0, &[], [0; 4]))
    }

    fn arguments(&mut self, which: Call) -> CallRegisters {
        use Call as C;
        match which {
            C::Call | C::Send | C::ReplyReceive | C::Reply => self.message(which),
            C::Receive => {
                let to = self.handle(&[1, 2, 2]);
                self.waits(call(which, to, 0, &[], [0; 4]))
            }
            C::Wait => {
                let to = self.handle(&[3, 3, 0]);
                self.waits(call(which, to, 0, &[], [0; 4]))
            }
            C::Signal | C::BindNotification => call(which, self.handle(&[3, 3, 0]), 0, &[], [0; 4]),
            C::Copy | C::Grant => self.hand_on(which),
            C::Drop | C::Revoke | C::Identify => call(which, self.handle(&[2, 3, 13, 14, 15]), 0, &[], [0; 4]),
            C::Destroy => call(which, self.handle(&[13, 14, 15, 16, 7]), 0, &[], [0; 4]),
            C::Create => self.create(),
            C::SetMemoryPort => {
                let (to, badge, port) = (self.handle(&[4, 7]), self.below(3), self.handle(&[1, 2]));
                call(which, to, badge, &[], [port, 0, 0, 0])
            }
            C::Start | C::Stop => call(which, self.handle(&[6, 6, 13]), 0, &[], [0; 4]),
            // Higher than any puppet may: two of one priority would share time.
            C::SetPriority => call(which, self.handle(&[6]), 200 + self.below(100), &[], [0; 4]),
            _ => self.on_machine(which),
        }
    }

    /// A message that says who sends it and which it is.
    fn message(&mut self, which: Call) -> CallRegisters {
        let to = if which == Call::Reply { self.handle(&[0, 0, 0, 13]) } else { self.handle(&[1, 2, 2]) };
        let count = if self.chance(4) { 1 + self.below(2) } else { 0 };
        let caps = [self.handle(&[2, 3, 13]), self.handle(&[5, 14]), 0, 0];
        let mut flags = count as u8;
        flags |= if self.chance(4) { FLAG_MOVE } else { 0 };
        flags |= if self.chance(6) { FLAG_REPEATABLE } else { 0 };
        let words: [u64; 8] =
            core::array::from_fn(|at| (self.who as u64) << 40 | u64::from(self.made) << 8 | at as u64);
        let mut registers = call(which, to, u64::from(self.made), &words, caps);
        registers[0] = Control(registers[0]).with_flags(flags).0;
        self.waits(registers)
    }

    fn hand_on(&mut self, which: Call) -> CallRegisters {
        let rights = if self.chance(2) { Rights::all() } else { Rights::SEND | Rights::SIGNAL | Rights::COPY };
        let badge = if self.chance(2) { self.below(6) } else { 0 };
        let part = if self.chance(6) { [self.below(4), self.below(6)] } else { [0, 0] };
        let what = self.handle(&[2, 3, 5, 8, 13]);
        let words = [badge, part[0], part[1]];
        match which {
            Call::Copy => call(which, what, rights.bits().into(), &words, [0; 4]),
            _ => call(which, self.handle(&[4, 7]), rights.bits().into(), &words[..1], [what, 0, 0, 0]),
        }
    }

    fn create(&mut self) -> CallRegisters {
        let kind = self.one_of(&[Kind::Endpoint, Kind::Notification, Kind::Budget, Kind::Thread, Kind::Process]);
        let [entry, stack] = NEVER;
        let words = match kind {
            Kind::Thread => [entry, stack, 0, 0, 0, 0],
            Kind::Process => [self.below(20), 0, 0, 0, 0, 0],
            Kind::Budget => [0, 0, self.below(2), self.below(2), 0, 0],
            _ => [0; 6],
        };
        call(Call::Create, self.handle(&[5, 5, 5, 15]), kind as u64, &words, [self.handle(&[4, 7]), 0, 0, 0])
    }

    /// Page tables, epochs, devices.
    fn on_machine(&mut self, which: Call) -> CallRegisters {
        use Call as C;
        let (memory, page) = (8, self.below(MEMORY_PAGES + 1));
        let at = MAPPED_AT + self.below(4) * PAGE_SIZE as u64 + u64::from(self.chance(12));
        let pages = 1 + self.below(3);
        let flags = self.one_of(&[MapFlags::empty(), MapFlags::WRITE, MapFlags::EXECUTE, MapFlags::all()]).bits();
        let epoch = Epoch::first_of(1).map_or(0, Epoch::bits) + self.below(3);
        let space = self.handle(&[7, 12, 12]);
        match which {
            C::Map => call(which, space, at, &[page, pages, flags, epoch], [memory, 0, 0, 0]),
            C::Unmap | C::Protect | C::Accessed => call(which, space, at, &[pages, flags], [0; 4]),
            C::ReadLog => call(which, 9, self.below(4), &[], [0; 4]),
            C::Donate => call(which, 9, self.below(4), &[page, 1, 2], [memory, 0, 0, 0]),
            C::SetFrames => call(which, 9, pages | self.below(5) << 8, &[page, 1, 2], [memory, 0, 0, 0]),
            C::Export | C::Restore => call(which, 9, page, &[], [memory, 0, 0, 0]),
            C::Committed => call(which, 9, epoch - 1, &[], [0; 4]),
            C::Cut | C::Resume => call(which, 9, epoch, &[], [0; 4]),
            C::BindPort => call(which, 9, 6 + self.below(3), &[], [0; 4]),
            C::BindInterrupt => call(which, 10, 0, &[], [self.handle(&[3]), 0, 0, 0]),
            C::AckInterrupt => call(which, self.handle(&[10]), 0, &[], [0; 4]),
            C::PortRead | C::PortWrite => call(which, 11, 0x80 + self.below(2), &[1, 0], [0; 4]),
            // It covers no serial port.
            C::DebugWrite => call(which, 11, 1, &[10], [0; 4]),
            _ => call(which, 0, 0, &[], [0; 4]),
        }
    }

    /// For ever, or not at all: nothing here depends on time.
    fn waits(&mut self, mut registers: CallRegisters) -> CallRegisters {
        let timeout = if self.chance(3) { Timeout::POLL } else { Timeout::FOREVER };
        registers[0] = Control(registers[0]).with_timeout(timeout).0;
        registers
    }

    /// One of these handles, or now and then any.
    fn handle(&mut self, of: &[u16]) -> u16 {
        let any = self.below(18) as u16;
        let one = self.one_of(of);
        if self.chance(6) { any } else { one }
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Once in `of` times.
    fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random() % bound
    }

    /// A step of splitmix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// What a puppet does when its script has ended: it waits for ever.
pub fn for_ever() -> CallRegisters {
    call(Call::Wait, 0, 0, &[], [0; 4])
}

/// The registers after a call without what depends on the machine: numbers of objects and frames, time, what devices
/// say; and without the message of a call that waited and failed, which promises its status only: the fast path keeps
/// none for it.
pub fn normal(asked: &CallRegisters, after: &CallRegisters) -> CallRegisters {
    let mut left = *after;
    let waited = matches!(Outcome(after[0]).status(), Status::Cancelled | Status::PeerDied | Status::Abandoned);
    if waited {
        left[1..].fill(0);
    }
    match Call::from_bits(Control(asked[0]).call()) {
        Some(Call::Clock) => left[1..].fill(0),
        // The number of the object; of a range, where it begins.
        Some(Call::Identify) => left[4..6].fill(0),
        Some(Call::PortRead) => left[1] = 0,
        Some(Call::BindInterrupt) => left[1..3].fill(0),
        Some(Call::ReadLog) => left[2..10].fill(0),
        _ => {}
    }
    left
}
