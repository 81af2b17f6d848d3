//! The cut: between two requests, when all that was applied is answered.
//!
//! The kernel's epoch ends first, then the pager's own, with nothing in between: what the kernel logged before the
//! position that its cut returned belongs to the ended epoch, what comes after it to the new one.

use crate::Pager;
use crate::environment::Environment;
use crate::pager::Phase;
use abi::Status;
use abi::protocol::paging::{Refusal, ToStore};

impl Pager {
    /// Ends the running epoch, and says so; or says why not.
    pub(crate) fn cut(&mut self, env: &mut impl Environment) {
        let message = match self.try_cut(env) {
            Ok(message) => message,
            Err(why) => ToStore::CutRefused(why),
        };
        env.send(message);
    }

    fn try_cut(&mut self, env: &mut impl Environment) -> Result<ToStore, Refusal> {
        if self.phase != Phase::Running {
            return Err(Refusal::NotReady);
        }
        if !self.lanes.can_rotate() {
            return Err(Refusal::Undrained);
        }
        if !self.tables_are_drained() {
            return Err(Refusal::PagerBusy);
        }
        let point = match env.cut() {
            Ok(point) => point,
            Err(Status::Busy) => return Err(Refusal::KernelBusy),
            Err(_) => return Err(Refusal::NotReady),
        };
        // ---- point of no return ----
        let ended = self.running;
        let tables_quiet = self.tables_are_quiet();
        self.cut_tables();
        // What was written up to the cut belongs to the lane that still counts as the running one.
        self.read_log(env, Some(point.log_position));
        let lane = self.lanes.running();
        let written = self.frames.list_count(lane as u8) > 0 || !self.contents.drops_are_empty(lane);
        self.lanes.rotate(point.running);
        self.running = point.running;
        self.said_short = false;
        self.shelter.cut();
        self.reserve.cut();
        let quiet = point.quiet && tables_quiet && !written;
        Ok(ToStore::CutDone { ended, running: point.running, quiet })
    }

    fn tables_are_drained(&self) -> bool {
        self.counters.is_drained()
            && self.spaces.table.is_drained()
            && self.objects.table.is_drained()
            && self.regions.table.is_drained()
    }

    fn tables_are_quiet(&self) -> bool {
        self.counters.is_quiet()
            && self.spaces.table.is_quiet()
            && self.objects.table.is_quiet()
            && self.regions.table.is_quiet()
    }

    fn cut_tables(&mut self) {
        let cuts = [self.counters.cut(), self.spaces.table.cut(), self.objects.table.cut(), self.regions.table.cut()];
        assert_eq!(cuts, [true; 4], "the tables were drained");
    }
}
