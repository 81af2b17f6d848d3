//! What can go wrong while init builds something for a server.

use core::fmt;
use init::{ImageError, PlanError, PoolEmpty, WindowsFull};
use libos::abi::bundle::BundleError;
use libos::abi::protocol::startup::StartupFull;
use libos::{BindError, CopyError, CreateError, GrantError, MapError, SetMemoryPortError, SplitError, ThreadError};

/// Why the system does not start.
pub(crate) enum BootError {
    /// No memory, or not to be had.
    Memory(super::memory::NoMemory),
    /// The bundle is damaged.
    Bundle(BundleError),
    /// The manifest does not add up.
    Plan(PlanError<'static>),
    /// The kernel did not let init make what it needs.
    Build(BuildError),
    /// A word of the command line.
    CommandLine(&'static str),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(why) => write!(f, "{why}"),
            Self::Bundle(why) => write!(f, "{why}"),
            Self::Plan(why) => write!(f, "{why}"),
            Self::Build(why) => write!(f, "{why:?}"),
            Self::CommandLine(word) => write!(f, "{word} on the command line cannot be understood"),
        }
    }
}

/// Declares an enum of causes with conversions.
macro_rules! causes {
    ($($cause:ident($error:ty)),+ $(,)?) => {
        /// Why a process, an endpoint or a mapping was not made: which call, and what it said.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum BuildError {
            $(#[doc = concat!("See [`", stringify!($error), "`].")] $cause($error),)+
            /// The bundle has no such program (the bundle's check makes this impossible for services).
            NoProgram,
        }
        $(impl From<$error> for BuildError {
            fn from(error: $error) -> Self {
                Self::$cause(error)
            }
        })+
    };
}

causes!(
    Bind(BindError),
    Copy(CopyError),
    Create(CreateError),
    Split(SplitError),
    Grant(GrantError),
    Map(MapError),
    Port(SetMemoryPortError),
    Thread(ThreadError),
    Image(ImageError),
    Pool(PoolEmpty),
    Windows(WindowsFull),
    Startup(StartupFull),
);

impl From<BuildError> for BootError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}
