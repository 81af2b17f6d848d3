//! Who sees what programs of the world lend ([`lent`]), and who shows it.

use super::boot::System;
use super::chain::BuildError;
use super::spawn::Making;
use core::sync::atomic::Ordering;
use init::{Grant, Link};
use libos::abi::protocol::lent;
use libos::abi::protocol::service::Service;
use libos::abi::protocol::startup::{WindowEntry, WindowFlags};
use libos::abi::protocol::wiring::Borrower;
use libos::abi::{Epoch, Handle, MapFlags, PAGE_SIZE, Rights};
use libos::{Capability, MapError, Mapping, Process, Space};

impl System {
    /// The window in which the pager will show what is lent. There are zeros: it can always be read.
    pub(super) fn let_borrow(&mut self, making: &mut Making<'_>) -> Result<(), BuildError> {
        let address = making.windows.take(lent::PLACES as u64)?;
        self.show_nothing(making.process, address)?;
        let bytes = (lent::PLACES * PAGE_SIZE) as u64;
        let flags = WindowFlags::empty();
        let entry = WindowEntry { address, bytes, first_frame: 0, flags, handle: Handle::NULL };
        making.page.window(lent::PAGES, entry)?;
        making.server.lent_at = address;
        Ok(())
    }

    /// Maps zeros in all places of a window.
    fn show_nothing(&self, process: Process, address: u64) -> Result<(), MapError> {
        let memory = self.memory.memory;
        for place in 0..lent::PLACES {
            let address = address + (place * PAGE_SIZE) as u64;
            let flags = MapFlags::empty();
            let at = Mapping { address, memory, first_page: self.blank_page, pages: 1, flags, epoch: Epoch::NONE };
            Space::Own(process).map_all(at)?;
        }
        Ok(())
    }

    /// The server at `made` is one end of the link, and new: when the other end is there, the pager gets the right to map
    /// into the one that borrows, and is told of it.
    pub(super) fn introduce(&mut self, made: usize) -> Result<(), BuildError> {
        let Some(lender) = self.plan.holder(Grant::Port(Service::Memory)) else { return Ok(()) };
        let borrower = self.plan.other_end(Link::Lent, lender).and_then(|place| self.servers.get(place));
        let pager = self.servers.get(lender).and_then(|server| server.process);
        let (Some(pager), Some(borrower)) = (pager, borrower) else { return Ok(()) };
        let Some(process) = borrower.process else { return Ok(()) };
        if made == lender {
            // What an earlier pager showed is nobody's to see any more, and what it said is not true.
            let table = self.area(Link::Lent);
            for word in self.memory.words(table.first, table.pages) {
                word.store(0, Ordering::Release);
            }
            self.show_nothing(process, borrower.lent_at)?;
        }
        let there = pager.grant(Capability(process.0), Rights::PROCESS_MAP, 0)?;
        self.tell_lender(lender, Borrower { process: there, life: borrower.news.life, address: borrower.lent_at });
        Ok(())
    }
}
