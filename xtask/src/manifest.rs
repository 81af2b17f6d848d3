//! `init/system.toml`: which server runs which program, with which capabilities.

use std::collections::BTreeSet;
use std::path::Path;

use abi::WORLD_PRIORITY_MAX;
use abi::bundle::{GRANTS_MAX, Lifetime, Name, RawService, Restart, STACK_PAGES_MAX};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use zerocopy::FromZeros;

use crate::project;

/// The file as it is written. Unknown keys are errors: a misspelt one would be a server without its capability.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Programs in the bundle that no service names: init, and what the world starts by itself.
    #[serde(default)]
    programs: Vec<String>,
    /// The services, in the order in which init starts them.
    #[serde(default, rename = "service")]
    services: Vec<Service>,
}

/// One `[[service]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Service {
    name: String,
    program: String,
    priority: u8,
    stack_pages: u32,
    #[serde(default)]
    restart: RestartWord,
    lifetime: LifetimeWord,
    #[serde(default)]
    grants: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RestartWord {
    #[default]
    Never,
    Always,
    RestoreWorld,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LifetimeWord {
    Volatile,
    Genesis,
}

impl Manifest {
    /// Reads `path`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    /// The system's own, with what the trials `names` add to it.
    pub(crate) fn of_system(names: &[&str]) -> Result<Self> {
        let root = project::root();
        let mut manifest = Self::read(&root.join("init/system.toml"))?;
        for name in names {
            let more = Self::read(&root.join(format!("tests/trials/{name}.toml")))?;
            manifest.programs.extend(more.programs);
            manifest.services.extend(more.services);
        }
        Ok(manifest)
    }

    /// The programs that belong into the bundle, each once, those of `programs` first.
    pub(crate) fn programs(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let services = self.services.iter().map(|service| &service.program);
        self.programs.iter().chain(services).map(String::as_str).filter(|name| seen.insert(*name)).collect()
    }

    /// The services as the bundle holds them.
    pub(crate) fn services(&self) -> Result<Vec<RawService>> {
        self.services
            .iter()
            .map(|service| service.compile().with_context(|| format!("service {}", service.name)))
            .collect()
    }
}

impl Service {
    fn compile(&self) -> Result<RawService> {
        ensure!((1..=STACK_PAGES_MAX).contains(&self.stack_pages), "stack-pages must be 1 to {STACK_PAGES_MAX}");
        ensure!(self.grants.len() <= GRANTS_MAX, "more than {GRANTS_MAX} grants");
        let unique: BTreeSet<_> = self.grants.iter().collect();
        ensure!(unique.len() == self.grants.len(), "the same grant twice");
        let mut raw = RawService::new_zeroed();
        raw.name = name(&self.name)?;
        raw.program = name(&self.program)?;
        raw.stack_pages = self.stack_pages.into();
        ensure!(
            self.lifetime == LifetimeWord::Volatile || self.priority <= WORLD_PRIORITY_MAX,
            "the priority of a program of the world is at most {WORLD_PRIORITY_MAX}"
        );
        raw.priority = self.priority;
        raw.restart = match self.restart {
            RestartWord::Never => Restart::Never,
            RestartWord::Always => Restart::Always,
            RestartWord::RestoreWorld => Restart::RestoreWorld,
        } as u8;
        raw.lifetime = match self.lifetime {
            LifetimeWord::Volatile => Lifetime::Volatile,
            LifetimeWord::Genesis => Lifetime::Genesis,
        } as u8;
        let never = matches!(self.restart, RestartWord::Never);
        ensure!(
            self.lifetime == LifetimeWord::Volatile || never,
            "what is part of the world is restored, not restarted"
        );
        raw.grant_count = u8::try_from(self.grants.len())?;
        for (field, grant) in raw.grants.iter_mut().zip(&self.grants) {
            *field = name(grant)?;
        }
        Ok(raw)
    }
}

/// `text` as the bundle writes names.
pub(crate) fn name(text: &str) -> Result<Name> {
    Name::new(text).with_context(|| format!("{text:?} is no name: 1 to 32 printable ASCII characters without spaces"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(text: &str) -> Result<Vec<RawService>> {
        toml::from_str::<Manifest>(text).map_err(anyhow::Error::from)?.services()
    }

    #[test]
    fn a_manifest_is_compiled() {
        let text = r#"
            programs = ["init"]
            [[service]]
            name = "pager"
            program = "pager-server"
            priority = 250
            stack-pages = 8
            restart = "restore-world"
            lifetime = "volatile"
            grants = ["memory", "epoch"]
        "#;
        let manifest: Manifest = toml::from_str(text).expect("parses");
        assert_eq!(manifest.programs(), ["init", "pager-server"]);
        let services = manifest.services().expect("compiles");
        assert_eq!(services[0].program.as_str(), "pager-server");
        assert_eq!((services[0].restart, services[0].grant_count), (2, 2));
    }

    #[test]
    fn nonsense_is_refused() {
        let service = "[[service]]\nname='a'\nprogram='b'\npriority=1\nstack-pages=1\nlifetime='genesis'\n";
        assert!(compile(service).is_ok());
        for more in ["restart='always'", "grants=['x','x']", "grant=['x']", "restart='perhaps'", "grants=['two words']"]
        {
            assert!(compile(&format!("{service}{more}\n")).is_err(), "{more}");
        }
        assert!(compile(&service.replace("stack-pages=1", "stack-pages=0")).is_err());
        assert!(compile(&service.replace("priority=1", "priority=256")).is_err());
        for (priority, world, volatile) in [(WORLD_PRIORITY_MAX, true, true), (WORLD_PRIORITY_MAX + 1, false, true)] {
            let service = service.replace("priority=1", &format!("priority={priority}"));
            assert_eq!(compile(&service).is_ok(), world);
            assert_eq!(compile(&service.replace("genesis", "volatile")).is_ok(), volatile);
        }
    }

    #[test]
    fn the_manifest_of_the_system_compiles() {
        let manifest = Manifest::of_system(&[]).expect("reads");
        assert!(manifest.programs().contains(&"init"));
        let services = manifest.services().expect("compiles").len();
        for trial in crate::artifacts::TRIALS {
            let manifest = Manifest::of_system(&[trial]).expect("reads");
            assert!(manifest.services().expect("compiles").len() > services, "{trial}");
        }
    }
}
