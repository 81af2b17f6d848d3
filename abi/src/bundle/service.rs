//! The system manifest as it was compiled into the bundle.

use super::{GRANTS_MAX, Name, PROGRAMS_MAX, RawService, STACK_PAGES_MAX};

/// What init does when a service dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Restart {
    /// It stays dead; its clients are told.
    Never = 0,
    /// It is started again.
    Always = 1,
    /// The world is restored in place from its last epoch: pager and snapshot server.
    RestoreWorld = 2,
}

impl Restart {
    /// The policy with this number, if there is one.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Never),
            1 => Some(Self::Always),
            2 => Some(Self::RestoreWorld),
            _ => None,
        }
    }
}

/// How long a service lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Lifetime {
    /// It belongs to this boot and is started at each.
    Volatile = 0,
    /// It is part of the world: made once, with the genesis epoch, and restored ever after.
    Genesis = 1,
}

impl Lifetime {
    /// The lifetime with this number, if there is one.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Volatile),
            1 => Some(Self::Genesis),
            _ => None,
        }
    }
}

/// The names of the capabilities that a service is given, in order.
pub type Grants<'a> = core::slice::Iter<'a, Name>;

/// One checked service.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    raw: &'a RawService,
    restart: Restart,
    lifetime: Lifetime,
}

impl<'a> Service<'a> {
    /// The service behind `raw`, or `None` if it breaks invariant 3 or 7 by itself (uniqueness and the program's
    /// existence are its neighbours' business: `view.rs` checks them).
    pub(super) fn check(raw: &'a RawService) -> Option<Self> {
        let restart = Restart::from_raw(raw.restart)?;
        let lifetime = Lifetime::from_raw(raw.lifetime)?;
        let (used, rest) = raw.grants.split_at_checked(usize::from(raw.grant_count))?;
        let named = used.iter().all(Name::is_valid) && rest.iter().all(Name::is_empty);
        let unique = used.iter().enumerate().all(|(i, name)| !used.iter().take(i).any(|other| other == name));
        let stack = (1..=STACK_PAGES_MAX).contains(&raw.stack_pages.get());
        // What is restored with the world has no policy of init's, and only init's servers can ask for a restore.
        let policy = lifetime == Lifetime::Volatile || restart == Restart::Never;
        (named && unique && stack && policy).then_some(Self { raw, restart, lifetime })
    }

    /// Its name, unique in the bundle.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.raw.name.as_str()
    }

    /// The name of the program it runs: one that [`super::Bundle::program`] finds, with segments.
    #[must_use]
    pub fn program(&self) -> &'a str {
        self.raw.program.as_str()
    }

    /// The priority of its first thread, 0 to 255; higher runs first.
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.raw.priority
    }

    /// The length of its first thread's stack in pages, 1 to [`STACK_PAGES_MAX`].
    #[must_use]
    pub fn stack_pages(&self) -> u32 {
        self.raw.stack_pages.get()
    }

    /// What init does when it dies.
    #[must_use]
    pub fn restart(&self) -> Restart {
        self.restart
    }

    /// Whether it belongs to this boot or to the world.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// The names of the capabilities it is given, at most [`GRANTS_MAX`].
    pub fn grants(&self) -> Grants<'a> {
        self.raw.grants.get(..usize::from(self.raw.grant_count)).unwrap_or(&[]).iter()
    }
}

const _: () = assert!(GRANTS_MAX <= u8::MAX as usize && PROGRAMS_MAX <= u8::MAX as u32);
