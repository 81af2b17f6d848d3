//! Init: makes the volatile programs, and once in the life of a world its first processes; gives each its
//! capabilities. All by real calls of its own thread.

use crate::actor::Actor;
use crate::board::{ROLES, Role};
use crate::cast::{self, Cast, DATA, OTHERS, PASSING, PASSING_PAGES, TEXT};
use crate::shared::{GenesisRequest, Given, Health};
use abi::boot_info::handle;
use abi::protocol::lent;
use abi::protocol::service::Service;
use abi::protocol::wiring::Phase;
use abi::{Call, Handle, Kind, MapFlags, PAGE_SIZE, Rights, Timeout};

/// Priority of volatile programs: none preempts another in the middle of a turn.
const PRIORITY: u64 = 200;
/// Priorities of the world.
const SERVER_PRIORITY: u64 = 30;
const CLIENT_PRIORITY: u64 = 20;
/// The pager's memory, and the page through which records go.
pub(crate) const MEMORY: Handle = Handle(handle::MEMORY);
pub(crate) const BATCH: Handle = Handle(handle::MEMORY + 1);
/// A page of zeros, seen where nothing is lent.
pub(crate) const BLANK: Handle = Handle(handle::MEMORY + 2);
/// Where the console sees what is lent.
pub(crate) const LENT: u64 = 0x100_0000;
/// The disk's interrupt: a message.
pub(crate) const INTERRUPT: u32 = 40;

const SERVED: [(Service, Role); 3] =
    [(Service::Memory, Role::Pager), (Service::Console, Role::Console), (Service::Snapshot, Role::Snapshot)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has been made.
    Start,
    /// Waits for what becomes of the store.
    Opening,
    /// The pager makes the first memory.
    Genesis,
    /// The world runs.
    Running,
}

/// A process of the world being made.
struct Member {
    process: Handle,
    entry: u64,
    stack: u64,
    priority: u64,
    space_pages: u64,
    text: Vec<u64>,
    data: Vec<u64>,
    data_pages: u64,
}

/// The program.
pub(crate) struct Init {
    stage: Stage,
    processes: [Handle; ROLES],
    threads: Vec<(Handle, Handle)>,
    wakes: [Handle; ROLES],
    /// What the world is to be.
    scribbler_pages: u64,
    sleep_ns: u64,
}

impl Init {
    pub(crate) fn new(scribbler_pages: u64, sleep_ns: u64) -> Self {
        let none = [Handle::NULL; ROLES];
        Self { stage: Stage::Start, processes: none, wakes: none, threads: Vec::new(), scribbler_pages, sleep_ns }
    }

    pub(crate) fn turn(&mut self, actor: &mut Actor<'_>) {
        let phase = actor.board.shared.epochs.phase;
        match self.stage {
            Stage::Start => {
                self.start(actor);
                self.stage = Stage::Opening;
            }
            Stage::Opening if phase == Phase::Empty => {
                actor.board.chronicle.begin();
                self.genesis(actor);
                self.stage = Stage::Genesis;
            }
            Stage::Genesis if actor.board.shared.genesis_done => {
                self.resume(actor);
                self.bind_ports(actor);
                self.stage = Stage::Running;
            }
            Stage::Opening if phase == Phase::Running => {
                self.bind_ports(actor);
                self.stage = Stage::Running;
            }
            _ => {}
        }
        if self.stage == Stage::Running && actor.board.shared.console == Health::Crashed {
            self.replace_console(actor);
        }
        actor.wait(Handle::NULL, Timeout::FOREVER);
    }

    fn start(&mut self, actor: &mut Actor<'_>) {
        actor.must(Call::SetPriority, handle::THREAD, |r| r.rdi = PRIORITY);
        let mut wakes = [Handle::NULL; ROLES];
        for wake in &mut wakes {
            *wake = actor.create(handle::BUDGET, Kind::Notification, [0; 4], Handle::NULL);
        }
        actor.board.shared.given[Role::Init as usize].wake = wakes[Role::Init as usize];
        self.wakes = wakes;
        for role in [Role::Pager, Role::Snapshot, Role::Driver, Role::Console] {
            self.make(actor, role);
        }
        actor.board.shared.given[Role::Init as usize].bells = self.own_bells(actor, &wakes);
    }

    /// Makes and starts a volatile program.
    fn make(&mut self, actor: &mut Actor<'_>, role: Role) {
        let wakes = self.wakes;
        let process = actor.create(handle::BUDGET, Kind::Process, [128, 0, 0, 0], Handle::NULL);
        self.processes[role as usize] = process;
        let mut given = Given { wake: actor.grant(process, wakes[role as usize], Rights::WAIT, 0), ..Given::default() };
        for other in [Role::Init, Role::Pager, Role::Snapshot, Role::Driver, Role::Console] {
            let badge = 1 << role as usize;
            given.bells[other as usize] = actor.grant(process, wakes[other as usize], Rights::SIGNAL, badge);
        }
        match role {
            Role::Pager => {
                given.epoch = actor.grant(process, handle::EPOCH, Rights::EPOCH_CUT, 0);
                given.memory = actor.grant(process, MEMORY, Kind::Memory.rights(), 0);
                given.blank = actor.grant(process, BLANK, Kind::Memory.rights(), 0);
            }
            Role::Console => self.let_borrow(actor, process),
            Role::Snapshot => {
                given.epoch = actor.grant(process, handle::EPOCH, Rights::EPOCH_RECORDS, 0);
                given.memory = actor.grant(process, BATCH, Kind::Memory.rights(), 0);
            }
            Role::Driver => self.give_interrupt(actor, process, &mut given, wakes[role as usize]),
            _ => {}
        }
        actor.board.shared.given[role as usize] = given;
        let thread = actor.create(handle::BUDGET, Kind::Thread, [0x1000, 0, 0, PRIORITY], process);
        let number = actor.object(thread);
        actor.board.roles.insert(number, role);
        actor.must(Call::Start, thread, |_| {});
        actor.drop(thread);
    }

    /// The console sees zeros wherever nothing is lent; the pager may map what is.
    fn let_borrow(&self, actor: &mut Actor<'_>, process: Handle) {
        for place in 0..lent::PLACES {
            actor.must(Call::Map, process, |r| {
                r.rdi = LENT + (place * PAGE_SIZE) as u64;
                r.words = [0, 1, 0, 0, 0, 0, 0, 0];
                r.caps = u64::from(BLANK.0);
            });
        }
        let pager = self.processes[Role::Pager as usize];
        let there = actor.grant(pager, process, Rights::PROCESS_MAP, 0);
        actor.board.shared.console_life += 1;
        actor.board.shared.given[Role::Pager as usize].borrower = (there, actor.board.shared.console_life);
        let pager = self.wakes[Role::Pager as usize];
        let frame = actor.must(Call::Copy, pager, |r| {
            r.rdi = u64::from(Rights::SIGNAL.bits());
            r.words = [1, 0, 0, 0, 0, 0, 0, 0];
        });
        let bell = Handle(frame.rdi as u16);
        actor.must(Call::Signal, bell, |_| {});
        actor.drop(bell);
    }

    /// The console's server has crashed: its callers are told, or ask again, and another one takes its place.
    fn replace_console(&mut self, actor: &mut Actor<'_>) {
        actor.board.roles.retain(|_, role| *role != Role::Console);
        let process = self.processes[Role::Console as usize];
        actor.must(Call::Destroy, process, |_| {});
        actor.drop(process);
        self.make(actor, Role::Console);
        self.bind_port(actor, Service::Console, Role::Console);
        actor.board.shared.console = Health::New;
    }

    fn own_bells(&self, actor: &mut Actor<'_>, wakes: &[Handle; ROLES]) -> [Handle; ROLES] {
        wakes.map(|wake| {
            let frame = actor.must(Call::Copy, wake, |r| {
                r.rdi = u64::from(Rights::SIGNAL.bits());
                r.words = [1, 0, 0, 0, 0, 0, 0, 0];
            });
            Handle(frame.rdi as u16)
        })
    }

    fn give_interrupt(&self, actor: &mut Actor<'_>, process: Handle, given: &mut Given, wake: Handle) {
        let frame = actor.must(Call::Copy, handle::INTERRUPTS, |r| {
            r.rdi = u64::from(Kind::Interrupt.rights().bits());
            r.words = [0, u64::from(INTERRUPT), 1, 0, 0, 0, 0, 0];
        });
        let one = Handle(frame.rdi as u16);
        given.interrupt = actor.grant(process, one, Kind::Interrupt.rights(), 0);
        given.interrupt_bell = actor.grant(process, wake, Rights::SIGNAL, 1 << Role::Driver as usize);
    }

    /// Kernel objects of the world, and what is asked of the pager for them.
    fn genesis(&mut self, actor: &mut Actor<'_>) {
        let world = handle::WORLD_BUDGET;
        let port =
            |actor: &mut Actor<'_>, service: u64| actor.create(world, Kind::Endpoint, [service, 0, 0, 0], Handle::NULL);
        port(actor, Service::Memory as u64);
        let console = port(actor, Service::Console as u64);
        let snapshot = port(actor, Service::Snapshot as u64);
        let counting = port(actor, 0);
        let members = self.members(actor, [console, snapshot, counting]);
        for (at, member) in members.into_iter().enumerate() {
            let thread = [member.entry, member.stack, 0, member.priority];
            let thread = actor.create(world, Kind::Thread, thread, member.process);
            let (number, process) = (actor.object(thread), actor.object(member.process));
            actor.board.chronicle.cast.add(number, process);
            self.threads.push((member.process, thread));
            self.ask_for_memory(actor, at, process, &member);
        }
        self.share(actor);
        actor.ring(Role::Pager);
    }

    fn members(&self, actor: &mut Actor<'_>, [console, snapshot, counting]: [Handle; 3]) -> Vec<Member> {
        let world = handle::WORLD_BUDGET;
        let processes: Vec<Handle> =
            (0..5).map(|_| actor.create(world, Kind::Process, [16, 0, 0, 0], Handle::NULL)).collect();
        let mut cast = Cast::default();
        cast.counter = actor.object(processes[0]);
        cast.tally = actor.object(processes[1]);
        cast.sleep_ns = self.sleep_ns;
        actor.board.chronicle.cast = cast;
        let send = Rights::SEND;
        let serve = actor.grant(processes[0], counting, Rights::RECEIVE, 0);
        let tally = [counting, console, snapshot].map(|port| actor.grant(processes[1], port, send, 1));
        let first = actor.grant(processes[2], console, send, 2);
        let second = actor.grant(processes[3], console, send, 3);
        let (pages, sleep) = (self.scribbler_pages, self.sleep_ns);
        let random = actor.board.random.within(1, u64::from(u32::MAX));
        let member = |at: usize, priority, text, data, data_pages| Member {
            process: processes[at],
            entry: TEXT,
            stack: random + at as u64,
            priority,
            space_pages: data_pages + 24,
            text,
            data,
            data_pages,
        };
        let tally_text = cast::tally(tally, TALLY_SPACE, self.sleep_ns);
        vec![
            member(0, SERVER_PRIORITY, cast::counter(serve), Vec::new(), 1),
            member(1, CLIENT_PRIORITY, tally_text, cast::tally_memory().to_vec(), 1),
            member(2, CLIENT_PRIORITY, cast::scribbler(first, pages as i32, false, sleep), Vec::new(), pages),
            member(3, CLIENT_PRIORITY, cast::scribbler(second, pages as i32, true, sleep), Vec::new(), pages),
            member(4, CLIENT_PRIORITY, cast::maker(SPACE, sleep), Vec::new(), 1),
        ]
    }

    /// Text and data of a process: object 2 · at and the one after it.
    fn ask_for_memory(&self, actor: &mut Actor<'_>, at: usize, process: u32, member: &Member) {
        let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let (text, data) = (2 * at, 2 * at + 1);
        let (execute, write) = (MapFlags::EXECUTE.bits(), MapFlags::WRITE.bits());
        let pages = member.data_pages;
        let asked = &mut actor.board.shared.genesis;
        asked.push(GenesisRequest::Space { pages_max: member.space_pages });
        asked.push(GenesisRequest::Object { space: at, pages: 1, transient: false });
        asked.push(GenesisRequest::Object { space: at, pages, transient: false });
        asked.push(GenesisRequest::Write { object: text, index: 0, bytes: bytes(&member.text) });
        asked.push(GenesisRequest::Map { space: at, object: text, place: [TEXT, 1, 0, execute] });
        asked.push(GenesisRequest::Map { space: at, object: data, place: [DATA, pages, 0, write] });
        if !member.data.is_empty() {
            asked.push(GenesisRequest::Write { object: data, index: 0, bytes: bytes(&member.data) });
        }
        let model = &mut actor.board.chronicle.model;
        let (text, data) = (model.object(false), model.object(false));
        model.fill(text, 0, &member.text);
        model.fill(data, 0, &member.data);
        model.map(process, TEXT, 1, text, 0);
        model.map(process, DATA, pages, data, 0);
    }

    /// The second scribbler sees the first one's memory, and has some that is transient.
    fn share(&self, actor: &mut Actor<'_>) {
        let pages = self.scribbler_pages;
        let (seer, data_of_first, transient) = (3, 2 * 2 + 1, 2 * 5);
        let process = actor.object(self.threads[seer].0);
        let asked = &mut actor.board.shared.genesis;
        asked.push(GenesisRequest::Map { space: seer, object: data_of_first, place: [OTHERS, pages, 0, 0] });
        asked.push(GenesisRequest::Object { space: seer, pages: PASSING_PAGES, transient: true });
        let place = [PASSING, PASSING_PAGES, 0, MapFlags::WRITE.bits()];
        asked.push(GenesisRequest::Map { space: seer, object: transient, place });
        let model = &mut actor.board.chronicle.model;
        let passing = model.object(true);
        model.map(process, PASSING, PASSING_PAGES, passing, 0);
        // Objects are numbered from 1 there.
        model.map(process, OTHERS, pages, data_of_first as u32 + 1, 0);
    }

    /// The memory is made: each process gets its space, and the world runs.
    fn resume(&mut self, actor: &mut Actor<'_>) {
        let spaces = actor.board.shared.spaces.clone();
        let memory = self.memory_port(actor);
        for (who, expected) in [(1, TALLY_SPACE), (4, SPACE)] {
            let space = actor.grant(self.threads[who].0, memory, Rights::SEND | Rights::COPY, spaces[who].bits());
            assert_eq!(space, expected, "a program knows its space by another handle");
        }
        for (&(process, thread), space) in self.threads.iter().zip(&spaces) {
            actor.must(Call::SetMemoryPort, process, |r| {
                r.rdi = space.bits();
                r.caps = u64::from(memory.0);
            });
            actor.must(Call::Start, thread, |_| {});
        }
        actor.drop(memory);
        let first = actor.board.shared.epochs.first;
        actor.must(Call::Resume, handle::EPOCH, |r| {
            r.rdi = first.bits();
            r.words = [0; 8];
        });
        actor.ring(Role::Snapshot);
    }

    fn memory_port(&self, actor: &mut Actor<'_>) -> Handle {
        let frame = actor.must(Call::BindPort, handle::EPOCH, |r| r.rdi = Service::Memory as u64);
        Handle(frame.rdi as u16)
    }

    /// Gives each server its port.
    fn bind_ports(&mut self, actor: &mut Actor<'_>) {
        for (service, role) in SERVED {
            self.bind_port(actor, service, role);
        }
    }

    fn bind_port(&mut self, actor: &mut Actor<'_>, service: Service, role: Role) {
        let frame = actor.must(Call::BindPort, handle::EPOCH, |r| r.rdi = service as u64);
        let port = Handle(frame.rdi as u16);
        let rights = Rights::RECEIVE | Rights::SEND | Rights::COPY;
        let there = actor.grant(self.processes[role as usize], port, rights, 0);
        actor.drop(port);
        actor.board.shared.given[role as usize].port = there;
        actor.ring(role);
    }
}

/// The maker's space, by its handle: its text is written before the pager has made the space.
const SPACE: Handle = Handle(1);
/// The tally's, after what it calls.
const TALLY_SPACE: Handle = Handle(4);
