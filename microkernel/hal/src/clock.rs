//! Time since boot from the time-stamp counter, and how fast the local APIC's timer counts.
//!
//! Both are measured against the old interval timer (PIT), to about one part in 10,000.
//! Reference: Intel 8254 datasheet.

use crate::apic::LocalApic;
use crate::instructions::tsc;
use x86_64::structures::port::{PortRead, PortWrite};

/// Ticks of the interval timer a second.
const PIT_HZ: u64 = 1_193_182;
/// Ticks that a measurement takes: 10 ms.
const MEASURE_TICKS: u16 = 11_932;
/// Measurements, of which the middle one counts: a hypervisor may take the CPU away in the middle of one, between two
/// readings or for so long that the interval timer, which comes round every 55 ms, does so unseen.
const MEASUREMENTS: usize = 5;
/// Readings of the interval timer while a measurement waits; a timer that stands still must not hang the machine.
const POLLS_MAX: u32 = 10_000_000;
const FRACTION_BITS: u32 = 32;
const NS_PER_S: u64 = 1_000_000_000;

/// Rates and the origin of time.
#[derive(Clone, Copy)]
pub struct Clock {
    origin: u64,
    /// Nanoseconds a tick of the time-stamp counter, with 32 binary places.
    ns_per_tick: u64,
    /// Ticks of the APIC timer a nanosecond, with 32 binary places.
    timer_per_ns: u64,
    /// Ticks of the time-stamp counter a second.
    pub(crate) tsc_hz: u64,
}

fn pit_count() -> u16 {
    // SAFETY: the interval timer has no access to memory. Latch counter 2, then read its two bytes.
    unsafe {
        u8::write_to_port(0x43, 0x80);
        u16::from(u8::read_from_port(0x42)) | u16::from(u8::read_from_port(0x42)) << 8
    }
}

impl Clock {
    /// Measures for some 10 ms, a few times. `None` if the interval timer stands still.
    pub(crate) fn measure(apic: LocalApic) -> Option<Self> {
        let mut measured = [Self::measure_once(apic)?; MEASUREMENTS];
        for again in &mut measured[1..] {
            *again = Self::measure_once(apic)?;
        }
        measured.sort_unstable_by_key(|clock| clock.tsc_hz);
        Some(Self { origin: tsc(), ..measured[MEASUREMENTS / 2] })
    }

    fn measure_once(apic: LocalApic) -> Option<Self> {
        // SAFETY: the interval timer has no access to memory. Gate on, speaker off; counter 2 counts down from 65,536.
        unsafe {
            u8::write_to_port(0x61, u8::read_from_port(0x61) & !2 | 1);
            u8::write_to_port(0x43, 0xb4);
            u8::write_to_port(0x42, 0);
            u8::write_to_port(0x42, 0);
        }
        apic.start_timer(u32::MAX);
        let (start_pit, start_tsc, start_timer) = (pit_count(), tsc(), apic.timer_left());
        let mut polls = 0;
        while start_pit.wrapping_sub(pit_count()) < MEASURE_TICKS {
            polls += 1;
            if polls > POLLS_MAX {
                return None;
            }
        }
        let (end_pit, end_tsc, end_timer) = (pit_count(), tsc(), apic.timer_left());
        apic.start_timer(0);
        let pit = u64::from(start_pit.wrapping_sub(end_pit));
        let tsc_hz = (end_tsc - start_tsc) * PIT_HZ / pit;
        let timer_hz = u64::from(start_timer - end_timer) * PIT_HZ / pit;
        if tsc_hz == 0 || timer_hz == 0 {
            return None;
        }
        Some(Self {
            origin: 0,
            ns_per_tick: ((u128::from(NS_PER_S) << FRACTION_BITS) / u128::from(tsc_hz)) as u64,
            timer_per_ns: (timer_hz << FRACTION_BITS) / NS_PER_S,
            tsc_hz,
        })
    }

    /// Nanoseconds since [`Self::measure`].
    pub(crate) fn now_ns(&self) -> u64 {
        let ticks = tsc().saturating_sub(self.origin);
        ((u128::from(ticks) * u128::from(self.ns_per_tick)) >> FRACTION_BITS) as u64
    }

    /// Ticks of the APIC timer that last at least `ns`, at least one; less if the timer cannot count that far.
    pub(crate) fn timer_ticks(&self, ns: u64) -> u32 {
        let ticks = ((u128::from(ns) * u128::from(self.timer_per_ns)) >> FRACTION_BITS) + 1;
        ticks.min(u128::from(u32::MAX)) as u32
    }

    /// Waits, doing nothing.
    pub(crate) fn pause_ns(&self, ns: u64) {
        let end = self.now_ns() + ns;
        while self.now_ns() < end {
            core::hint::spin_loop();
        }
    }
}
