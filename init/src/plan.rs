//! The manifest, checked as a whole.
//!
//! Invariants of a plan, checked by [`Plan::of`]:
//! 1. Every word of every service is understood, and is for its lifetime.
//! 2. A link has two ends (one, if init is the other), all of them volatile servers; one end of `lent` answers the memory
//!    port.
//! 3. A port, `epochs`, `devices` and each device have at most one holder; a bell has somebody to ring.
//! 4. Every object that is called is served by exactly one process of the world; every port that is used is answered; who is
//!    tended comes before.

use crate::grant::{BellTo, Grant, Link};
use crate::list::List;
use abi::bundle::{Bundle, Lifetime, Name, Service};
use abi::protocol::service::Service as Port;

/// Volatile servers, at most.
pub const SERVERS_MAX: usize = 8;
/// First processes of a world, at most.
pub const WORLD_MAX: usize = 8;

/// A service all of whose grants are understood.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// As the bundle has it.
    pub service: Service<'a>,
}

impl<'a> Planned<'a> {
    /// What it is given. Read from the bundle each time: a list of grants is large, and init's stack is not.
    pub fn grants(&self) -> impl Iterator<Item = Grant> + use<'a> {
        self.service.grants().filter_map(|word| Grant::parse(word.as_str()).ok())
    }

    /// Whether it is given this.
    pub fn has(&self, grant: Grant) -> bool {
        self.grants().any(|other| other == grant)
    }
}

/// The checked manifest.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Volatile servers, in the order in which they are started.
    pub servers: List<Planned<'a>, SERVERS_MAX>,
    /// The world's first processes.
    pub world: List<Planned<'a>, WORLD_MAX>,
}

/// Why a manifest does not add up; whoever wrote it is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError<'a> {
    /// Too many services of one lifetime.
    TooMany,
    /// A word means nothing, or is not for a service of this lifetime.
    Word {
        /// The service.
        service: &'a str,
        /// The word.
        word: &'a str,
    },
    /// A link does not have the ends it needs.
    Ends(Link),
    /// Two services hold what only one may, or a bell has nobody to ring.
    Holders(&'static str),
    /// A process of the world calls an object that not exactly one process serves, uses a port that nobody answers, or tends
    /// a process that does not come before it.
    Unserved {
        /// Who calls.
        service: &'a str,
    },
}

impl core::fmt::Display for PlanError<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooMany => write!(f, "the manifest has more services than init can run"),
            Self::Word { service, word } => write!(f, "{service} cannot be given {word:?}"),
            Self::Ends(link) => write!(f, "the link {} does not have the ends it needs", link.name()),
            Self::Holders(what) => write!(f, "exactly one service must have {what}"),
            Self::Unserved { service } => write!(f, "{service} calls what not exactly one service answers"),
        }
    }
}

impl<'a> Plan<'a> {
    /// Checks the manifest of `bundle`.
    pub fn of(bundle: &Bundle<'a>) -> Result<Self, PlanError<'a>> {
        let mut plan = Self { servers: List::new(), world: List::new() };
        for service in bundle.services() {
            let planned = understand(service)?;
            match service.lifetime() {
                Lifetime::Volatile => plan.servers.push(planned),
                Lifetime::Genesis => plan.world.push(planned),
            }
            .map_err(|_| PlanError::TooMany)?;
        }
        plan.check_links()?;
        plan.check_holders()?;
        plan.check_world()?;
        Ok(plan)
    }

    /// The volatile server that is given `grant`, by its place.
    pub fn holder(&self, grant: Grant) -> Option<usize> {
        self.servers.iter().position(|server| server.has(grant))
    }

    /// The other end of `link`, seen from the server at `place`; `None` if that is init.
    pub fn other_end(&self, link: Link, place: usize) -> Option<usize> {
        let has = |(index, server): &(usize, Planned<'_>)| *index != place && server.has(Grant::Link(link));
        self.servers.iter().enumerate().find(has).map(|(index, _)| index)
    }

    /// Whom a bell rings.
    pub fn rung_by(&self, bell: BellTo) -> Option<usize> {
        let port = match bell {
            BellTo::Output => Port::Snapshot,
            BellTo::Console => Port::Console,
        };
        self.holder(Grant::Port(port))
    }

    fn count(&self, grant: Grant) -> usize {
        self.servers.iter().filter(|server| server.has(grant)).count()
    }

    /// Invariant 2.
    fn check_links(&self) -> Result<(), PlanError<'a>> {
        for link in Link::ALL {
            let ends = self.count(Grant::Link(link));
            let needed = if link.is_to_init() { 1 } else { 2 };
            if ends != 0 && ends != needed {
                return Err(PlanError::Ends(link));
            }
        }
        let lends = |server: Planned<'_>| server.has(Grant::Port(Port::Memory)) && server.has(Grant::Link(Link::Lent));
        if self.count(Grant::Link(Link::Lent)) > 0 && !self.servers.iter().any(lends) {
            return Err(PlanError::Ends(Link::Lent));
        }
        Ok(())
    }

    /// Invariant 3.
    fn check_holders(&self) -> Result<(), PlanError<'a>> {
        let single = [
            (Grant::Port(Port::Memory), "port:memory"),
            (Grant::Port(Port::Console), "port:console"),
            (Grant::Port(Port::Snapshot), "port:snapshot"),
            (Grant::Port(Port::Clock), "port:clock"),
            (Grant::Epochs, "epochs"),
            (Grant::Devices, "devices"),
            (Grant::Device(crate::Device::Nvme), "device:nvme"),
        ];
        for (grant, name) in single {
            if self.count(grant) > 1 {
                return Err(PlanError::Holders(name));
            }
        }
        for (bell, name) in [(BellTo::Output, "port:snapshot"), (BellTo::Console, "port:console")] {
            if self.count(Grant::Bell(bell)) > 0 && self.rung_by(bell).is_none() {
                return Err(PlanError::Holders(name));
            }
        }
        Ok(())
    }

    /// Invariant 4.
    fn check_world(&self) -> Result<(), PlanError<'a>> {
        for (place, member) in self.world.iter().enumerate() {
            for grant in member.grants() {
                let answered = match grant {
                    Grant::Call(name) => self.servers_of(name) == 1,
                    Grant::Serve(name) => self.servers_of(name) == 1,
                    Grant::Use(port) => self.count(Grant::Port(port)) == 1,
                    Grant::Tend(name) => {
                        self.world.iter().take(place).any(|other| other.service.name() == name.as_str())
                    }
                    _ => true,
                };
                if !answered {
                    return Err(PlanError::Unserved { service: member.service.name() });
                }
            }
        }
        Ok(())
    }

    fn servers_of(&self, name: Name) -> usize {
        self.world.iter().filter(|member| member.has(Grant::Serve(name))).count()
    }
}

/// Invariant 1.
fn understand(service: Service<'_>) -> Result<Planned<'_>, PlanError<'_>> {
    for word in service.grants() {
        let refused = PlanError::Word { service: service.name(), word: word.as_str() };
        let grant = Grant::parse(word.as_str()).map_err(|_| refused)?;
        let for_world = service.lifetime() == Lifetime::Genesis;
        if grant.is_for_world() != for_world {
            return Err(refused);
        }
    }
    Ok(Planned { service })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_bundle::{Made, bundle, service};

    fn plan_error(services: &[Made]) -> Option<String> {
        let bytes = bundle(services);
        let bundle = Bundle::open(&bytes).expect("a good bundle");
        Plan::of(&bundle).err().map(|error| error.to_string())
    }

    #[test]
    fn a_whole_system_adds_up() {
        let services = [
            service("platform", &["debug", "devices", "link:devices"]),
            service("nvme", &["device:nvme", "link:block", "irq:message"]),
            service("snapshot", &["link:block", "link:paging", "epoch:records", "port:snapshot", "bell:console"]),
            service("pager", &["link:paging", "link:genesis", "link:lent", "ram:write", "port:memory"]),
            service("console", &["port:console", "ports:3f8+8", "irq:4", "bell:output", "link:lent"]),
            service("counter", &["serve:counter"]).in_world(),
            service("prompt", &["call:counter", "use:console", "tend:counter"]).in_world(),
        ];
        let bytes = bundle(&services);
        let bundle = Bundle::open(&bytes).expect("a good bundle");
        let plan = Plan::of(&bundle).expect("adds up");
        assert_eq!((plan.servers.len(), plan.world.len()), (5, 2));
        assert_eq!(plan.other_end(Link::Block, 1), Some(2));
        assert_eq!(plan.other_end(Link::Block, 2), Some(1));
        assert_eq!(plan.other_end(Link::Genesis, 3), None);
        assert_eq!(plan.other_end(Link::Lent, 3), Some(4));
        assert_eq!(plan.rung_by(BellTo::Output), Some(2));
        assert_eq!(plan.rung_by(BellTo::Console), Some(4));
    }

    #[test]
    fn what_does_not_add_up_is_named() {
        let is = |services: &[Made], text: &str| {
            let error = plan_error(services).expect("refused");
            assert!(error.contains(text), "{error}");
        };
        is(&[service("a", &["flying"])], "a cannot be given \"flying\"");
        is(&[service("a", &["call:b"])], "a cannot be given");
        is(&[service("a", &["debug"]).in_world()], "a cannot be given");
        is(&[service("a", &["link:block"])], "link block");
        is(&[service("a", &["link:lent"]), service("b", &["link:lent"])], "link lent");
        is(&[service("a", &["link:genesis"]), service("b", &["link:genesis"])], "link genesis");
        is(&[service("a", &["port:memory"]), service("b", &["port:memory"])], "port:memory");
        is(&[service("a", &["bell:output"])], "port:snapshot");
        is(&[service("a", &["call:b"]).in_world()], "a calls");
        is(&[service("a", &["use:console"]).in_world()], "a calls");
        is(&[service("a", &["tend:b"]).in_world(), service("b", &[]).in_world()], "a calls");
        is(&[service("a", &["tend:a"]).in_world()], "a calls");
        is(&[service("a", &["serve:x"]).in_world(), service("b", &["serve:x"]).in_world()], "calls");
    }
}
