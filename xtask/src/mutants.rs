//! `cargo xtask mutants`: the tests are tested. A fault is put into the code, and some test has to notice.
//!
//! cargo-mutants lists what can be changed; a sample is drawn by seed; and instead of building the crate once for each
//! mutant, all of the sample are woven into one build ([`weave`]), each behind a switch that the environment sets: then a
//! mutant costs what running the tests costs. What cannot be woven is built by itself.
//!
//! Each mutant meets the cheapest tests first and is done with when one notices ([`trial`]). Verdicts are kept in
//! `target/mutants` ([`ledger`]), so that the next run goes on where this one stopped, and summed up in
//! `docs/figures/mutants-CRATE.json`.

mod ledger;
mod list;
mod scratch;
mod site;
mod stage;
mod trial;
mod weave;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::progress::Step;
use ledger::{Ledger, Verdict};
use list::Mutant;
use scratch::{Scratch, Tried};
use stage::{Ring, Stage, Subject};
use trial::Limits;

/// Options of `mutants`.
#[derive(Args, Debug)]
#[command(
    after_help = "A run ends after --minutes, and the next one goes on from there, until every mutant of the sample has a \
    verdict. After tests or code were changed, --again missed tries those again that nobody noticed.\n\
    Needs cargo-mutants; it is built into target/tools when it is not there."
)]
pub(crate) struct Options {
    /// The crate whose code is changed
    #[arg(long = "crate", value_enum)]
    subject: Subject,
    /// How many mutants are drawn
    #[arg(long, value_name = "N", default_value_t = 300)]
    sample: usize,
    /// What the draw depends on
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// How many are tried at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Only these tests: `explore` asks what the explorer notices by itself
    #[arg(long, value_enum)]
    ring: Option<Ring>,
    /// Begin nothing new after so many minutes
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// Try those again that have this verdict
    #[arg(long, value_enum)]
    again: Option<Verdict>,
    /// Only mutants whose name contains this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Say what there is a verdict for, and try nothing
    #[arg(long)]
    list: bool,
}

/// Tries what the sample still lacks, sums up.
pub(crate) fn run(options: &Options) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(options.minutes * 60);
    let all = list::all(options.subject)?;
    let sample = list::sample(&all, options.sample, options.seed);
    let mut ledger = Ledger::open(options.subject)?;
    let is_open = |mutant: &&Mutant| {
        let named = options.filter.as_ref().is_none_or(|text| mutant.name.contains(text.as_str()));
        named && ledger.is_open(&mutant.key, options.ring, options.again)
    };
    let open: Vec<&Mutant> = sample.iter().filter(is_open).collect();
    if options.list {
        sample.iter().for_each(|mutant| println!("{}", ledger.line(mutant)));
    } else if !open.is_empty() {
        println!(
            "{} mutants, {} drawn with seed {}, {} to be tried",
            all.len(),
            sample.len(),
            options.seed,
            open.len()
        );
        try_open(options, &sample, &open, &mut ledger, deadline)?;
    }
    let summary = ledger.summary(options.subject, options.seed, all.len(), &sample);
    summary.print();
    summary.keep()
}

/// Weaves the sample, sees that the tests pass without a mutant, and tries what is open.
fn try_open(
    options: &Options,
    sample: &[Mutant],
    open: &[&Mutant],
    ledger: &mut Ledger,
    deadline: Instant,
) -> Result<()> {
    let scratch = Scratch::prepare(options.subject)?;
    let woven = scratch.weave(sample)?;
    for (mutant, tried) in sample.iter().filter_map(|mutant| Some((mutant, woven.get(&mutant.id)?))) {
        if *tried == Tried::DoesNotCompile {
            ledger.set(mutant, Verdict::Unviable, None);
        }
    }
    let mut stages = stage::stages(options.subject, options.ring);
    scratch.find_programs(&mut stages)?;
    let limits = baseline(&stages)?;
    let (apart, together): (Vec<&Mutant>, Vec<&Mutant>) = open
        .iter()
        .filter(|mutant| woven.get(&mutant.id) != Some(&Tried::DoesNotCompile))
        .partition(|mutant| woven.get(&mutant.id) == Some(&Tried::Apart));
    let work = Work { options, stages: &stages, limits: &limits, deadline };
    let all_tried = work.together(&together, ledger)?;
    if all_tried && !apart.is_empty() {
        work.apart(&scratch, &apart, ledger)?;
    }
    Ok(())
}

/// What each stage takes when nothing is wrong; a stage that fails then is of no use.
fn baseline(stages: &[Stage]) -> Result<BTreeMap<String, Limits>> {
    let mut limits = BTreeMap::new();
    for stage in stages {
        let step = Step::begin(format!("Without a mutant: {}", stage.name));
        let (begun, used) = (Instant::now(), trial::cpu_time()?);
        if trial::run_stage(stage, None, &Limits::NONE)?.is_some() {
            bail!("{} fails without a mutant", stage.name);
        }
        limits.insert(stage.name.clone(), Limits::after(begun.elapsed(), trial::cpu_time()?.saturating_sub(used)));
        step.done("");
    }
    Ok(limits)
}

struct Work<'a> {
    options: &'a Options,
    stages: &'a [Stage],
    limits: &'a BTreeMap<String, Limits>,
    deadline: Instant,
}

impl Work<'_> {
    /// Tries those that are in the woven build, several at a time. Whether time was enough for all.
    fn together(&self, mutants: &[&Mutant], ledger: &mut Ledger) -> Result<bool> {
        let step = Step::with_length("Mutants", mutants.len() as u64);
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ledger = Mutex::new(ledger);
        let failed = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..self.options.jobs.max(1) {
                scope.spawn(|| {
                    while Instant::now() < self.deadline
                        && let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        match trial::run(self.stages, Some(mutant.id), self.limits) {
                            Ok(verdict) => note(&ledger, self.options, mutant, verdict),
                            Err(error) => *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error),
                        }
                        step.set(done.fetch_add(1, Ordering::Relaxed) as u64 + 1);
                        step.detail(&mutant.name);
                    }
                });
            }
        });
        let tried = done.into_inner();
        step.done(&format!("{tried} of {} tried", mutants.len()));
        failed.into_inner().unwrap_or_else(|e| e.into_inner()).map_or(Ok(()), Err)?;
        Ok(tried == mutants.len())
    }

    /// Tries those that need a build of their own, one after the other.
    fn apart(&self, scratch: &Scratch, mutants: &[&Mutant], ledger: &mut Ledger) -> Result<()> {
        let step = Step::with_length("Mutants built by themselves", mutants.len() as u64);
        let ledger = Mutex::new(ledger);
        let mut tried = 0;
        for mutant in mutants {
            if Instant::now() >= self.deadline {
                break;
            }
            step.detail(&mutant.name);
            let mut stages = stage::stages(self.options.subject, self.options.ring);
            if scratch.build_alone(mutant, &mut stages)? {
                note(&ledger, self.options, mutant, trial::run(&stages, None, self.limits)?);
            } else {
                note(&ledger, self.options, mutant, (Verdict::Unviable, None));
            }
            tried += 1;
            step.set(tried);
        }
        step.done(&format!("{tried} of {} tried", mutants.len()));
        Ok(())
    }
}

/// Notes a verdict and keeps it at once: a run may be ended at any moment.
fn note(ledger: &Mutex<&mut Ledger>, options: &Options, mutant: &Mutant, verdict: (Verdict, Option<Ring>)) {
    let mut ledger = ledger.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if options.ring == Some(Ring::Explore) {
        ledger.set_explored(mutant, verdict.0);
    } else {
        ledger.set(mutant, verdict.0, verdict.1);
    }
    if verdict.0 == Verdict::Missed {
        println!("missed: {}", mutant.name);
    }
    if let Err(error) = ledger.save() {
        eprintln!("the verdict is not kept: {error:#}");
    }
}
