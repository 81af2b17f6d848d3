//! The explorer as a program: what it says, and how it ends.

use std::process::{Command, Output};

/// Runs it; exit status, what it printed, what it complained of.
fn explore(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_explore")).args(arguments).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn what_there_is_not_is_refused_by_its_name() {
    for (arguments, told) in [
        (&["--universe", "nowhere"][..], "there is no universe \"nowhere\": there are ipc, capabilities,"),
        (&["--universe", ""], "there is no universe \"\""),
        (&["--universe", "ipc", "--size", "0"], "ipc has sizes 1 to 3, not 0"),
        (&["--universe", "capabilities", "--size", "9"], "capabilities has sizes 1 to 8, not 9"),
        (&["--size", "4294967295"], "ipc has sizes 1 to 3, not 4294967295"),
        (&["--size", "4294967296"], "--size"),
        (&["--size", "-1"], "-1"),
        (&["--size", "two"], "two"),
        (&["--workers", "0"], "--workers"),
        (&["--workers", "257"], "--workers"),
        (&["--states", "many"], "many"),
        (&["--memory", "-1"], "-1"),
        (&["--memory", "18446744073709551615"], "--memory"),
    ] {
        let (status, printed, complained) = explore(arguments);
        assert_eq!((status, printed.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(complained.contains(told), "{arguments:?}: {complained}");
    }
}

#[test]
fn every_universe_says_what_grows() {
    let (status, printed, _) = explore(&["--list"]);
    assert_eq!(status, Some(0));
    for name in spec::universe::names() {
        assert_eq!(printed.lines().filter(|line| line.starts_with(name)).count(), 1, "{name}: {printed}");
    }
    assert_eq!(printed.matches("  sizes 1 to ").count(), spec::universe::names().count(), "{printed}");
}

#[test]
fn an_exploration_that_ends_early_says_why() {
    let (status, printed, _) = explore(&["--universe", "ipc", "--size", "2", "--states", "300"]);
    assert_eq!(status, Some(0));
    assert!(printed.starts_with("ipc: ") && printed.contains(", not closed, "), "{printed}");
    let (status, printed, _) = explore(&["--universe", "ipc", "--memory", "0"]);
    assert_eq!(status, Some(0));
    assert!(printed.contains(", not closed: no memory is left, "), "{printed}");
}

/// Each size of each universe can be begun, and is another universe than the one before.
#[test]
fn every_size_is_a_universe() {
    for family in &spec::universe::FAMILIES {
        let mut before = None;
        for size in 1..=family.size_max {
            let universe = family.of_size(size).expect("a size");
            let found = spec::Explorer { states_max: 200, ..Default::default() }.run(&universe, &|_| {});
            let report = found.unwrap_or_else(|failure| panic!("{} of size {size}: {failure}", family.name));
            assert!(report.states >= 200, "{} of size {size}", family.name);
            let digest = universe.start.digest();
            assert_ne!(before.replace(digest), Some(digest), "{} of size {size}", family.name);
        }
        assert!(family.of_size(0).is_none() && family.of_size(family.size_max + 1).is_none());
    }
}
