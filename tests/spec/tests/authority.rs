//! Stories of authority that changes under what is under way: handles that name something else by the time a call is
//! made again, threads that are bound to what was taken back, a revoke that nobody ends. Each step is held against the
//! specification and all invariants.

use abi::{Call, Epoch, Event as Arrival, FLAG_REPEATABLE, MapFlags, Rights, Status, Timeout};
use spec::model::{Doing, Model, Object};
use spec::{Event, Frame, Genesis, Op, Sim, abstraction, property, refines};

const VOLATILE: u16 = abi::boot_info::handle::BUDGET.0;
const WORLD: u16 = abi::boot_info::handle::WORLD_BUDGET.0;
const EPOCH: u16 = abi::boot_info::handle::EPOCH.0;
/// Init's handle for its memory.
const MEMORY: u16 = 16;
const BADGE: u64 = 0x666;

/// A run of the core beside the specification.
struct Story {
    sim: Sim,
    model: Model,
}

impl Story {
    fn new(sim: Sim) -> Self {
        let model = abstraction(&sim);
        Self { sim, model }
    }

    fn step(&mut self, event: Event) {
        let before = self.sim.clone();
        self.sim.apply(event);
        let seen = refines(&before, &self.model, event, &self.sim).unwrap_or_else(|why| panic!("{event:?}: {why}"));
        assert_eq!(self.sim.kernel.check(&self.sim.m), Ok(()), "{event:?}");
        assert_eq!(property::badges_unforgeable(&self.model, &seen), Ok(()));
        assert_eq!(property::world_closed(&seen), Ok(()));
        self.model = seen;
    }

    /// Who runs makes a call.
    fn call(&mut self, op: Op) -> Frame {
        self.step(Event::Call(0, op));
        Frame::of(&self.sim.kernel.cpus[0].frame)
    }

    fn status(&mut self, op: Op) -> Status {
        self.call(op).outcome().status()
    }

    fn sleep(&mut self) {
        self.call(Op::new(Call::Wait, 0));
    }

    /// While who runs sleeps for a while, another thread makes a call, which succeeds.
    fn let_another(&mut self, op: Op) {
        self.call(Op::new(Call::Wait, 0).within(Timeout::from_ms(10)));
        assert_eq!(self.status(op), Status::Ok);
        self.step(Event::Timer(0));
    }

    fn frame_of(&self, thread: u32) -> Frame {
        Frame::of(self.sim.kernel.registers_of(thread))
    }
}

/// A client whose repeatable call a volatile server has received; before that server dies, another thread of the client
/// puts a capability to another endpoint at the handle.
struct Swapped {
    story: Story,
    /// Init's handle for the server's thread.
    server: u16,
    client: u32,
    /// Waits at the other endpoint, if it `receives`.
    other: u32,
}

fn swapped(budget: u16, badge: u64, receives: bool) -> Swapped {
    let mut genesis = Genesis::roomy();
    let (first, second) = (genesis.endpoint(VOLATILE, 0), genesis.endpoint(budget, 0));
    let (client, server, other) = (genesis.process(VOLATILE), genesis.process(VOLATILE), genesis.process(budget));
    let port = genesis.grant(client, first.handle, Rights::SEND | Rights::COPY, BADGE);
    let instead = genesis.grant(client, second.handle, Rights::SEND | Rights::COPY, badge);
    let served = genesis.grant(server, first.handle, Rights::RECEIVE, 0);
    let waited = genesis.grant(other, second.handle, Rights::RECEIVE, 0);
    genesis.resume();
    let server = genesis.thread(VOLATILE, server, 40);
    let other = genesis.thread(budget, other, 30);
    let caller = genesis.thread(VOLATILE, client, 20);
    let accomplice = genesis.thread(VOLATILE, client, 10);
    let mut story = Story::new(genesis.sim);
    story.call(Op::new(Call::Wait, 0).within(Timeout::from_ms(10)));
    story.call(Op::new(Call::Receive, served));
    story.call(if receives { Op::new(Call::Receive, waited) } else { Op::new(Call::Wait, 0) });
    story.call(Op::new(Call::Call, port).with(5, &[55]).flags(FLAG_REPEATABLE));
    // The server has it, and is slow.
    story.sleep();
    assert_eq!(story.sim.kernel.current(0), Some(accomplice.index));
    story.call(Op::new(Call::Drop, port));
    let copy = story.call(Op::copy(instead, Rights::SEND, 0));
    assert_eq!(copy.rdi, u64::from(port), "it lies where the other lay");
    story.step(Event::Timer(0));
    Swapped { story, server: server.handle, client: caller.index, other: other.index }
}

#[test]
fn a_call_is_not_asked_again_with_a_badge_of_another_capability() {
    let Swapped { mut story, server, client, other } = swapped(VOLATILE, 1, true);
    assert_eq!(story.status(Op::new(Call::Destroy, server)), Status::Ok);
    assert_eq!(story.frame_of(client).outcome().status(), Status::Restarted);
    assert_ne!(story.frame_of(other).outcome().kind(), Arrival::Call);
}

/// With the badge that it was made with it goes to whoever the handle names now.
#[test]
fn a_call_is_asked_again_wherever_its_badge_allows() {
    let Swapped { mut story, server, other, .. } = swapped(VOLATILE, BADGE, true);
    assert_eq!(story.status(Op::new(Call::Destroy, server)), Status::Ok);
    let asked = story.frame_of(other);
    assert_eq!((asked.outcome().kind(), asked.outcome().badge()), (Arrival::Call, BADGE));
}

#[test]
fn a_volatile_call_is_not_asked_again_inside_the_world() {
    for receives in [false, true] {
        let Swapped { mut story, server, client, .. } = swapped(WORLD, BADGE, receives);
        assert_eq!(story.status(Op::new(Call::Destroy, server)), Status::Ok);
        assert_eq!(story.frame_of(client).outcome().status(), Status::Restarted);
        // The world can be restored.
        assert_eq!(story.status(Op::new(Call::Cut, EPOCH)), Status::Ok);
        let mut later = Genesis::roomy().sim;
        loop {
            let exported = story.call(Op::new(Call::Export, EPOCH).objects(&[MEMORY]));
            if exported.rdi == 0 {
                break;
            }
            let page = *story.sim.m.bytes(32);
            *later.m.bytes(32) = page;
            later.call_to_its_end(0, Op::new(Call::Restore, EPOCH).objects(&[MEMORY]).frame);
        }
        let epoch = Epoch::first_of(2).expect("small").bits();
        later.call(0, Op::new(Call::Resume, EPOCH).with(epoch, &[]).frame);
        assert_eq!(Frame::of(&later.kernel.cpus[0].frame).outcome().status(), Status::Ok);
    }
}

#[test]
fn a_thread_is_bound_no_longer_than_its_process_may_wait() {
    let mut genesis = Genesis::roomy();
    let (notification, endpoint) = (genesis.notification(VOLATILE), genesis.endpoint(VOLATILE, 0));
    let process = genesis.process(VOLATILE);
    let waited = genesis.grant(process, notification.handle, Rights::WAIT, 0);
    let received = genesis.grant(process, endpoint.handle, Rights::RECEIVE, 0);
    genesis.resume();
    let thread = genesis.thread(VOLATILE, process, 20);
    let mut story = Story::new(genesis.sim);
    story.call(Op::new(Call::Wait, 0).within(Timeout::from_ms(10)));
    story.call(Op::new(Call::BindNotification, waited));
    assert_eq!(story.model.threads[&thread.index].bound, Some(notification.index));
    story.call(Op::new(Call::Receive, received));
    story.step(Event::Timer(0));
    assert_eq!(story.status(Op::new(Call::Revoke, notification.handle)), Status::Ok);
    assert_eq!(story.model.threads[&thread.index].bound, None);
    // Whoever owns it can bind it, and the bits are the owner's.
    let signalled = story.call(Op::copy(notification.handle, Rights::SIGNAL, 9)).rdi as u16;
    assert_eq!(story.status(Op::new(Call::Signal, signalled)), Status::Ok);
    assert_ne!(story.frame_of(thread.index).outcome().kind(), Arrival::Notification);
    assert_eq!(story.status(Op::new(Call::BindNotification, notification.handle)), Status::Ok);
}

/// One process begins a revoke and never ends it: that is its own business.
#[test]
fn a_revoke_that_nobody_ends_leaves_the_fast_path_to_others() {
    let mut genesis = Genesis::roomy();
    let (shared, own) = (genesis.endpoint(WORLD, 0), genesis.endpoint(WORLD, 0));
    let (client, server, idler) = (genesis.process(WORLD), genesis.process(WORLD), genesis.process(WORLD));
    let called = genesis.grant(client, shared.handle, Rights::SEND, 1);
    let served = genesis.grant(server, shared.handle, Rights::RECEIVE, 0);
    let revoked = genesis.grant(idler, own.handle, Rights::all(), 0);
    let server = genesis.thread(WORLD, server, 40);
    let client = genesis.thread(WORLD, client, 30);
    let idle = genesis.thread(WORLD, idler, 50);
    let itself = genesis.grant(idler, idle.handle, Rights::all(), 0);
    genesis.resume();
    let mut story = Story::new(genesis.sim);
    story.sleep();
    let copies: Vec<u16> = (0..10).map(|_| story.call(Op::copy(revoked, Rights::SEND, 0)).rdi as u16).collect();
    story.call(Op::new(Call::Revoke, revoked));
    assert!(story.sim.is_again(0), "it takes more than one step");
    // In place of its second step the thread makes another call.
    story.call(Op::new(Call::Stop, itself));
    assert!(story.model.caps.values().any(|cap| cap.dying && cap.object != Object::Gone(abi::Kind::Endpoint)));
    assert!(copies.len() > 8 && story.sim.kernel.current(0) == Some(server.index));
    story.call(Op::new(Call::Receive, served));
    let (call, answer) = (Op::new(Call::Call, called).with(1, &[2]), Op::new(Call::ReplyReceive, served).with(1, &[2]));
    // The first round looks everything up, on the slow path.
    story.call(call);
    story.call(answer);
    for _ in 0..2 {
        assert_eq!(story.sim.kernel.current(0), Some(client.index));
        assert!(story.sim.fast(Event::Call(0, call)));
        assert!(story.sim.fast(Event::Call(0, answer)));
        assert_eq!(story.sim.kernel.check(&story.sim.m), Ok(()));
    }
}

/// A volatile process with a thread, and a server that sleeps 20 ms before anything happens; `wanted` badges its faults.
struct Served {
    story: Story,
    /// Init's handles: the process, a copy of the endpoint, and the copy of that by which the port was set.
    process: u16,
    above: u16,
    set_by: u16,
    thread: u32,
    /// The process's number, and the server's handle.
    number: u32,
    served: u16,
}

fn served(badge: u64) -> Served {
    let mut genesis = Genesis::roomy();
    let endpoint = genesis.endpoint(VOLATILE, 0);
    let (server, process) = (genesis.process(VOLATILE), genesis.process(VOLATILE));
    let served = genesis.grant(server, endpoint.handle, Rights::RECEIVE, 0);
    let above = genesis.call(Op::copy(endpoint.handle, Rights::all(), 0)).rdi as u16;
    let set_by = genesis.call(Op::copy(above, Rights::SEND | Rights::COPY, badge)).rdi as u16;
    genesis.call(Op::new(Call::SetMemoryPort, process.handle).with(badge, &[]).objects(&[set_by]));
    genesis.resume();
    genesis.thread(VOLATILE, server, 20);
    let thread = genesis.thread(VOLATILE, process, 30);
    let (number, process, thread) = (process.index, process.handle, thread.index);
    Served { story: Story::new(genesis.sim), process, above, set_by, thread, number, served }
}

impl Served {
    /// Init sleeps 10 ms; meanwhile the thread faults, and the server goes to sleep for 20 ms.
    fn fault(&mut self) {
        self.story.call(Op::new(Call::Wait, 0).within(Timeout::from_ms(10)));
        assert_eq!(self.story.sim.kernel.current(0), Some(self.thread));
        self.story.step(Event::Fault(0));
        self.story.call(Op::new(Call::Wait, 0).within(Timeout::from_ms(20)));
        self.story.step(Event::Timer(0));
    }

    /// Init sleeps for ever, and the server looks for messages.
    fn receive(&mut self) -> Frame {
        self.story.sleep();
        self.story.step(Event::Timer(0));
        self.story.call(Op::new(Call::Receive, self.served).poll())
    }

    fn doing(&self) -> Doing {
        self.story.model.threads[&self.thread].doing
    }
}

#[test]
fn a_fault_that_waits_is_told_with_the_badge_of_that_port_alone() {
    let mut served = served(7);
    served.fault();
    let other = served.story.call(Op::new(Call::Create, VOLATILE).with(abi::Kind::Endpoint as u64, &[0])).rdi as u16;
    let set = Op::new(Call::SetMemoryPort, served.process).with(99, &[]).objects(&[other]);
    assert_eq!(served.story.status(set), Status::Ok);
    served.receive();
    // Who asked is told nothing; the access is made again, and goes to the other port.
    assert_eq!(served.story.sim.kernel.current(0), Some(served.thread));
    served.story.step(Event::Fault(0));
    let other = served.story.model.memory_port(served.number);
    assert!(other.is_some_and(|(endpoint, badge)| badge == 99 && served.doing() == Doing::Faulting(endpoint)));
    assert_eq!(served.story.frame_of(served.thread).outcome().kind(), Arrival::None);
}

#[test]
fn a_fault_is_told_with_its_badge() {
    let mut served = served(7);
    served.fault();
    let told = served.receive().outcome();
    assert_eq!((told.kind(), told.badge(), served.doing()), (Arrival::Fault, 7, Doing::AwaitFault));
}

/// The port is derived from what it was set by: from the copy, and once that is dropped, from what it was a copy of.
#[test]
fn a_revoke_takes_memory_ports_with_it() {
    for dropped in [false, true] {
        let mut served = served(7);
        if dropped {
            assert_eq!(served.story.status(Op::new(Call::Drop, served.set_by)), Status::Ok);
        }
        served.fault();
        assert!(matches!(served.doing(), Doing::Faulting(_)));
        assert_eq!(served.story.status(Op::new(Call::Revoke, served.above)), Status::Ok);
        assert_eq!(served.story.model.memory_port(served.number), None);
        let told = served.receive().outcome();
        assert_ne!(told.kind(), Arrival::Fault, "dropped: {dropped}");
        served.story.step(Event::Fault(0));
        assert_eq!(served.doing(), Doing::Stopped, "nobody serves it");
    }
}

#[test]
fn nobody_names_a_memory_port() {
    let mut served = served(7);
    assert_eq!(served.story.status(Op::new(Call::SetMemoryPort, 1).with(0, &[]).objects(&[served.above])), Status::Ok);
    for call in [Call::Send, Call::Call, Call::Copy, Call::Drop, Call::Revoke, Call::Identify, Call::Destroy] {
        assert_eq!(served.story.status(Op::new(call, 0)), Status::BadHandle, "{call:?}");
    }
    assert_eq!(served.story.status(Op::new(Call::Send, served.above).caps(&[0])), Status::BadHandle);
}

/// Two processes that each wait in turn for what only the first loses: init's handle for what all was derived from, its
/// handle for the copy of the first, what the two and a third hold there, and their threads.
struct Waiting {
    story: Story,
    root: u16,
    of_first: u16,
    threads: [u32; 2],
    handles: [u16; 2],
    sends: u16,
    sender: u32,
}

/// The first and the second `waits` through a handle; then who can send to them runs, and then init.
fn waiting(kind: abi::Kind, waits: impl Fn(u16) -> Op) -> Waiting {
    let mut genesis = Genesis::roomy();
    let notification = kind == abi::Kind::Notification;
    let object = if notification { genesis.notification(VOLATILE) } else { genesis.endpoint(VOLATILE, 0) };
    let (waiting, sending) =
        if notification { (Rights::WAIT, Rights::SIGNAL) } else { (Rights::RECEIVE, Rights::SEND) };
    let processes = [0; 3].map(|_| genesis.process(VOLATILE));
    let of_first = genesis.call(Op::copy(object.handle, Rights::all(), 0)).rdi as u16;
    let handles =
        [genesis.grant(processes[0], of_first, waiting, 0), genesis.grant(processes[1], object.handle, waiting, 0)];
    let sends = genesis.grant(processes[2], object.handle, sending, 4);
    genesis.resume();
    let threads =
        [40, 30].map(|priority| genesis.thread(VOLATILE, processes[usize::from(priority == 30)], priority).index);
    let sender = genesis.thread(VOLATILE, processes[2], 20).index;
    let mut story = Story::new(genesis.sim);
    story.call(Op::new(Call::Wait, 0).within(Timeout::from_ms(10)));
    for (thread, handle) in threads.into_iter().zip(handles) {
        assert_eq!(story.sim.kernel.current(0), Some(thread));
        story.call(waits(handle));
    }
    assert_eq!(story.sim.kernel.current(0), Some(sender));
    Waiting { story, root: object.handle, of_first, threads, handles, sends, sender }
}

impl Waiting {
    /// Init takes from the first what it waits by, and sleeps for ever.
    fn revoke(&mut self) {
        self.story.step(Event::Timer(0));
        assert_eq!(self.story.status(Op::new(Call::Revoke, self.of_first)), Status::Ok);
        self.story.sleep();
        assert_eq!(self.story.sim.kernel.current(0), Some(self.sender));
    }

    fn outcomes(&self) -> [abi::Outcome; 2] {
        self.threads.map(|thread| self.story.frame_of(thread).outcome())
    }
}

/// A call by a handle.
type By = fn(u16) -> Op;

#[test]
fn who_waits_by_what_was_revoked_is_told_and_gets_nothing() {
    let ways: [(abi::Kind, By, By, Arrival); 4] = [
        (abi::Kind::Endpoint, |h| Op::new(Call::Receive, h), |h| Op::new(Call::Send, h), Arrival::Message),
        (abi::Kind::Endpoint, |h| Op::new(Call::ReplyReceive, h), |h| Op::new(Call::Send, h), Arrival::Message),
        (abi::Kind::Endpoint, |h| Op::new(Call::Receive, h), |h| Op::new(Call::Call, h), Arrival::Call),
        (abi::Kind::Notification, |h| Op::new(Call::Wait, h), |h| Op::new(Call::Signal, h), Arrival::Notification),
    ];
    for (row, (kind, waits, sends, arrival)) in ways.into_iter().enumerate() {
        // Nothing revoked: the first is the first.
        let mut all = waiting(kind, waits);
        all.story.call(sends(all.sends));
        assert_eq!((all.outcomes()[0].kind(), all.outcomes()[0].badge()), (arrival, 4), "row {row}");
        let mut taken = waiting(kind, waits);
        taken.revoke();
        taken.story.call(sends(taken.sends));
        let [first, second] = taken.outcomes();
        assert_eq!((first.status(), first.kind()), (Status::Revoked, Arrival::None), "row {row}");
        assert_eq!((second.kind(), second.badge()), (arrival, 4), "row {row}");
    }
}

/// In the midst of a revoke nothing below its root can be used either.
#[test]
fn nothing_arrives_by_what_is_being_revoked() {
    let mut taken = waiting(abi::Kind::Notification, |h| Op::new(Call::Wait, h));
    taken.story.step(Event::Timer(0));
    // More than one step's worth, all of it before what the first has.
    for _ in 0..9 {
        assert_eq!(taken.story.status(Op::copy(taken.of_first, Rights::all(), 0)), Status::Ok);
    }
    let sent = taken.story.call(Op::copy(taken.root, Rights::SIGNAL, 2)).rdi as u16;
    taken.story.call(Op::new(Call::Revoke, taken.of_first));
    assert!(taken.story.sim.is_again(0));
    assert!(
        taken.story.model.caps.contains_key(&(taken.story.model.threads[&taken.threads[0]].process, taken.handles[0]))
    );
    assert_eq!(taken.story.status(Op::new(Call::Signal, sent)), Status::Ok);
    let [first, second] = taken.outcomes();
    assert_eq!((first.status(), second.badge()), (Status::Revoked, 2));
}

/// The fast path knows as much: the first round looks everything up, and a revoke voids what it has found.
#[test]
fn nobody_goes_fast_to_who_waits_by_what_was_revoked() {
    let mut taken = waiting(abi::Kind::Endpoint, |h| Op::new(Call::ReplyReceive, h));
    let (call, answer) = (Op::new(Call::Call, taken.sends), Op::new(Call::ReplyReceive, taken.handles[0]));
    let [first, second] = taken.threads;
    taken.story.call(call);
    taken.story.call(answer);
    // Behind the second now: that is the next.
    assert_eq!(taken.story.sim.kernel.current(0), Some(taken.sender));
    taken.story.call(call);
    taken.story.call(Op::new(Call::ReplyReceive, taken.handles[1]));
    assert_eq!(taken.story.sim.kernel.current(0), Some(taken.sender));
    taken.revoke();
    taken.story.call(call);
    assert_eq!(taken.story.frame_of(first).outcome().status(), Status::Revoked);
    assert_eq!(taken.story.sim.kernel.current(0), Some(first), "it is more important, and is told at once");
    assert_eq!(taken.story.frame_of(second).outcome().kind(), Arrival::Call);
}

/// A process that has a device's interrupt and a notification, both derived from what init can revoke.
fn interrupted() -> (Story, [u16; 2], u32) {
    let mut genesis = Genesis::roomy();
    let notification = genesis.notification(VOLATILE);
    let process = genesis.process(VOLATILE);
    let line = genesis.call(Op::copy(abi::boot_info::handle::INTERRUPTS.0, Rights::all(), 0).part(3, 1)).rdi as u16;
    let bell = genesis.call(Op::copy(notification.handle, Rights::all(), 0)).rdi as u16;
    let own =
        [genesis.grant(process, line, Rights::INTERRUPT_BIND, 0), genesis.grant(process, bell, Rights::SIGNAL, 6)];
    genesis.resume();
    genesis.thread(VOLATILE, process, 20);
    let mut story = Story::new(genesis.sim);
    story.call(Op::new(Call::Wait, 0).within(Timeout::from_ms(10)));
    assert_eq!(story.status(Op::new(Call::BindInterrupt, own[0]).objects(&own[1..])), Status::Ok);
    story.step(Event::Interrupt(0, 3));
    assert_eq!(story.model.notifications[&notification.index].bits, 6, "it arrives");
    assert_eq!(story.status(Op::new(Call::AckInterrupt, own[0])), Status::Ok);
    story.step(Event::Timer(0));
    assert_eq!(story.status(Op::new(Call::Wait, notification.handle).poll()), Status::Ok);
    (story, [line, bell], notification.index)
}

#[test]
fn an_interrupt_rings_no_longer_than_its_process_may_have_it_rung() {
    for which in [0, 1] {
        let (mut story, roots, notification) = interrupted();
        assert_eq!(story.status(Op::new(Call::Revoke, roots[which])), Status::Ok);
        story.step(Event::Interrupt(0, 3));
        assert_eq!(story.model.notifications[&notification].bits, 0, "root {which}");
        assert!(story.model.devices.masked.contains(&3), "and stays masked");
        assert_eq!(story.status(Op::new(Call::AckInterrupt, roots[0])), Status::WrongState);
    }
}

#[test]
fn a_message_takes_no_more_along_than_one_step_can_move() {
    for (derived, status) in [(32, Status::Ok), (33, Status::TablesExhausted)] {
        let mut genesis = Genesis::roomy();
        let (endpoint, goods) = (genesis.endpoint(VOLATILE, 0), genesis.endpoint(VOLATILE, 0));
        let budget = genesis.call(Op::new(Call::Create, VOLATILE).with(abi::Kind::Process as u64, &[128])).rdi as u16;
        let index = genesis.call(Op::new(Call::Identify, budget)).words[2] as u32;
        let holder = spec::Made { handle: budget, index };
        let server = genesis.process(VOLATILE);
        let sent = genesis.grant(holder, goods.handle, Rights::all(), 0);
        let to = genesis.grant(holder, endpoint.handle, Rights::SEND, 0);
        let from = genesis.grant(server, endpoint.handle, Rights::RECEIVE, 0);
        genesis.resume();
        let server = genesis.thread(VOLATILE, server, 40);
        genesis.thread(VOLATILE, holder, 30);
        let mut story = Story::new(genesis.sim);
        story.sleep();
        story.call(Op::new(Call::Receive, from));
        for _ in 0..derived {
            assert_eq!(story.status(Op::copy(sent, Rights::SEND, 0)), Status::Ok);
        }
        let told = story.call(Op::new(Call::Send, to).caps(&[sent]).flags(abi::FLAG_MOVE));
        if status == Status::Ok {
            assert_eq!(story.sim.kernel.current(0), Some(server.index));
        } else {
            assert_eq!(told.outcome().status(), status);
            // It can be copied all the same.
            story.call(Op::new(Call::Send, to).caps(&[sent]));
            assert_eq!(story.sim.kernel.current(0), Some(server.index));
        }
    }
}

#[test]
fn nobody_of_the_world_comes_before_who_serves_it() {
    let mut genesis = Genesis::roomy();
    let (world, volatile) = (genesis.process(WORLD), genesis.process(VOLATILE));
    genesis.resume();
    let mut story = Story::new(genesis.sim);
    for (budget, process, highest) in [(WORLD, world, abi::WORLD_PRIORITY_MAX), (VOLATILE, volatile, u8::MAX)] {
        let create = |priority: u64| {
            let words = [0x40_0000, 0x50_0000, 0, priority];
            Op::new(Call::Create, budget).with(abi::Kind::Thread as u64, &words).objects(&[process.handle])
        };
        assert_eq!(story.status(create(u64::from(highest) + 1)), Status::BadArgument);
        let thread = story.call(create(highest.into())).rdi as u16;
        for (priority, status) in [(highest.into(), Status::Ok), (u64::from(highest) + 1, Status::BadArgument)] {
            assert_eq!(story.status(Op::new(Call::SetPriority, thread).with(priority, &[])), status);
        }
    }
}

/// What a server has mapped is its own to take back and give to others, also from a process that has another memory port by
/// now, or none.
#[test]
fn pages_are_taken_from_a_process_whoever_serves_it() {
    const ADDRESS: u64 = 0x70_0000;
    for revoked in [false, true] {
        let mut genesis = Genesis::roomy();
        let (port, other) = (genesis.endpoint(WORLD, 0), genesis.endpoint(WORLD, 0));
        let (process, outside, keeper) = (genesis.process(WORLD), genesis.process(VOLATILE), genesis.process(WORLD));
        let [held, instead, kept] =
            [port, other, process].map(|made| genesis.grant(keeper, made.handle, Rights::all(), 0));
        let [name, outside] =
            [process, outside].map(|made| genesis.call(Op::new(Call::Identify, made.handle)).words[2]);
        let without = genesis.call(Op::copy(EPOCH, Rights::EPOCH_RECORDS, 0)).rdi as u16;
        genesis.thread(WORLD, keeper, 10);
        genesis.resume();
        let mut story = Story::new(genesis.sim);
        let set = |by| Op::new(Call::SetMemoryPort, kept).with(7, &[]).objects(&[by]);
        story.let_another(set(held));
        let words = [0, 1, MapFlags::WRITE.bits(), story.sim.kernel.epoch().bits(), name];
        let map = |by| Op::new(Call::Map, by).with(ADDRESS, &words).objects(&[MEMORY]);
        let unmap = |by, name| Op::new(Call::Unmap, by).with(ADDRESS, &[1, 0, 0, 0, name]);
        assert_eq!(story.status(map(port.handle)), Status::Ok);
        story.let_another(if revoked { Op::new(Call::Revoke, held) } else { set(instead) });
        assert_eq!(story.status(unmap(port.handle, name)), Status::BadArgument, "revoked: {revoked}");
        assert_eq!(story.model.pages.maps.len(), 1);
        // By the right to end epochs: from the world alone, and taken only.
        assert_eq!(story.status(unmap(without, name)), Status::WrongKind);
        assert_eq!(story.status(map(EPOCH)), Status::WrongKind);
        assert_eq!(story.status(unmap(EPOCH, name + (1 << 32))), Status::BadArgument);
        assert_eq!(story.status(unmap(EPOCH, outside)), Status::BadArgument);
        assert_eq!((story.call(unmap(EPOCH, name)).rdi, story.model.pages.maps.len()), (1, 0));
        // Nor from one that is no more.
        while story.status(Op::new(Call::Destroy, process.handle)) != Status::Ok || story.sim.is_again(0) {}
        assert_eq!(story.status(unmap(EPOCH, name)), Status::BadArgument);
    }
}
