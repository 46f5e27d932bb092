//! The loop over epochs. It is the same for the owner of several ranks and for a single process.
//!
//! Each turn is one term: its passes run, the stages return what is due, that is kept, and all ranks hear how it goes on. Whatever a
//! checkpoint holds is known here.

use std::path::Path;
use std::time::Instant;

use super::kept::KeptError;
use super::kept::checkpoint::{CheckpointWriter, KeptPlan, Reached, Remainder};
use super::kept::model::{Model, ModelWriter, named};
use super::kept::results::EpochReport;
use super::prepare::{Part, Prepared};
use super::requests::Why;
use super::spent::Spent;
use super::{RunError, Watcher};
use crate::ids::Epoch;
use crate::mix::beat::StageData;
use crate::nn::{Criterion, StageSpec, snapshot};
use crate::role::owner::EarlyEnd;
use crate::role::score::{Score, Tally};

/// Takes the data through the stages, one term at a time. For each term [`run`](Self::run), [`collect`](Self::collect) and
/// [`conclude`](Self::conclude) are called in this order. An error of the first ends all; one of the second is told by the third.
pub(super) trait Trains {
    /// Runs the [passes](Prepared::passes) of a term.
    fn run(&mut self, term: &TermWish<'_>, watcher: &mut dyn Watcher) -> Result<Ran, RunError>;

    /// Passes what each stage returns to `sink`, in [rounds](snapshot::rounds).
    fn collect(&mut self, sink: &mut dyn Sink) -> Result<(), RunError>;

    /// Tells all ranks how the run goes on: 0 is well, and any other code ends it. An error ends it with its own code, and is what
    /// this returns.
    fn conclude(&mut self, how: Result<i32, RunError>) -> Result<(), RunError>;

    /// Tells all ranks to wait for the conclusion. Call each second that there is none yet.
    fn stay(&mut self) -> Result<(), RunError>;

    /// What the owner's user is to hear about the terms so far, if anything. It is said once.
    fn remark(&mut self) -> Option<String>;

    /// What slots have taken so far, as the ranks told at the end of the last term. `None` without ranks.
    fn spent(&self) -> Option<&Spent> {
        None
    }

    /// The plan, where there are ranks.
    fn plan(&self) -> Option<KeptPlan>;

    /// What the bits depend on besides job and version.
    fn fingerprint(&self) -> String;
}

/// Takes what stages return, piece by piece.
pub(super) trait Sink {
    /// Takes the next piece of what `stage` returns; stages are counted from 0.
    fn take(&mut self, stage: usize, piece: &[u8]) -> Result<(), RunError>;
}

/// By stage, how many bytes `data` of it has.
pub(super) fn data_lengths(data: StageData, specs: &[StageSpec]) -> Vec<u64> {
    let length = |spec| match data {
        StageData::Nothing => 0,
        StageData::Values => snapshot::values_length(spec),
        StageData::State => snapshot::length(spec),
    };
    specs.iter().map(length).collect()
}

/// What a term is to do.
pub(super) struct TermWish<'a> {
    /// What it runs.
    pub(super) part: &'a Part,
    /// What its epoch's training came to in earlier terms.
    pub(super) so_far: Tally,
    /// What stages return at its end.
    pub(super) returns: StageData,
    /// How it may be ended early.
    pub(super) early: EarlyEnd,
}

/// What a term has come to.
pub(super) struct Ran {
    /// What each pass came to, in their order. That of training counts the whole epoch so far.
    pub(super) tallies: Vec<Tally>,
    /// How many slots the term took; 0 without messages.
    pub(super) slots: u64,
    /// Up to which batch of the epoch the training pass has come.
    pub(super) until: u32,
    /// Whether all passes have come to their ends.
    pub(super) whole: bool,
    /// What stages return.
    pub(super) returns: StageData,
    /// The outputs of all samples, row-major (samples, outputs). Empty where no pass asks for them.
    pub(super) inferred: Vec<f32>,
}

/// What a run has come to at its end.
pub(super) struct Finished {
    /// The reports of all epochs, in order.
    pub(super) epochs: Vec<EpochReport>,
    /// What the test pass came to.
    pub(super) test: Score,
    /// The model after the last epoch. `None` where nothing was learned.
    pub(super) model: Option<Model>,
}

/// Where the loop is.
struct Training<'a> {
    prepared: &'a Prepared,
    specs: Vec<StageSpec>,
    /// The reports of all epochs that are through.
    epochs: Vec<EpochReport>,
    /// When this start of the run began.
    began: Instant,
}

/// Runs all epochs of `prepared`, or those that a checkpoint has left. Where training diverges, the model of the newest checkpoint is
/// kept.
///
/// # Errors
/// [`RunError`].
pub(super) fn run(
    trains: &mut dyn Trains,
    prepared: &Prepared,
    watcher: &mut dyn Watcher,
) -> Result<Finished, RunError> {
    let resumed = prepared.resumed.as_ref();
    let mut training = Training {
        prepared,
        specs: prepared.specs(),
        epochs: resumed.map(|resumed| resumed.rest.epochs.clone()).unwrap_or_default(),
        began: Instant::now(),
    };
    // The values that a run starts from have been given by now, and the specs need no copy.
    training.specs.iter_mut().for_each(|spec| spec.values = None);
    let (now, then) = (trains.fingerprint(), resumed.map(|resumed| &resumed.rest.fingerprint));
    if let Some(then) = then.filter(|then| **then != now) {
        watcher.warn(&format!(
            "warning: the run goes on with {now}, and was begun with {then}: its bits are those of both"
        ));
    }
    let ran = training.run(trains, watcher);
    if let Err(error) = &ran
        && error.is_divergence()
    {
        let within = folder_of(watcher);
        let good = watcher.keeper().map(|keeper| keeper.last_good(&within, prepared, &training.specs)).transpose()?;
        if let Some((reached, model)) = good.flatten() {
            watcher.keep(reached, model)?;
        }
    }
    ran
}

/// The folder in which a model is made: the run's, or where it has none the system's for files that do not stay.
fn folder_of(watcher: &mut dyn Watcher) -> std::path::PathBuf {
    watcher.folder().map_or_else(std::env::temp_dir, Path::to_owned)
}

impl Training<'_> {
    /// Runs term after term, to the run's end.
    fn run(&mut self, trains: &mut dyn Trains, watcher: &mut dyn Watcher) -> Result<Finished, RunError> {
        let prepared = self.prepared;
        let fresh = || Tally::new(Criterion::new(prepared.job.train.loss));
        let start = prepared.start_at();
        let (mut from, mut so_far) = (start.batches, prepared.so_far().unwrap_or_else(fresh));
        let last = prepared.job.train.epochs.saturating_sub(1);
        if start.epochs > last {
            // All is learned, and the run was ended before it had written what it came to: the last epoch's end is run again.
            from = prepared.batches(last).batches();
        }
        for epoch in (start.epochs.min(last)..=last).map(Epoch) {
            let began = Instant::now();
            let mut slots = 0;
            loop {
                let part = prepared.part(epoch, from);
                let (ran, report, model) = self.run_term(trains, watcher, &part, so_far, (began, slots))?;
                if prepared.infers() {
                    watcher.outputs(ran.inferred)?;
                    return Ok(Finished { epochs: Vec::new(), test: Score::default(), model: None });
                }
                slots += ran.slots;
                (from, so_far) = (ran.until, ran.tallies[0]);
                if let Some(report) = report.as_ref().filter(|_| epoch.0 >= start.epochs) {
                    watcher.epoch(report)?;
                }
                if ran.whole && part.ends_run {
                    let test = ran.tallies[ran.tallies.len() - 1].score();
                    return Ok(Finished { epochs: std::mem::take(&mut self.epochs), test, model });
                }
                if report.is_some() {
                    break;
                }
            }
            (from, so_far) = (0, fresh());
        }
        Err(RunError::Bug("a run without epochs".to_owned()))
    }

    /// Runs one term, and keeps what is due at its end. Its epoch began at the time and slot in `since`. Returns what it came to; where
    /// it ended the epoch, the report of that; and where it ended the run, the model.
    fn run_term(
        &mut self,
        trains: &mut dyn Trains,
        watcher: &mut dyn Watcher,
        part: &Part,
        so_far: Tally,
        since: (Instant, u64),
    ) -> Result<(Ran, Option<EpochReport>, Option<Model>), RunError> {
        let setup = self.setup(part, so_far, watcher);
        let ran = trains.run(&setup, watcher)?;
        // An epoch that was cut short, in its validation too, is not through.
        let ends_epoch = ran.whole && part.ends_epoch;
        let report = (ends_epoch && !self.prepared.infers()).then(|| match self.epochs.get(part.epoch.0 as usize) {
            Some(known) => known.clone(),
            None => {
                let report = self.report(part, &ran, since);
                self.epochs.push(report.clone());
                report
            }
        });
        let reached = match ends_epoch {
            true => Reached { epochs: part.epoch.0 + 1, batches: 0 },
            false => Reached { epochs: part.epoch.0, batches: ran.until },
        };
        let how = self.keep(trains, watcher, part, &ran, reached);
        let (how, model) = match how {
            Ok((code, model)) => (Ok(code), model),
            Err(error) => (Err(error), None),
        };
        let stops = matches!(how, Ok(code) if code != 0);
        trains.conclude(how)?;
        trains.remark().iter().for_each(|line| watcher.warn(line));
        if let (Some(spent), Some(slots)) = (trains.spent(), watcher.slots())
            && let Err(error) = slots.settle(&spent.timing, spent.sent)
        {
            watcher.warn(&format!("warning: {error}"));
        }
        if stops {
            return Err(self.paused(watcher, reached));
        }
        if let Some(keeper) = watcher.keeper() {
            keeper.settle()?;
        }
        Ok((ran, report, model))
    }

    /// What the term that runs `part` is to do.
    fn setup<'p>(&self, part: &'p Part, so_far: Tally, watcher: &mut dyn Watcher) -> TermWish<'p> {
        let keeper = watcher.keeper().filter(|_| !self.prepared.infers());
        let (asked, due) = keeper.map(|keeper| (keeper.asks(), keeper.is_due(part))).unwrap_or_default();
        let returns = match (due, part.ends_run) {
            (true, _) => StageData::State,
            (false, true) if !self.prepared.infers() => StageData::Values,
            (false, _) => StageData::Nothing,
        };
        TermWish { part, so_far, returns, early: EarlyEnd { asked, returns: StageData::State } }
    }

    /// The report of the epoch that ends with `part`.
    fn report(&self, part: &Part, ran: &Ran, (began, slots): (Instant, u64)) -> EpochReport {
        let prepared = self.prepared;
        let validation = (prepared.validation.samples() > 0).then(|| ran.tallies[1].score());
        let (seconds, samples) = (began.elapsed().as_secs_f64(), prepared.epoch_samples());
        let train = ran.tallies[0].score();
        EpochReport::new(part.epoch.0, train, validation, samples, seconds, slots + ran.slots)
    }

    /// Collects what the stages return, and keeps it. Returns the code that all ranks are to hear, and the model where the run ends.
    fn keep(
        &self,
        trains: &mut dyn Trains,
        watcher: &mut dyn Watcher,
        part: &Part,
        ran: &Ran,
        reached: Reached,
    ) -> Result<(i32, Option<Model>), RunError> {
        let ends_run = ran.whole && part.ends_run && !self.prepared.infers();
        let model = ends_run.then(|| ModelWriter::new(&folder_of(watcher), &self.specs)).transpose();
        let keeper = watcher.keeper().filter(|_| ran.returns == StageData::State);
        let checkpoint = keeper.map(|keeper| keeper.begin(reached, &self.specs)).transpose();
        // Whatever goes wrong here, the ranks return what is due, and hear the code behind it.
        let mut kept = Kept::new(&self.specs, model, checkpoint);
        let collected = trains.collect(&mut kept);
        let (model, checkpoint) = kept.finish(collected)?;
        // Where nothing was returned, there is nothing to stop on: the next term ends at once.
        let stops =
            !ends_run && ran.returns == StageData::State && watcher.keeper().is_some_and(|k| k.why().is_some());
        if let (Some(checkpoint), Some(keeper)) = (checkpoint, watcher.keeper()) {
            let rest = self.rest(trains, ran);
            keeper.take_over(checkpoint, &rest, stops, &mut || trains.stay())?;
        }
        let why = watcher.keeper().and_then(|keeper| keeper.why()).filter(|_| stops);
        let code = match why.map(|why| self.has_stood_still(why, reached)) {
            None => 0,
            Some(false) => super::PAUSED,
            Some(true) => super::STOOD_STILL,
        };
        Ok((code, model))
    }

    /// What a checkpoint holds beside the states.
    fn rest(&self, trains: &dyn Trains, ran: &Ran) -> Remainder {
        Remainder {
            job: self.prepared.job.to_toml(),
            init: self.prepared.init_digest(),
            so_far: ran.tallies[0],
            epochs: self.epochs.clone(),
            plan: trains.plan(),
            fingerprint: trains.fingerprint(),
            seconds: self.prepared.seconds_before() + self.began.elapsed().as_secs_f64(),
            starts: self.prepared.starts(),
        }
    }

    /// Whether a run that goes on from a checkpoint has come no further than that, and never would.
    fn has_stood_still(&self, why: Why, reached: Reached) -> bool {
        why.recurs() && self.prepared.resumed.is_some() && self.prepared.start_at() == reached
    }

    /// What a run ends with that was asked to stop, and has come to `reached`.
    fn paused(&self, watcher: &mut dyn Watcher, reached: Reached) -> RunError {
        let stopped = |keeper: &mut super::keeper::Keeper| {
            let (why, path) = (keeper.why()?, keeper.close().ok()??.to_owned());
            Some((why, path, keeper.longest()))
        };
        match watcher.keeper().and_then(stopped) {
            None => RunError::Bug("a run stops that nobody asked to".to_owned()),
            Some((why, ..)) if self.has_stood_still(why, reached) => RunError::NoProgress { why, reached },
            Some((why, path, seconds)) => RunError::Paused { why, reached, path, seconds },
        }
    }
}

/// Where what stages return goes: into the model, into a checkpoint, or both. On the way it is looked at whether all values are
/// finite.
struct Kept<'a> {
    specs: &'a [StageSpec],
    /// By stage, how many bytes of it have come.
    come: Vec<u64>,
    model: Option<ModelWriter>,
    checkpoint: Option<CheckpointWriter>,
    /// What went wrong first. From then on all pieces are dropped.
    failed: Option<RunError>,
}

impl<'a> Kept<'a> {
    fn new(
        specs: &'a [StageSpec],
        model: Result<Option<ModelWriter>, KeptError>,
        checkpoint: Result<Option<CheckpointWriter>, RunError>,
    ) -> Self {
        let mut failed = None;
        let model = model.unwrap_or_else(|error| {
            failed = Some(error.into());
            None
        });
        let checkpoint = checkpoint.unwrap_or_else(|error| {
            failed.get_or_insert(error);
            None
        });
        Self { specs, come: vec![0; specs.len()], model, checkpoint, failed }
    }

    /// The first value of the piece at byte `at` of `stage` that is not finite, if one is, as the error that it is.
    fn look_for_infinity(&self, stage: usize, at: u64, piece: &[u8]) -> Result<(), KeptError> {
        let values = snapshot::values_length(&self.specs[stage]).saturating_sub(at).min(piece.len() as u64);
        let (words, _) = piece[..values as usize].as_chunks();
        let Some(place) = words.iter().position(|word| !f32::from_le_bytes(*word).is_finite()) else {
            return Ok(());
        };
        let mut behind = at / 4 + place as u64;
        let all = named(self.specs).swap_remove(stage);
        let parameter = all.into_iter().find(|(_, shape)| {
            let length = shape.iter().product::<usize>() as u64;
            let here = behind < length;
            behind = behind.saturating_sub(length);
            here
        });
        let parameter = parameter.map_or_else(String::new, |(name, _)| name);
        Err(KeptError::NotFinite { value: f32::from_le_bytes(words[place]), parameter })
    }

    /// The model and the checkpoint of what has come, where `collected` says that all has.
    fn finish(self, collected: Result<(), RunError>) -> Result<(Option<Model>, Option<CheckpointWriter>), RunError> {
        // What ranks tell comes before what goes wrong here: it may be why.
        collected?;
        match (self.failed, self.checkpoint) {
            (Some(RunError::Kept(KeptError::Stuck)), Some(checkpoint)) => Err(checkpoint.failed().into()),
            (Some(error), _) => Err(error),
            (None, checkpoint) => Ok((self.model.map(ModelWriter::finish).transpose()?, checkpoint)),
        }
    }
}

impl Sink for Kept<'_> {
    fn take(&mut self, stage: usize, piece: &[u8]) -> Result<(), RunError> {
        if self.failed.is_some() {
            return Ok(());
        }
        let at = self.come[stage];
        self.come[stage] += piece.len() as u64;
        let taken = self
            .look_for_infinity(stage, at, piece)
            .and_then(|()| self.model.as_mut().map_or(Ok(()), |model| model.take(stage, piece)))
            .and_then(|()| self.checkpoint.as_mut().map_or(Ok(()), |checkpoint| checkpoint.take(piece)));
        self.failed = taken.err().map(RunError::from);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::key::Key;
    use crate::float::Float;
    use crate::job::op::Linear;
    use crate::job::{Op, Optimizer, Shape};
    use crate::random::Seed;
    use crate::run::kept::checkpoint::FileHeader;

    /// A stage with six weights and two biases.
    fn spec() -> StageSpec {
        StageSpec {
            ops: vec![Op::Linear(Linear { input: None, out: 2, bias: true })],
            input: Shape::new([3]),
            output: Shape::new([2]),
            data: None,
            wire: Float::F32,
            micro_batch: 1,
            optimizer: Optimizer::sgd(0.0),
            seed: Seed::from_text("1"),
            loss: None,
            values: None,
        }
    }

    /// What stages return, with `value` at `place` of the second one, comes in pieces of three values. Twelve come of each stage, eight
    /// of which are its parameters.
    fn returned(place: usize, value: f32) -> Result<(), RunError> {
        let specs = [spec(), spec()];
        let mut kept = Kept::new(&specs, Ok(None), Ok(None));
        let mut values = [1.0; 12];
        for stage in 0..2 {
            if stage == 1 {
                values[place] = value;
            }
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            bytes.chunks(12).for_each(|piece| kept.take(stage, piece).unwrap());
        }
        kept.finish(Ok(())).map(drop)
    }

    /// A parameter that is not finite is no model, wherever it stands. What comes behind the parameters is not looked at.
    #[test]
    fn no_parameter_is_kept_that_is_not_finite() {
        for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            for place in 0..8 {
                let name = if place < 6 { "1.weight" } else { "1.bias" };
                match returned(place, value) {
                    Err(RunError::Kept(KeptError::NotFinite { parameter, value: found })) => {
                        assert_eq!((parameter.as_str(), found.to_bits()), (name, value.to_bits()), "{place}");
                    }
                    other => panic!("{place}: {other:?}"),
                }
            }
            (8..12).for_each(|place| returned(place, value).unwrap());
        }
        (0..12).for_each(|place| returned(place, f32::MAX).unwrap());
    }

    /// What ranks tell comes before what goes wrong at the owner: it may be why.
    #[test]
    fn what_ranks_tell_comes_first() {
        let specs = [spec()];
        let failed = || Kept::new(&specs, Err(KeptError::Stuck), Ok(None));
        let told = failed().finish(Err(RunError::Stopped { code: 4 })).map(drop);
        assert!(matches!(told, Err(RunError::Stopped { code: 4 })), "{told:?}");
        let own = failed().finish(Ok(())).map(drop);
        assert!(matches!(own, Err(RunError::Kept(KeptError::Stuck))), "{own:?}");
    }

    /// Where a checkpoint cannot be written, it is told why, and not that its thread has ended.
    #[test]
    fn a_checkpoint_that_cannot_be_written_tells_why() {
        let specs = [spec()];
        let (folder, key) = (Path::new("/nowhere/at/all"), Key::from_bytes([7; 32]));
        let header = FileHeader::new("", String::new(), String::new(), Reached { epochs: 1, batches: 0 });
        let checkpoint = CheckpointWriter::new(folder, &key, header, vec![48], 1, || ()).unwrap();
        let mut kept = Kept::new(&specs, Ok(None), Ok(Some(checkpoint)));
        while kept.failed.is_none() {
            kept.take(0, &[]).unwrap();
        }
        let told = kept.finish(Ok(())).map(drop);
        assert!(matches!(told, Err(RunError::Kept(KeptError::Write { .. }))), "{told:?}");
    }
}
