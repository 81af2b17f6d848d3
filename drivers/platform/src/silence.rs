//! Making a device reach memory no more (PCIe §6.6.2; NVM Express 1.4 requires the function reset of its controllers).
//!
//! ```text
//!   bus mastering off, message interrupts off
//!        │ DRAIN_NS_MAX, or earlier when no transaction is pending
//!        ▼
//!   function reset ─── there is none: silent, but not clean
//!        │ RESET_NS
//!        ▼
//!   answers again ──── not within READY_NS_MAX: gone, and silent for that reason
//!        │
//!        ▼
//!   windows put back, silent and clean
//! ```
//!
//! Invariant: from the first step on the device issues no new request; from the end on none of its old ones is on its
//! way either.

use crate::bar;
use crate::capability::{self, ADVANCED, EXPRESS, MESSAGES};
use crate::config::{BUS_MASTER, COMMAND, ConfigSpace, IDENTITY, NO_PIN, Place, change_command, is_present};
use crate::inventory::Function;

/// How long transactions on their way may take.
const DRAIN_NS_MAX: u64 = 200_000_000;
/// What a device has for its reset before it is spoken to (PCIe §6.6.2: 100 ms).
const RESET_NS: u64 = 100_000_000;
/// When a device must answer at last (PCIe §6.6.1: one second).
const READY_NS_MAX: u64 = 1_000_000_000;

/// Device capabilities: function reset.
const EXPRESS_CAN_RESET: u32 = 1 << 28;
/// Device control: begin it.
const EXPRESS_RESET: u32 = 1 << 15;
/// Device status (upper half of the register): transactions pending.
const EXPRESS_PENDING: u32 = 1 << 21;
/// Advanced features: function reset.
const ADVANCED_CAN_RESET: u32 = 1 << 25;
const ADVANCED_RESET: u32 = 1;
const ADVANCED_PENDING: u32 = 1 << 8;

/// Why a device is not certainly silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilenceError {
    /// It has gone from the bus. It reaches memory no more, but nor does it answer.
    Removed,
    /// It keeps bus mastering on, or has transactions pending for ever. The device is to blame.
    Stuck,
}

/// How to reset a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Express(u16),
    Advanced(u16),
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Draining { until_ns: u64 },
    Resetting { until_ns: u64 },
    Returning { until_ns: u64 },
}

/// A device being silenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    place: Place,
    way: Way,
    phase: Phase,
}

impl Silence {
    /// Stops new requests of the device; the rest follows in [`Silence::step`].
    pub fn begin(config: &impl ConfigSpace, function: &Function, now_ns: u64) -> Self {
        let place = function.place;
        change_command(config, place, BUS_MASTER, NO_PIN);
        if let Some(at) = capability::find(config, place, MESSAGES) {
            set_messages(config, place, at, false);
        }
        let phase = Phase::Draining { until_ns: now_ns.saturating_add(DRAIN_NS_MAX) };
        Self { place, way: way_to_reset(config, place), phase }
    }

    /// Goes on; `None` while there is something to wait for (call again within a few milliseconds). At the end: whether
    /// the device is clean, so that it may be given to a driver.
    ///
    /// # Errors
    /// See [`SilenceError`].
    pub fn step(
        &mut self,
        config: &impl ConfigSpace,
        function: &Function,
        now_ns: u64,
    ) -> Option<Result<bool, SilenceError>> {
        match self.phase {
            Phase::Draining { until_ns } => self.drain(config, now_ns, until_ns),
            Phase::Resetting { until_ns } if now_ns >= until_ns => {
                self.phase = Phase::Returning { until_ns: now_ns.saturating_add(READY_NS_MAX) };
                self.step(config, function, now_ns)
            }
            Phase::Resetting { .. } => None,
            Phase::Returning { until_ns } => {
                if is_present(config.read(self.place, IDENTITY)) {
                    for (index, bar) in function.bars.iter().enumerate().filter(|(_, bar)| bar.bytes != 0) {
                        bar::write_one(config, self.place, index, *bar);
                    }
                    return Some(Ok(true));
                }
                (now_ns >= until_ns).then_some(Err(SilenceError::Removed))
            }
        }
    }

    fn drain(&mut self, config: &impl ConfigSpace, now_ns: u64, until_ns: u64) -> Option<Result<bool, SilenceError>> {
        if !is_present(config.read(self.place, IDENTITY)) {
            return Some(Err(SilenceError::Removed));
        }
        if config.read(self.place, COMMAND) & BUS_MASTER != 0 {
            return Some(Err(SilenceError::Stuck));
        }
        let pending = match self.way {
            Way::Express(at) => config.read(self.place, at + 8) & EXPRESS_PENDING != 0,
            Way::Advanced(at) => config.read(self.place, at + 4) & ADVANCED_PENDING != 0,
            // It does not say: it gets the longest time.
            Way::None => now_ns < until_ns,
        };
        if pending && now_ns < until_ns {
            return None;
        }
        match self.way {
            // A reset drops what is pending (PCIe §6.6.2), but what a function without one keeps pending stays.
            Way::None => return Some(Ok(false)),
            Way::Express(at) => {
                let control = config.read(self.place, at + 8) & 0xffff;
                config.write(self.place, at + 8, control | EXPRESS_RESET);
            }
            Way::Advanced(at) => config.write(self.place, at + 4, ADVANCED_RESET),
        }
        self.phase = Phase::Resetting { until_ns: now_ns.saturating_add(RESET_NS) };
        None
    }
}

fn way_to_reset(config: &impl ConfigSpace, place: Place) -> Way {
    if let Some(at) = capability::find(config, place, EXPRESS)
        && config.read(place, at + 4) & EXPRESS_CAN_RESET != 0
    {
        return Way::Express(at);
    }
    match capability::find(config, place, ADVANCED) {
        Some(at) if config.read(place, at) & ADVANCED_CAN_RESET != 0 => Way::Advanced(at),
        _ => Way::None,
    }
}

/// Turns message interrupts of a function on (all vectors as the table says) or off.
pub(crate) fn set_messages(config: &impl ConfigSpace, place: Place, at: u16, on: bool) {
    const ENABLE: u32 = 1 << 31;
    const MASK_ALL: u32 = 1 << 30;
    let control = config.read(place, at) & !(ENABLE | MASK_ALL);
    config.write(place, at, if on { control | ENABLE } else { control | MASK_ALL });
}
