//! How long an epoch takes: slot by slot, as the schedule has it.

use super::speeds::Speeds;
use super::workload::{SlotStart, StageLoad, Travel, Workload};
use crate::crypto::aead::TAG;
use crate::pipeline::{DataPass, OwnerSent, StageWork, followed};

/// Of how many micro-batches a long batch is looked at slot by slot, beside those that fill and empty the pipeline. Between them one slot
/// is like the other.
const LOOKED_AT: u32 = 16;

/// Where the time of an epoch goes, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// The roles' own work, spread over the cores.
    pub compute: f64,
    /// Sealing what leaves a rank.
    pub seal: f64,
    /// Moving blocks from rank to rank.
    pub exchange: f64,
    /// Taking a layer off what is passed on.
    pub peel: f64,
    /// Taking the last layer off what arrives.
    pub open: f64,
    /// Waiting for the rank that has most to do in a slot.
    pub wait: f64,
    /// What happens once a term: keys, packages, results.
    pub term: f64,
}

/// Where the ranks of a job stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OnHosts(
    /// The number of hosts, each with the cores of the model.
    pub u16,
);

impl Parts {
    /// The seconds of all parts together.
    pub fn total(&self) -> f64 {
        self.named().iter().map(|(_, seconds)| seconds).sum()
    }

    /// The parts with their names, in the order in which they are printed.
    pub fn named(&self) -> [(&'static str, f64); 7] {
        let Self { compute, seal, exchange, peel, open, wait, term } = *self;
        [
            ("compute", compute),
            ("seal", seal),
            ("exchange", exchange),
            ("peel", peel),
            ("open", open),
            ("wait", wait),
            ("term", term),
        ]
    }

    /// These parts and `times` times `others`.
    #[must_use]
    fn plus(self, times: f64, others: Self) -> Self {
        Self {
            compute: self.compute + times * others.compute,
            seal: self.seal + times * others.seal,
            exchange: self.exchange + times * others.exchange,
            peel: self.peel + times * others.peel,
            open: self.open + times * others.open,
            wait: self.wait + times * others.wait,
            term: self.term + times * others.term,
        }
    }
}

/// What a rank does in each slot whatever its role, in seconds of a core that it has for itself; and how that stretches where it has none.
#[derive(Clone, Copy, Debug)]
struct Mixing {
    /// Laying all layers over the own cells.
    seal: f64,
    /// Taking layers off the cells of others.
    peel: f64,
    /// Taking the last layer off the own cells.
    open: f64,
    /// Moving blocks from rank to rank.
    moved: f64,
    /// Seconds that pass in the exchanges of a slot while no core works.
    idle: f64,
    /// How many cores there are for all ranks.
    cores: f64,
    /// How many ranks there are for a core, at least one.
    crowd: f64,
    /// What part of the longest work leaves other cores with nothing to do ([`Speeds::uneven`]).
    uneven: f64,
}

impl Mixing {
    /// What `workload` asks for in a slot of a machine like `speeds`.
    fn of(workload: &Workload, speeds: &Speeds, places: OnHosts) -> Self {
        let g = &workload.geometry;
        let (payload, hops) = (f64::from(g.payload), f64::from(g.hops));
        // Outside the mix only the owner and the stages have anything to send, to a neighbour on either side.
        let (ranks, lanes, phases) = match workload.travel {
            Travel::Mixed => (f64::from(g.ranks), g.lanes() as f64, hops),
            _ => (workload.remote.len() as f64 + 1.0, 2.0, 1.0),
        };
        let cores = (speeds.cores * f64::from(places.0)).min(ranks);
        let message = 2.0 * g.message() as f64;
        let (sealed, peeled, opened, bytes) = match workload.travel {
            Travel::Mixed => {
                let cells = lanes * f64::from(g.cells);
                (hops * cells, (hops - 1.0) * cells, cells, g.slot_bytes() as f64)
            }
            Travel::Sealed => {
                let cells = 2.0 * g.circuits() as f64 * f64::from(g.cells);
                (cells, 0.0, cells, message + cells * TAG as f64)
            }
            Travel::Bare => (0.0, 0.0, 0.0, message),
        };
        Self {
            seal: speeds.seal.seconds(sealed, payload),
            peel: speeds.open.seconds(peeled, payload),
            open: speeds.open.seconds(opened, payload),
            moved: phases * (speeds.turn + lanes * speeds.block) + bytes * speeds.byte,
            idle: phases * speeds.latency,
            cores,
            crowd: ranks / cores,
            uneven: if ranks > cores { speeds.uneven } else { 0.0 },
        }
    }

    /// A slot in which the ranks' roles work for so many seconds each. It begins when all work is done and sealed.
    fn slot(&self, works: &[f64], pacing: SlotStart, most: f64) -> Parts {
        let (sum, longest) =
            works.iter().fold((0.0, 0.0_f64), |(sum, longest), work| (sum + work, longest.max(*work)));
        let seal = self.seal * self.crowd;
        let compute = sum / self.cores;
        // All that is to be done, over all cores; or the longest of it, which one core does.
        let ready = match pacing {
            SlotStart::Lockstep => {
                let (all, longest) = (compute + seal, longest + self.seal);
                let best = all.max(longest);
                // At worst the longest comes when everything else is done, and one core does it.
                let worst = all + longest * (1.0 - 1.0 / self.cores);
                best + self.uneven * (worst - best).max(0.0)
            }
            // Nobody mixes while ranks work, and all have the time of the most work.
            SlotStart::Work | SlotStart::Every(_) => compute.max(most) + seal,
        };
        let exchange = self.moved * self.crowd + self.idle;
        let parts = Parts {
            compute,
            seal,
            exchange,
            peel: self.peel * self.crowd,
            open: self.open * self.crowd,
            wait: ready - compute - seal,
            term: 0.0,
        };
        match pacing {
            SlotStart::Every(seconds) => Parts { wait: (parts.wait + seconds - parts.total()).max(0.0), ..parts },
            _ => parts,
        }
    }
}

impl Workload {
    /// Where the time of an epoch goes on ranks of machines like `speeds`, validation included.
    pub fn predicted(&self, speeds: &Speeds, places: OnHosts) -> Parts {
        let mixing = Mixing::of(self, speeds, places);
        // A batch that is alone, and what one more adds: a period of the schedule.
        let full = self.full.max(1);
        let alone = self.trained(speeds, &mixing, full, 1);
        let period = self.trained(speeds, &mixing, full, 2).plus(-1.0, alone);
        let mut epoch = alone.plus(self.batches() - 1.0, period);
        if self.validation > 0 {
            epoch = epoch.plus(1.0, self.validated(speeds, &mixing));
        }
        let ranks = f64::from(self.geometry.ranks);
        // Between two terms slots stay empty, from none to as many as there are ranks.
        let empty = match self.travel {
            Travel::Mixed => ranks / 2.0,
            _ => 0.0,
        };
        let idle = mixing.slot(&[], self.pacing, self.most_work(speeds));
        let terms = f64::from(self.terms);
        epoch.plus(terms * empty, idle).plus(terms, Parts { term: ranks * speeds.term, ..Parts::default() })
    }

    /// How long an epoch takes in one process, on a machine like `speeds`.
    pub fn alone(&self, speeds: &Speeds) -> Parts {
        let (arithmetic, rows) = (speeds.all_threads, f64::from(self.rows));
        let forward: f64 = self.stages.iter().map(|stage| stage.forward(arithmetic, rows)).sum();
        let backward: f64 = self.stages.iter().map(|stage| stage.backward(arithmetic, rows)).sum();
        let step: f64 = self.stages.iter().map(|stage| stage.step(arithmetic)).sum();
        let owned = rows * self.owned * arithmetic.value;
        let compute = f64::from(self.training) * (forward + backward + owned)
            + f64::from(self.validation) * (forward + owned)
            + self.batches().ceil() * step;
        Parts { compute, ..Parts::default() }
    }

    /// Where the time of `batches` batches of `full` micro-batches goes.
    fn trained(&self, speeds: &Speeds, mixing: &Mixing, full: u32, batches: u32) -> Parts {
        let looked_at = LOOKED_AT + 4 * self.depth.slots_to_fill();
        if full <= looked_at {
            return self.in_slots(speeds, mixing, &self.pass(full, full * batches), true);
        }
        // In a long batch every slot in the middle is like the one before.
        let [short, longer] = [looked_at - 1, looked_at]
            .map(|full| self.in_slots(speeds, mixing, &self.pass(full, full * batches), true));
        longer.plus(f64::from(full - looked_at), longer.plus(-1.0, short))
    }

    /// Where the time of the validation goes.
    fn validated(&self, speeds: &Speeds, mixing: &Mixing) -> Parts {
        let of = |count: u32| self.in_slots(speeds, mixing, &DataPass::evaluation(self.depth, count), false);
        let looked_at = LOOKED_AT + 2 * self.depth.slots_to_fill();
        if self.validation <= looked_at {
            return of(self.validation);
        }
        let [short, longer] = [looked_at - 1, looked_at].map(of);
        longer.plus(f64::from(self.validation - looked_at), longer.plus(-1.0, short))
    }

    /// Where the time of `pass` goes, slot by slot.
    fn in_slots(&self, speeds: &Speeds, mixing: &Mixing, pass: &DataPass, trains: bool) -> Parts {
        let hold = pass.hold();
        let turned = self.depth.is_turned();
        // A last stage that has the loss is sent targets with each micro-batch, and no gradient later.
        let backward = |slot: u64| match turned {
            true => pass.feed(slot).is_some(),
            false => slot.checked_sub(hold).is_some_and(|at| pass.returned(at).is_some()),
        };
        let sent: Vec<OwnerSent> = (0..pass.slots())
            .map(|slot| OwnerSent { forward: pass.feed(slot).is_some(), backward: trains && backward(slot) })
            .collect();
        let stages = followed(&sent, self.remote.len() as u16, self.depth.slots_of_a_stage(), turned);
        let most = self.most_work(speeds);
        (0..sent.len()).fold(Parts::default(), |parts, slot| {
            let back = pass.returned(slot as u64).is_some();
            let mut works = vec![self.of_owner(speeds, sent[slot], back, trains)];
            works.extend(
                stages
                    .iter()
                    .zip(self.remote.clone())
                    .map(|(works, stage)| self.of_stage(speeds, stage, works[slot])),
            );
            parts.plus(1.0, mixing.slot(&works, self.pacing, most))
        })
    }

    /// Seconds of a core for what the stage number `stage` does in a slot.
    fn of_stage(&self, speeds: &Speeds, stage: usize, work: StageWork) -> f64 {
        let (load, arithmetic, rows) = (&self.stages[stage], speeds.one_thread, f64::from(self.rows));
        let when = |does: bool, seconds: f64| if does { seconds } else { 0.0 };
        when(work.forward, load.forward(arithmetic, rows))
            + when(work.backward, load.backward(arithmetic, rows))
            + when(work.steps, load.step(arithmetic))
    }

    /// Seconds of a core for what the owner does in a slot in which it has `sent` this, and in which an output has come `back` or not:
    /// it gathers samples, it computes losses, and it has its own stages work.
    fn of_owner(&self, speeds: &Speeds, sent: OwnerSent, back: bool, trains: bool) -> f64 {
        let (arithmetic, rows) = (speeds.one_thread, f64::from(self.rows));
        let both = |load: &StageLoad| load.forward(arithmetic, rows) + load.backward(arithmetic, rows);
        let (before, behind) = (&self.stages[..self.remote.start], &self.stages[self.remote.end..]);
        let mut work = 0.0;
        if sent.forward {
            let one = |load: &StageLoad| if trains { both(load) } else { load.forward(arithmetic, rows) };
            work += rows * self.owned * arithmetic.value + before.iter().map(one).sum::<f64>();
            // A step comes once a batch; here it is spread over the batch's slots.
            work += before.iter().map(|load| load.step(arithmetic)).sum::<f64>() / f64::from(self.full.max(1));
        }
        if back {
            let one = |load: &StageLoad| if trains { both(load) } else { load.forward(arithmetic, rows) };
            work += behind.iter().map(one).sum::<f64>();
            work += behind.iter().map(|load| load.step(arithmetic)).sum::<f64>() / f64::from(self.full.max(1));
        }
        work
    }

    /// Seconds of a core for the most that a rank may have to do in a slot.
    fn most_work(&self, speeds: &Speeds) -> f64 {
        let all = StageWork { forward: true, backward: true, steps: true };
        let owner = self.of_owner(speeds, OwnerSent { forward: true, backward: true }, true, true);
        self.remote.clone().map(|stage| self.of_stage(speeds, stage, all)).fold(owner, f64::max)
    }
}

#[cfg(test)]
mod tests;
