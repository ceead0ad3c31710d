//! How a cell's machine comes to be settled and prepared: from power-on, or as a clone of a sealed machine.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, timeout};

use super::{
    boot_place::BootPlace,
    life::{Cellmate, Job, lab_fault},
    limits,
    observe::Observer,
    settle, step,
};
use crate::{
    event::Level,
    guest::Facts,
    lab::{AgentError, BootKind, LabError, Vm, VmEvents, VmSpec},
    model::{LimitsFrom, Millis, Phase, SignalKind, Start},
    seal::{Claim, Offer, Seal},
};

/// A lab that needs longer than this to start a machine is broken.
const START: Duration = Duration::from_secs(600);

/// A restored machine goes on at once; one that has not answered by then is given up, and a cold start has all the
/// time that a boot may take.
const GO_ON: Duration = Duration::from_secs(60);

/// How long a settled machine may take to tell what it is.
const FACTS: Duration = Duration::from_secs(20);

/// How a machine begins.
pub(super) enum Way {
    Live(Arc<Seal>),
    /// From power-on, to be sealed once it has settled.
    Make(Claim),
    Cold,
}

impl Way {
    /// Finds out. What speaks against a live start is told.
    pub async fn find(job: &Job, note: impl Fn(String)) -> Self {
        let offer = match job.seals.as_ref().map(|seals| seals.offer(&job.cell)) {
            Some(Offer::Find(claim)) => claim.resolve(&job.cell, &spec(job, None), &job.cancel).await,
            Some(offer) => offer,
            None => Offer::Cold(None),
        };
        match offer {
            Offer::Live(seal) => Self::Live(seal),
            Offer::Make(claim) => {
                if let Some(why) = claim.why_anew() {
                    note(format!("its image's seal is made anew: {why}"));
                }
                Self::Make(claim)
            }
            Offer::Cold(None) => Self::Cold,
            Offer::Cold(Some(why)) => {
                note(format!("starts from power-on: {why}"));
                Self::Cold
            }
            // What was found out is never that it is to be found out.
            Offer::Find(_) => Self::Cold,
        }
    }

    pub fn seal(&self) -> Option<&Arc<Seal>> {
        match self {
            Self::Live(seal) => Some(seal),
            Self::Make(_) | Self::Cold => None,
        }
    }

    pub fn signal(&self) -> SignalKind {
        let seal = self.seal();
        let start = if seal.is_some() { Start::Live } else { Start::Cold };
        SignalKind::StartedFrom { start, seal: seal.map(|seal| seal.name().to_owned()) }
    }
}

/// The machine a cell needs.
pub(super) fn spec(job: &Job, seal: Option<&Arc<Seal>>) -> VmSpec {
    VmSpec {
        run: job.run.clone(),
        cell: job.cell.id.clone(),
        image: job.image.clone(),
        network: job.cell.network.clone(),
        seal: seal.map(|seal| seal.dir().to_owned()),
    }
}

/// Makes the machine, not started. A live one that cannot even be made becomes a cold one.
pub(super) async fn create(job: &Job, way: &mut Way) -> Result<(Arc<dyn Vm>, VmEvents), LabError> {
    let made = job.lab.create(spec(job, way.seal())).await;
    let (Err(error), Way::Live(seal), Some(seals)) = (&made, &*way, &job.seals) else { return made };
    seals.failed(seal, &error.to_string());
    job.note(Level::Info, format!("starts from power-on: {error}"));
    *way = Way::Cold;
    job.lab.create(spec(job, None)).await
}

/// Until the machine has settled and all its setup steps have run. False: the judge is over.
pub(super) async fn begin(watcher: &mut Observer, mate: &Cellmate<'_>, way: Way, place: BootPlace) -> bool {
    let cell = &mate.job.cell;
    let sealed = cell.sealed_setup.min(cell.setup.len());
    let done = match way {
        Way::Cold => cold(watcher, mate, Some(place)).await.then_some(0),
        Way::Live(seal) => match live(watcher, mate, &seal, place).await {
            Ok(()) => Some(sealed),
            Err(why) => again(watcher, mate, Some(&seal), why).await.then_some(0),
        },
        Way::Make(claim) => {
            if !cold(watcher, mate, Some(place)).await {
                return false;
            }
            watcher.enter(Phase::Setup);
            if !step::some(watcher, mate, Phase::Setup, &cell.setup, 0..sealed).await {
                return false;
            }
            match make_seal(watcher, mate, claim).await {
                Ok(()) => Some(sealed),
                Err((seal, why)) => again(watcher, mate, seal.as_ref(), why).await.then_some(0),
            }
        }
    };
    let Some(done) = done else { return false };
    if watcher.judge.phase() != Phase::Setup {
        watcher.enter(Phase::Setup);
    }
    if !step::some(watcher, mate, Phase::Setup, &cell.setup, done..cell.setup.len()).await {
        return false;
    }
    watcher.leave(Phase::Setup);
    true
}

/// From power-on until settled, which is as long as the place to boot in is kept: a setup step may want another one.
async fn cold(watcher: &mut Observer, mate: &Cellmate<'_>, _place: Option<BootPlace>) -> bool {
    if let Err(error) = power_on(watcher).await {
        if let Some(error) = error {
            watcher.emit(SignalKind::LabFault { reason: lab_fault(&error), message: error.to_string() });
        }
        return false;
    }
    watcher.leave(Phase::Start);
    watcher.enter(Phase::Settle);
    if !settle::settle(watcher, mate).await {
        return false;
    }
    let took = watcher.judge.boot_age();
    watcher.leave(Phase::Settle);
    know(watcher, mate, LimitsFrom::OwnBoot, took).await
}

/// As a clone of the sealed machine, until it is seen to go on.
async fn live(watcher: &mut Observer, mate: &Cellmate<'_>, seal: &Arc<Seal>, _place: BootPlace) -> Result<(), String> {
    let boot = watcher.boot;
    start_restored(watcher).await?;
    watcher.leave(Phase::Start);
    watcher.enter(Phase::Settle);
    go_on(watcher, mate, boot).await?;
    watcher.leave(Phase::Settle);
    mate.started_from(seal);
    if know(watcher, mate, LimitsFrom::SealedBoot, seal.about.settle).await { Ok(()) } else { Err(verdict(watcher)) }
}

/// Deadlines from how long a boot takes, and facts of the guest.
async fn know(watcher: &mut Observer, mate: &Cellmate<'_>, own: LimitsFrom, boot: Millis) -> bool {
    let (from, base) = limits::longest_boot((own, boot), mate.control.as_ref());
    let usual = mate.control.as_ref().and_then(|control| control.activity).unwrap_or_default();
    let known = limits::after_first_boot(base, usual, &mate.job.cell.health, mate.job.image.quirks);
    mate.set_limits(known, boot);
    watcher.emit(SignalKind::Limits { limits: known, from: Some(from), base });
    if let Some(Ok(facts)) = watcher.until(facts(mate)).await {
        mate.set_facts(facts.clone());
        watcher.emit(SignalKind::Facts { facts });
    }
    !watcher.judge.is_over()
}

/// What the agent tells of the operating system, and what it takes a program to learn.
async fn facts(mate: &Cellmate<'_>) -> Result<Facts, AgentError> {
    let mut facts = mate.agent(FACTS).os_info().await?;
    facts.extend(mate.agent(FACTS).about().await.unwrap_or_default());
    if let Some(command) = mate.family.facts(&mate.tag())
        && let Ok((_, printed)) = mate.ask(&command, FACTS).await
    {
        facts.extend(mate.family.read_facts(&printed));
    }
    Ok(facts)
}

/// Saves the settled machine, and goes on as the first clone of it. What failed, and the seal if it is made.
async fn make_seal(
    watcher: &mut Observer,
    mate: &Cellmate<'_>,
    mut claim: Claim,
) -> Result<(), (Option<Arc<Seal>>, String)> {
    let job = mate.job;
    let began = Instant::now();
    let seal = {
        let Some(dir) = claim.folder() else { return Err((None, "there is no folder for it".to_owned())) };
        let vm = watcher.vm.clone();
        let saving = async {
            job.lab.seal_folder(dir)?;
            vm.seal(dir).await
        };
        let saved = match watcher.until_unsampled(saving).await {
            None => Err(verdict(watcher)),
            Some(saved) => saved.map_err(|error| error.to_string()),
        };
        if let Err(why) = saved {
            return Err((None, claim.never(format!("its machine cannot be sealed: {why}"))));
        }
        claim.finish(&job.cell, mate.first_boot()).await.map_err(|error| (None, error.to_string()))?
    };
    let gone_on = async {
        discard(watcher).await;
        let (vm, events) = job.lab.create(spec(job, Some(&seal))).await.map_err(|error| error.to_string())?;
        mate.moved_to(&vm);
        watcher.observe(vm, events);
        watcher.emit(SignalKind::Sealed { seal: seal.name().to_owned(), took: began.elapsed().into() });
        let boot = watcher.boot;
        start_restored(watcher).await?;
        go_on(watcher, mate, boot).await
    };
    gone_on.await.map_err(|why| (Some(seal.clone()), why))?;
    mate.started_from(&seal);
    Ok(())
}

/// Begins again from power-on: whatever was wrong, the update has not begun, and nothing is lost. False: the judge
/// is over.
async fn again(watcher: &mut Observer, mate: &Cellmate<'_>, seal: Option<&Arc<Seal>>, why: String) -> bool {
    if watcher.is_cancelled() {
        return false;
    }
    let job = mate.job;
    if let (Some(seal), Some(seals)) = (seal, &job.seals) {
        seals.failed(seal, &why);
    }
    discard(watcher).await;
    // The place of the machine before went with it. Whoever is cancelled is told so as soon as it boots.
    let place = tokio::select! {
        permit = job.boots.acquire(BootKind::Start) => Some(BootPlace::first(permit)),
        () = job.cancel.cancelled() => None,
    };
    watcher.emit(SignalKind::StartedOver { why });
    watcher.emit(SignalKind::StartedFrom { start: Start::Cold, seal: None });
    watcher.enter(Phase::Start);
    watcher.emit(limits::unknown(&job.cell.health, job.image.quirks));
    match job.lab.create(spec(job, None)).await {
        Ok((vm, events)) => {
            mate.moved_to(&vm);
            watcher.observe(vm, events);
            cold(watcher, mate, place).await
        }
        Err(error) => {
            watcher.emit(SignalKind::LabFault { reason: lab_fault(&error), message: error.to_string() });
            false
        }
    }
}

/// Removes the machine that another one takes the place of.
async fn discard(watcher: &Observer) {
    if let Err(error) = super::collect::destroy(watcher.vm.as_ref()).await {
        watcher.note(Level::Warning, format!("the machine could not be removed whole: {error}"));
    }
}

/// None: the judge is over.
async fn power_on(watcher: &mut Observer) -> Result<(), Option<LabError>> {
    let vm = watcher.vm.clone();
    let starting = async {
        let too_slow = |_| LabError::Other(format!("the machine did not start within {}", Millis::from(START)));
        timeout(START, vm.start()).await.unwrap_or_else(|late| Err(too_slow(late)))
    };
    watcher.until(starting).await.ok_or(None)?.map_err(Some)
}

async fn start_restored(watcher: &mut Observer) -> Result<(), String> {
    match power_on(watcher).await {
        Ok(()) => Ok(()),
        Err(Some(error)) => Err(error.to_string()),
        Err(None) => Err(verdict(watcher)),
    }
}

/// The restored machine answers, knows what time it is, and has settled. `boot`: the one that it was sealed in, for another
/// one finds on its disk only what had been written there by then.
async fn go_on(watcher: &mut Observer, mate: &Cellmate<'_>, boot: u64) -> Result<(), String> {
    let going_on = async {
        let agent = async {
            // libvirt says when the channel is open, but the question is cheap.
            while mate.agent(Duration::from_secs(5)).ping().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // It still believes that it is when it was sealed.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            mate.agent(Duration::from_secs(10)).set_time(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)).await
        };
        match watcher.until(agent).await {
            None => return false,
            Some(Ok(())) => {}
            Some(Err(error)) => watcher.note(Level::Info, format!("the guest's clock: {error}")),
        }
        watcher.channel_open = true;
        settle::settle(watcher, mate).await
    };
    match timeout(GO_ON, going_on).await {
        Ok(true) if watcher.boot != boot => Err("the restored machine reset itself".to_owned()),
        Ok(true) => Ok(()),
        Ok(false) => Err(verdict(watcher)),
        Err(_) => Err(format!("the restored machine did not go on within {}", Millis::from(GO_ON))),
    }
}

/// Why the judge is over.
fn verdict(watcher: &Observer) -> String {
    watcher.judge.verdict().lead().map_or_else(String::new, |lead| lead.message.clone())
}
