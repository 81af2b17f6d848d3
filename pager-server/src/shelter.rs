//! Progress when memory is far too short: the pages of one process at a time are left to it.
//!
//! Threads that fault together on more pages than there are frames can take each other's before any of them has run.
//! So while frames are taken from others, one process is *sheltered*: what is mapped for it is not evicted, up to
//! [`SHELTERED_MAX`] pages, enough for one instruction. That lasts for a whole epoch at least, which the store makes
//! short when it hears of the need; then it is another's turn. A process with no more than so many pages under way
//! therefore gets on, whatever the others do.

use crate::environment::ProcessName;
use crate::frame::NONE;

/// Code, two operands and a stack, each across the boundary of a page.
const SHELTERED_MAX: usize = 8;
/// Cuts that end a turn: the first may come at once.
const TURN_CUTS: u8 = 2;

/// Whose turn it is, and what must stay. A frame that got another use meanwhile stays too, for no longer.
pub(crate) struct Shelter {
    process: Option<ProcessName>,
    /// Had its turn just before: others first.
    before: Option<ProcessName>,
    cuts_left: u8,
    places: [u32; SHELTERED_MAX],
    count: usize,
}

impl Shelter {
    pub(crate) const fn new() -> Self {
        Self { process: None, before: None, cuts_left: 0, places: [NONE; SHELTERED_MAX], count: 0 }
    }

    /// A frame is mapped for a process while frames are short.
    pub(crate) fn mapped(&mut self, process: ProcessName, place: u32) {
        if self.process.is_none() && self.before != Some(process) {
            (self.process, self.cuts_left) = (Some(process), TURN_CUTS);
        }
        if self.process == Some(process) && self.count < SHELTERED_MAX && !self.holds(place) {
            self.places[self.count] = place;
            self.count += 1;
        }
    }

    /// Whether a frame must stay.
    pub(crate) fn holds(&self, place: u32) -> bool {
        self.places[..self.count].contains(&place)
    }

    /// An epoch has ended.
    pub(crate) fn cut(&mut self) {
        self.cuts_left = self.cuts_left.saturating_sub(1);
        if self.cuts_left == 0 {
            (self.before, self.process, self.count) = (self.process, None, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: ProcessName = ProcessName(1);
    const SECOND: ProcessName = ProcessName(2);

    #[test]
    fn one_process_at_a_time_keeps_its_pages_for_a_whole_epoch() {
        let mut shelter = Shelter::new();
        shelter.mapped(FIRST, 10);
        shelter.mapped(SECOND, 20);
        shelter.cut();
        assert!(shelter.holds(10) && !shelter.holds(20));
        shelter.mapped(SECOND, 20);
        assert!(!shelter.holds(20));
        shelter.cut();
        assert!(!shelter.holds(10));
        // Its turn is over: another has the next one, or for an epoch nobody.
        shelter.mapped(FIRST, 10);
        assert!(!shelter.holds(10));
        shelter.mapped(SECOND, 20);
        assert!(shelter.holds(20));
        (0..3).for_each(|_| shelter.cut());
        shelter.mapped(SECOND, 20);
        assert!(shelter.holds(20));
    }

    #[test]
    fn no_more_than_an_instruction_needs_is_kept() {
        let mut shelter = Shelter::new();
        for place in 0..2 * SHELTERED_MAX as u32 {
            shelter.mapped(FIRST, place);
            shelter.mapped(FIRST, place);
        }
        assert_eq!((0..100).filter(|&place| shelter.holds(place)).count(), SHELTERED_MAX);
        assert!(shelter.holds(SHELTERED_MAX as u32 - 1));
    }
}
