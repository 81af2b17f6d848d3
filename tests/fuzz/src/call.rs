//! Any registers, by whoever runs: the decoder and everything behind it, on a small machine with two CPUs on which init
//! is awake with all that it holds, beside processes of the world and of this boot.

use std::sync::OnceLock;

use abi::fault::Access;
use abi::{Call, Epoch};
use kernel_core::Violation;
use spec::{Event, Frame, Op, Sim};

use crate::Source;

/// Events in one input, at most.
const EVENTS_MAX: usize = 200;

/// The islands of the universe `wild`, and init still running; before and after the world was started.
fn starts() -> &'static [Sim; 2] {
    static STARTS: OnceLock<[Sim; 2]> = OnceLock::new();
    STARTS.get_or_init(|| {
        let mut genesis = spec::universe::islands();
        let before = genesis.sim.clone();
        genesis.resume();
        [before, genesis.sim]
    })
}

/// Results of earlier calls: arguments that mean something.
#[derive(Default)]
pub(crate) struct Memory([u64; 8], usize);

impl Memory {
    fn keep(&mut self, value: u64) {
        self.0[self.1 % 8] = value;
        self.1 += 1;
    }

    fn value(&self, source: &mut Source<'_>) -> u64 {
        match source.byte() % 4 {
            0 => self.0[usize::from(source.byte() % 8)],
            _ => source.number(),
        }
    }
}

fn frame(source: &mut Source<'_>, memory: &Memory, epoch: Epoch) -> Frame {
    let kind = source.byte();
    if kind.is_multiple_of(32) {
        // Anything at all.
        let word = |source: &mut Source<'_>| u64::from_le_bytes(source.array());
        return Frame { rax: word(source), rdi: word(source), words: [0; 8].map(|_| word(source)), caps: word(source) };
    }
    let call = Call::from_bits(source.byte() % (abi::CALLS + 1)).map_or(250, |call| call as u8);
    let handle = if kind % 8 == 1 { memory.0[usize::from(kind / 32)] as u16 } else { u16::from(source.byte() % 28) };
    let mut op =
        Op::new(Call::Null, handle).flags(if kind.is_multiple_of(4) { source.byte() } else { source.byte() & 3 });
    op = op.within(match source.byte() % 4 {
        0 => abi::Timeout::POLL,
        1 => abi::Timeout::from_ms(u64::from(source.byte())),
        _ => abi::Timeout::FOREVER,
    });
    let mut frame = op.frame;
    frame.rax = frame.rax & !0xff | u64::from(call);
    frame.rdi = memory.value(source);
    for word in &mut frame.words {
        *word = if kind & 0x40 == 0 { memory.value(source) } else { u64::from(source.byte() % 4) };
    }
    if source.byte().is_multiple_of(3) {
        frame.words[3] = epoch.bits();
    }
    let cap = |source: &mut Source<'_>| u64::from(source.byte() % 28);
    frame.caps = cap(source) | cap(source) << 16 | cap(source) << 32 | cap(source) << 48;
    frame
}

fn event(sim: &mut Sim, source: &mut Source<'_>, memory: &mut Memory) -> Result<(), Violation> {
    let cpu = usize::from(source.byte()) % sim.kernel.cpus.count();
    let runs = sim.kernel.current(cpu).is_some();
    match source.byte() % 24 {
        0 => {
            if let Some(at) = sim.m.timers.remove(&cpu) {
                sim.m.now_ns = sim.m.now_ns.max(at);
            }
            sim.kernel.timer(&mut sim.m, cpu);
        }
        1 => {
            sim.m.kicked.remove(&cpu);
            sim.kernel.reschedule(&mut sim.m, cpu);
        }
        2 if runs => {
            let address = source.number();
            let access = Access::from_bits_truncate(source.byte().into());
            sim.kernel.page_fault(&mut sim.m, cpu, (address, access, u64::from(source.byte())));
        }
        3 => sim.kernel.interrupt(&mut sim.m, cpu, source.number() as u32),
        4 => sim.m.now_ns = sim.m.now_ns.saturating_add(u64::from(source.byte()) << 20),
        _ if runs => {
            let frame = frame(source, memory, sim.kernel.epoch());
            // A fast path that takes the call leaves the kernel as sound as the slow one does.
            let mut beside = sim.clone();
            if beside.fast(Event::Call(cpu, Op { call: Call::Null, frame })) {
                beside.kernel.check(&beside.m)?;
            }
            sim.call(cpu, frame);
            memory.keep(sim.kernel.cpus[cpu].frame.rdi);
            memory.keep(sim.kernel.cpus[cpu].frame.words[2]);
        }
        _ => {}
    }
    sim.kernel.orphan = None;
    Ok(())
}

/// Events until the input is empty; `is_sound` after each.
pub(crate) fn go_on(
    sim: &mut Sim,
    source: &mut Source<'_>,
    is_sound: impl Fn(&Sim) -> Result<(), String>,
) -> Result<(), String> {
    let mut memory = Memory::default();
    for step in 0..EVENTS_MAX {
        if source.is_empty() {
            break;
        }
        event(sim, source, &mut memory).map_err(|violation| format!("fast, event {step}: {violation:?}"))?;
        is_sound(sim).map_err(|what| format!("event {step}: {what}"))?;
    }
    Ok(())
}

pub(crate) fn run(bytes: &[u8]) -> Result<(), String> {
    let mut source = Source::new(bytes);
    let mut sim = starts()[usize::from(!source.byte().is_multiple_of(4))].clone();
    go_on(&mut sim, &mut source, |sim| sim.kernel.check(&sim.m).map_err(|violation| format!("{violation:?}")))
}
