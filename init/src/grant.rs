//! The words of the manifest: what a service may be given.
//!
//! | word | who | gives |
//! | --- | --- | --- |
//! | `debug` | volatile | `println!` |
//! | `epoch:cut`, `epoch:records` | volatile | the Epoch object with that right |
//! | `epochs` | volatile | writes the page of epochs and rings init when it has changed (all others read it anyway) |
//! | `ram:write`, `ram:read` | volatile | the world's memory |
//! | `buffers:N` | volatile | N pages of its own whose frames it may tell a device |
//! | `link:NAME` | volatile | one end of a link: `paging`, `block`, `genesis` (init is the other), `devices` (likewise), `lent` |
//! | `bell:output`, `bell:console` | volatile | rings whoever answers the snapshot port; the console port |
//! | `port:NAME` | volatile | answers a port of the world: `memory`, `console`, `snapshot`, `clock` |
//! | `ports:FIRST+COUNT` | volatile | I/O ports, hexadecimal |
//! | `irq:N`, `irq:message` | volatile | an interrupt line; a message interrupt |
//! | `device:nvme` | volatile | the registers of a device, found and silenced by the platform driver |
//! | `devices` | volatile | all that is not memory, with its own process, to map it: the platform driver alone |
//! | `serve:NAME` | world | receives on the object NAME |
//! | `call:NAME` | world | calls the object NAME |
//! | `use:NAME` | world | calls a port |
//! | `tend:NAME` | world | makes threads in the process of the service NAME, which comes before, and puts capabilities there |

use abi::boot_info::INTERRUPT_LINES;
use abi::bundle::Name;
use abi::protocol::service::Service;
use abi::protocol::wiring::link;

/// A link between two volatile servers, or one and init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Pager and snapshot server.
    Paging,
    /// Snapshot server and disk driver.
    Block,
    /// Init and pager.
    Genesis,
    /// Init and platform driver.
    Devices,
    /// The pager, who answers the memory port, and the one server that sees pages which programs of the world lend.
    Lent,
}

impl Link {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Paging, Self::Block, Self::Genesis, Self::Devices, Self::Lent];

    /// Name of its window.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paging => link::PAGING,
            Self::Block => link::BLOCK,
            Self::Genesis => link::GENESIS,
            Self::Devices => link::DEVICES,
            Self::Lent => link::LENT,
        }
    }

    /// Name of the handle that rings the other end.
    pub const fn bell(self) -> &'static str {
        match self {
            Self::Paging => link::PAGING_BELL,
            Self::Block => link::BLOCK_BELL,
            Self::Genesis => link::GENESIS_BELL,
            Self::Devices => link::DEVICES_BELL,
            Self::Lent => link::LENT_BELL,
        }
    }

    /// Whether init is one of its ends.
    pub const fn is_to_init(self) -> bool {
        matches!(self, Self::Genesis | Self::Devices)
    }
}

/// Who is rung without a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BellTo {
    /// Whoever answers the snapshot port: output waits.
    Output,
    /// Whoever answers the console port: the page of epochs has changed.
    Console,
}

/// A device that a driver is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The first NVMe controller.
    Nvme,
}

/// One word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Grant {
    /// `debug`
    Debug,
    /// `epoch:cut`
    EpochCut,
    /// `epoch:records`
    EpochRecords,
    /// `epochs`
    Epochs,
    /// `ram:write`, `ram:read`
    Ram {
        /// Mapped writable.
        write: bool,
    },
    /// `buffers:N`
    Buffers {
        /// Pages.
        pages: u32,
    },
    /// `link:NAME`
    Link(Link),
    /// `bell:NAME`
    Bell(BellTo),
    /// `port:NAME`
    Port(Service),
    /// `ports:FIRST+COUNT`
    Ports {
        /// The first.
        first: u16,
        /// How many.
        count: u16,
    },
    /// `irq:N`
    Line(u8),
    /// `irq:message`
    MessageInterrupt,
    /// `device:NAME`
    Device(Device),
    /// `devices`
    Devices,
    /// `serve:NAME`
    Serve(Name),
    /// `call:NAME`
    Call(Name),
    /// `use:NAME`
    Use(Service),
    /// `tend:NAME`
    Tend(Name),
}

/// The manifest has a word that means nothing; whoever wrote it is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantError;

/// Largest number of pages of buffers.
const BUFFER_PAGES_MAX: u32 = 4096;

impl Grant {
    /// What `word` means.
    pub fn parse(word: &str) -> Result<Self, GrantError> {
        let (kind, argument) = word.split_once(':').unwrap_or((word, ""));
        let found = match (kind, argument) {
            ("debug", "") => Some(Self::Debug),
            ("epochs", "") => Some(Self::Epochs),
            ("devices", "") => Some(Self::Devices),
            ("epoch", "cut") => Some(Self::EpochCut),
            ("epoch", "records") => Some(Self::EpochRecords),
            ("ram", "write") => Some(Self::Ram { write: true }),
            ("ram", "read") => Some(Self::Ram { write: false }),
            ("buffers", pages) => parse_bounded(pages, BUFFER_PAGES_MAX).map(|pages| Self::Buffers { pages }),
            ("link", name) => Link::ALL.into_iter().find(|link| link.name() == name).map(Self::Link),
            ("bell", "output") => Some(Self::Bell(BellTo::Output)),
            ("bell", "console") => Some(Self::Bell(BellTo::Console)),
            ("port", name) => service(name).map(Self::Port),
            ("ports", range) => parse_ports(range),
            ("irq", "message") => Some(Self::MessageInterrupt),
            ("irq", line) => line.parse().ok().filter(|&line: &u8| u32::from(line) < INTERRUPT_LINES).map(Self::Line),
            ("device", "nvme") => Some(Self::Device(Device::Nvme)),
            ("serve", name) => Name::new(name).map(Self::Serve),
            ("call", name) => Name::new(name).map(Self::Call),
            ("use", name) => service(name).map(Self::Use),
            ("tend", name) => Name::new(name).map(Self::Tend),
            _ => None,
        };
        found.ok_or(GrantError)
    }

    /// Whether a process of the world may be given this.
    pub const fn is_for_world(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Call(_) | Self::Use(_) | Self::Tend(_))
    }
}

/// The port of this name.
fn service(name: &str) -> Option<Service> {
    Some(match name {
        "memory" => Service::Memory,
        "console" => Service::Console,
        "snapshot" => Service::Snapshot,
        "clock" => Service::Clock,
        _ => return None,
    })
}

/// How the manifest and the startup page of a program of the world name a port.
pub const fn port_name(service: Service) -> &'static str {
    match service {
        Service::Memory => "memory",
        Service::Console => "console",
        Service::Snapshot => "snapshot",
        Service::Clock => "clock",
    }
}

fn parse_bounded(text: &str, max: u32) -> Option<u32> {
    text.parse().ok().filter(|number| (1..=max).contains(number))
}

fn parse_ports(range: &str) -> Option<Grant> {
    let (first, count) = range.split_once('+')?;
    let first = u16::from_str_radix(first, 16).ok()?;
    let count = u16::from_str_radix(count, 16).ok().filter(|count| *count > 0)?;
    first.checked_add(count - 1).map(|_| Grant::Ports { first, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood() {
        assert_eq!(Grant::parse("debug"), Ok(Grant::Debug));
        assert_eq!(Grant::parse("ram:write"), Ok(Grant::Ram { write: true }));
        assert_eq!(Grant::parse("buffers:64"), Ok(Grant::Buffers { pages: 64 }));
        assert_eq!(Grant::parse("link:block"), Ok(Grant::Link(Link::Block)));
        assert_eq!(Grant::parse("port:memory"), Ok(Grant::Port(Service::Memory)));
        assert_eq!(Grant::parse("ports:3f8+8"), Ok(Grant::Ports { first: 0x3f8, count: 8 }));
        assert_eq!(Grant::parse("irq:4"), Ok(Grant::Line(4)));
        assert_eq!(Grant::parse("use:console"), Ok(Grant::Use(Service::Console)));
        assert!(Grant::parse("tend:counter").is_ok_and(|grant| grant.is_for_world()));
        assert!(Grant::parse("call:counter").is_ok_and(|grant| grant.is_for_world()));
    }

    #[test]
    fn nonsense_is_refused() {
        for word in [
            "",
            "debug:x",
            "ram",
            "ram:both",
            "buffers:0",
            "buffers:4097",
            "buffers:x",
            "link:",
            "link:none",
            "port:x",
            "ports:3f8",
            "ports:ffff+2",
            "ports:1+0",
            "irq:24",
            "irq:-1",
            "device:",
            "serve:",
            "tend:",
            "call:two words",
            "epoch",
        ] {
            assert_eq!(Grant::parse(word), Err(GrantError), "{word}");
        }
    }
}
