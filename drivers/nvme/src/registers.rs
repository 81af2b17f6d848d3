//! The controller's registers (§3.1), as raw numbers and as what they mean.

/// Capabilities, 64 bits.
pub(crate) const CAP: usize = 0x00;
/// Interrupt mask set, for pin-based interrupts.
pub(crate) const INTMS: usize = 0x0c;
/// Configuration.
pub(crate) const CC: usize = 0x14;
/// Status.
pub(crate) const CSTS: usize = 0x1c;
/// Sizes of the admin queues.
pub(crate) const AQA: usize = 0x24;
/// Address of the admin submission queue, 64 bits.
pub(crate) const ASQ: usize = 0x28;
/// Address of the admin completion queue, 64 bits.
pub(crate) const ACQ: usize = 0x30;
/// First doorbell.
const DOORBELLS: usize = 0x1000;

/// Bytes of registers up to and including the doorbells of the two queue pairs, at the smallest stride.
pub(crate) const WINDOW_BYTES_MIN: usize = DOORBELLS + 16;

/// `CAP.TO` counts in these.
const TIMEOUT_UNIT_NS: u64 = 500_000_000;

/// `CC` with the controller enabled: NVM command set, 4 KiB pages, round robin, entries of 64 and 16 bytes.
pub(crate) const CC_ENABLED: u32 = 1 | 6 << 16 | 4 << 20;
/// `CC` with the controller disabled.
pub(crate) const CC_DISABLED: u32 = 0;
/// `CC.SHN`: normal shutdown.
pub(crate) const CC_SHUTDOWN: u32 = 1 << 14;

/// What the controller can do, checked: it works with 4 KiB pages and the NVM command set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// Entries that a queue may have, 2 to 65,536.
    pub(crate) entries_max: u32,
    /// The longest that enabling or disabling takes.
    pub(crate) ready_ns_max: u64,
    /// Bytes from one doorbell to the next.
    pub(crate) doorbell_stride: usize,
}

/// What this driver needs and the controller lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Pages of 4 KiB (`CAP.MPSMIN`).
    SmallPages,
    /// The NVM command set (`CAP.CSS`).
    NvmCommands,
    /// Queues of two entries at least (`CAP.MQES`).
    Queues,
    /// Doorbells within the register window (`CAP.DSTRD`).
    Doorbells,
    /// Queue entries of the usual sizes (`SQES`, `CQES`).
    EntrySizes,
    /// A namespace, or the one that was asked for.
    Namespace,
    /// Sectors of 512 or 4096 bytes without metadata or protection.
    Sectors,
}

impl Capabilities {
    /// Takes `CAP` apart. `window_bytes` is how far the registers reach.
    pub(crate) fn from_raw(cap: u64, window_bytes: usize) -> Result<Self, Missing> {
        if cap >> 48 & 0xf != 0 {
            return Err(Missing::SmallPages);
        }
        if cap >> 37 & 1 == 0 {
            return Err(Missing::NvmCommands);
        }
        let entries_max = (cap & 0xffff) as u32 + 1;
        if entries_max < 2 {
            return Err(Missing::Queues);
        }
        let doorbell_stride = 4usize << (cap >> 32 & 0xf);
        if DOORBELLS + 4 * doorbell_stride > window_bytes {
            return Err(Missing::Doorbells);
        }
        let ready_ns_max = (cap >> 24 & 0xff).max(1) * TIMEOUT_UNIT_NS;
        Ok(Self { entries_max, ready_ns_max, doorbell_stride })
    }

    /// Where the tail of submission queue `queue` is written.
    pub(crate) fn tail_doorbell(&self, queue: u16) -> usize {
        DOORBELLS + 2 * usize::from(queue) * self.doorbell_stride
    }

    /// Where the head of completion queue `queue` is written.
    pub(crate) fn head_doorbell(&self, queue: u16) -> usize {
        self.tail_doorbell(queue) + self.doorbell_stride
    }
}

/// What `CSTS` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Reads as all ones: the device is gone from the bus.
    Removed,
    /// `CSTS.CFS`: the controller has met an error from which only a reset may help.
    Fatal,
    /// `CSTS.RDY` is set.
    Ready,
    /// `CSTS.RDY` is clear.
    NotReady,
}

impl Condition {
    pub(crate) fn from_raw(csts: u32) -> Self {
        match csts {
            u32::MAX => Self::Removed,
            fatal if fatal & 2 != 0 => Self::Fatal,
            ready if ready & 1 != 0 => Self::Ready,
            _ => Self::NotReady,
        }
    }
}

/// Whether `CSTS.RDY` is set, whatever else is.
pub(crate) fn is_ready(csts: u32) -> bool {
    csts & 1 != 0
}

/// Whether `CSTS.SHST` says that shutdown is complete.
pub(crate) fn is_shut_down(csts: u32) -> bool {
    csts >> 2 & 3 == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What QEMU's device says: 2048 entries, 7.5 s, stride 4, NVM command set, 4 KiB pages.
    const TYPICAL: u64 = 0x7ff | 1 << 16 | 0xf << 24 | 1 << 37;

    #[test]
    fn capabilities_of_a_typical_controller() {
        let found = Capabilities::from_raw(TYPICAL, 0x2000).expect("supported");
        assert_eq!(found, Capabilities { entries_max: 2048, ready_ns_max: 7_500_000_000, doorbell_stride: 4 });
        assert_eq!([found.tail_doorbell(0), found.head_doorbell(0)], [0x1000, 0x1004]);
        assert_eq!([found.tail_doorbell(1), found.head_doorbell(1)], [0x1008, 0x100c]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |cap| Capabilities::from_raw(cap, 0x2000).expect_err("unsupported");
        assert_eq!(missing(TYPICAL | 1 << 48), Missing::SmallPages);
        assert_eq!(missing(TYPICAL & !(1 << 37)), Missing::NvmCommands);
        assert_eq!(missing(TYPICAL & !0xffff), Missing::Queues);
        assert_eq!(missing(TYPICAL | 0xf << 32), Missing::Doorbells);
        let far = Capabilities::from_raw(TYPICAL | 8 << 32, 0x2000).expect("just fits");
        assert_eq!(far.head_doorbell(1), 0x1c00);
    }

    #[test]
    fn a_zero_timeout_is_one_unit() {
        let found = Capabilities::from_raw(TYPICAL & !(0xff << 24), 0x2000).expect("supported");
        assert_eq!(found.ready_ns_max, TIMEOUT_UNIT_NS);
    }

    #[test]
    fn conditions() {
        assert_eq!(Condition::from_raw(u32::MAX), Condition::Removed);
        assert_eq!(Condition::from_raw(3), Condition::Fatal);
        assert_eq!(Condition::from_raw(1), Condition::Ready);
        assert_eq!(Condition::from_raw(0x10), Condition::NotReady);
        assert!(is_shut_down(8) && !is_shut_down(4) && !is_shut_down(12));
    }
}
