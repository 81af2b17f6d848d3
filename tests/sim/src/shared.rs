//! What volatile programs share by windows on the machine, and here directly: pages of news, the genesis mailbox,
//! which frames lie with the store.

use crate::board::ROLES;
use abi::Handle;
use abi::protocol::lent;
use abi::protocol::memory::Badge;
use abi::protocol::wiring::EpochsPage;
use core::sync::atomic::AtomicU64;

/// What init gave a program.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Given {
    /// Its notification.
    pub(crate) wake: Handle,
    pub(crate) epoch: Handle,
    pub(crate) memory: Handle,
    pub(crate) interrupt: Handle,
    /// A signal to its own notification, to be bound to the interrupt.
    pub(crate) interrupt_bell: Handle,
    /// Signals to the other programs.
    pub(crate) bells: [Handle; ROLES],
    /// The port that it serves now.
    pub(crate) port: Handle,
    /// A page of zeros.
    pub(crate) blank: Handle,
    /// The process that borrows, and which of its lives that is.
    pub(crate) borrower: (Handle, u32),
}

/// What init asks of the pager before the world runs. Spaces and objects by their place among those asked for.
#[derive(Clone, Debug)]
pub(crate) enum GenesisRequest {
    Space { pages_max: u64 },
    Object { space: usize, pages: u64, transient: bool },
    Write { object: usize, index: u64, bytes: Vec<u8> },
    Map { space: usize, object: usize, place: [u64; 4] },
}

/// How the console's server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Health {
    /// Just started: it knows nothing of what its predecessor did.
    #[default]
    New,
    /// At work.
    Well,
    /// It has stopped, and init knows.
    Crashed,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) given: [Given; ROLES],
    pub(crate) epochs: EpochsPage,
    pub(crate) genesis: Vec<GenesisRequest>,
    pub(crate) spaces: Vec<Badge>,
    pub(crate) genesis_done: bool,
    /// Frames that the pager has handed over and the snapshot server has not looked at.
    pub(crate) handed: Vec<u32>,
    pub(crate) console: Health,
    /// How often the console has been started.
    pub(crate) console_life: u32,
    /// What the pager tells the console of what is lent.
    pub(crate) lent: Vec<AtomicU64>,
    /// Tell what happens.
    pub(crate) verbose: bool,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            given: Default::default(),
            epochs: EpochsPage::default(),
            genesis: Vec::new(),
            spaces: Vec::new(),
            genesis_done: false,
            handed: Vec::new(),
            console: Health::New,
            console_life: 0,
            lent: (0..lent::AREA_BYTES / 8).map(|_| AtomicU64::new(0)).collect(),
            verbose: false,
        }
    }
}
