//! What can be fuzzed, by name.

use crate::{block, bundle, call, exported, image, judges, restore, store};

/// What takes an input; what went wrong with it, if anything did. A panic is a finding too.
pub type Run = fn(&[u8]) -> Result<(), String>;

/// Something that reads what it does not trust.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Longest input that makes sense, in bytes.
    pub bytes_max: usize,
    /// Takes an input.
    pub run: Run,
}

const TARGETS: [Target; 8] = [
    Target {
        name: "call",
        about: "any registers in any call, any event, on two CPUs",
        bytes_max: 6000,
        run: call::run,
    },
    Target {
        name: "restore",
        about: "spoilt exports into Restore and Resume, and the world that comes of it",
        bytes_max: 1500,
        run: restore::run,
    },
    Target {
        name: "judges",
        about: "spoilt exports before the kernel and before those who keep its records: do they agree?",
        bytes_max: 200,
        run: judges::run,
    },
    Target { name: "block", about: "every parser of blocks of the store", bytes_max: 4200, run: block::run },
    Target { name: "bundle", about: "the boot bundle's parser", bytes_max: 4000, run: bundle::run },
    Target { name: "store", about: "recovery of a store on a spoilt disk", bytes_max: 400, run: store::run },
    Target { name: "image", about: "the tool `world` over a spoilt image", bytes_max: 400, run: image::run },
    Target { name: "exported", about: "the reader of exported worlds", bytes_max: 400, run: exported::run },
];

/// Names of all targets.
pub const NAMES: [&str; TARGETS.len()] = {
    let mut names = [""; TARGETS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = TARGETS[at].name;
        at += 1;
    }
    names
};

/// A target by name.
pub fn named(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Campaign;

    fn bounded(name: &str, inputs: u64) {
        let target = named(name).expect("a target of this name");
        if let Err(found) = Campaign::new(target, 1).inputs(inputs) {
            panic!("{found}");
        }
    }

    #[test]
    fn any_call_is_survived() {
        bounded("call", 150);
    }

    #[test]
    fn any_records_are_refused_or_sound() {
        bounded("restore", 400);
    }

    #[test]
    fn any_block_is_survived() {
        bounded("block", 3000);
    }

    #[test]
    fn any_bundle_is_survived() {
        bounded("bundle", 3000);
    }

    #[test]
    fn any_disk_is_survived() {
        bounded("store", 200);
    }

    #[test]
    fn any_image_is_survived() {
        bounded("image", 60);
    }

    #[test]
    fn any_exported_world_is_survived() {
        bounded("exported", 1000);
    }

    #[test]
    fn a_finding_names_its_seed_and_is_found_again() {
        let run: Run = |bytes| if bytes.len() % 7 == 3 { Err("seven".to_owned()) } else { Ok(()) };
        let target = Target { name: "seven", about: "", bytes_max: 100, run };
        let found = Campaign::new(target, 1).inputs(1000).expect_err("one of them");
        assert!(found.to_string().contains(&format!("cargo xtask fuzz seven --seed {}", found.seed)), "{found}");
        let again = Campaign::new(target, found.seed).inputs(1).expect_err("the same");
        assert_eq!((again.seed, again.what), (found.seed, found.what));
        let panics: Run = |bytes| if bytes.len() > 50 { panic!("too long") } else { Ok(()) };
        let found = Campaign::new(Target { run: panics, ..target }, 1).inputs(1000).expect_err("a panic");
        assert!(found.what.contains("too long"), "{found}");
    }
}
