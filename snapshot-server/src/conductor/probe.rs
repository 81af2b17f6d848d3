//! Looks whether a disk is blank, before a store is opened or made on it: only a disk whose both header places are
//! zero may be formatted without being asked.

use crate::{Command, Host, Op, PageRef};

/// Reads of one place before the disk counts as dead.
const TRIES_MAX: u8 = 4;

/// What a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// Nothing has ever been written where headers are.
    Blank,
    /// Something is there; whether it is ours the store finds out.
    Written,
    /// It cannot be read.
    Dead,
}

/// Reads the two places where a store has its headers.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    page: PageRef,
    place: u32,
    under_way: bool,
    tries: u8,
}

impl Probe {
    /// With a page to read into.
    pub fn new(page: PageRef) -> Self {
        Self { page, place: 0, under_way: false, tries: 0 }
    }

    /// Goes on; `None`: the disk has not answered yet. To be called while the link to the driver is down, too: only so
    /// does it hear that its read was lost with a driver, and ask the next one.
    pub fn poll<H: Host>(&mut self, host: &mut H) -> Option<Probed> {
        if let Some(completion) = host.poll().filter(|completion| completion.tag == self.place) {
            self.under_way = false;
            match completion.result {
                Ok(()) if host.bytes(self.page).iter().any(|&byte| byte != 0) => return Some(Probed::Written),
                Ok(()) => {
                    self.place += 1;
                    self.tries = 0;
                }
                Err(_) => self.tries += 1,
            }
        }
        if self.place == 2 {
            return Some(Probed::Blank);
        }
        if self.tries == TRIES_MAX {
            return Some(Probed::Dead);
        }
        if !self.under_way {
            // A link that is not up has no blocks yet, and comes up by being asked.
            let block = if self.place == 0 { 0 } else { host.blocks().checked_sub(1)? };
            let command = Command { tag: self.place, op: Op::Read, block, pages: &[self.page] };
            self.under_way = host.submit(&command).is_ok();
        }
        None
    }
}
