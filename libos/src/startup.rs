//! What the maker of the process gave the program, by name.

use crate::raw::Window;
use crate::{Endpoint, EpochControl, Interrupt, IoPorts, Memory, Notification, set_print};
use abi::Handle;
use abi::protocol::startup::StartupPage;

/// Name under which a program that may print finds the debug serial port.
const DEBUG_PORT: &str = "debug";

/// The startup page. What a program cannot do without, it asks for with the methods that stop it when it is missing:
/// the manifest is wrong then, and the message says which name.
#[derive(Clone, Copy, Debug)]
pub struct Startup(StartupPage<'static>);

/// A name that the startup page does not have; the manifest is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing;

impl Startup {
    /// Opens the page and lets `println!` work if there is a port for it.
    pub(crate) fn open(page: StartupPage<'static>) -> Self {
        if let Some(port) = page.handle(DEBUG_PORT) {
            set_print(IoPorts(port));
        }
        Self(page)
    }

    /// Name of the service.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// The value of option `key`.
    pub fn option(&self, key: &str) -> Option<&'static str> {
        self.0.option(key)
    }

    /// The value of option `key` as a number, decimal or 0x…; `default` if it is missing or no number.
    pub fn number(&self, key: &str, default: u64) -> u64 {
        let parse = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        self.option(key).and_then(parse).unwrap_or(default)
    }

    /// The capability `name`.
    pub fn find(&self, name: &str) -> Result<Handle, Missing> {
        self.0.handle(name).ok_or(Missing)
    }

    /// The window `name`.
    pub fn find_window(&self, name: &str) -> Result<Window, Missing> {
        self.0.window(name).and_then(Window::of_entry).ok_or(Missing)
    }

    /// The capability `name`, without which the program cannot work.
    #[track_caller]
    pub fn handle(&self, name: &str) -> Handle {
        match self.find(name) {
            Ok(handle) => handle,
            Err(Missing) => panic!("{}: no capability {name:?}", self.name()),
        }
    }

    /// The window `name`, without which the program cannot work.
    #[track_caller]
    pub fn window(&self, name: &str) -> Window {
        match self.find_window(name) {
            Ok(window) => window,
            Err(Missing) => panic!("{}: no window {name:?}", self.name()),
        }
    }

    /// The endpoint or port `name`.
    #[track_caller]
    pub fn endpoint(&self, name: &str) -> Endpoint {
        Endpoint(self.handle(name))
    }

    /// The notification `name`.
    #[track_caller]
    pub fn notification(&self, name: &str) -> Notification {
        Notification(self.handle(name))
    }

    /// The Memory `name`.
    #[track_caller]
    pub fn memory(&self, name: &str) -> Memory {
        Memory(self.handle(name))
    }

    /// The Epoch object, under `name`.
    #[track_caller]
    pub fn epoch(&self, name: &str) -> EpochControl {
        EpochControl(self.handle(name))
    }

    /// The interrupts `name`.
    #[track_caller]
    pub fn interrupt(&self, name: &str) -> Interrupt {
        Interrupt(self.handle(name))
    }

    /// The I/O ports `name`.
    #[track_caller]
    pub fn ports(&self, name: &str) -> IoPorts {
        IoPorts(self.handle(name))
    }
}
