//! A rank's route, laid down as the jobs of a slot: which cell is sealed, peeled and opened, under which key, from where
//! to where.

use super::geometry::Geometry;
use super::package::{MixedRoute, hop_key, link_key, stream_key};
use crate::crypto::sealer::{KeyId, OpenBatch, OpenJob, PeelBatch, Place, SealBatch, SealJob, Sealer, StreamId};
use crate::ids::{Phase, Rank, Term};

/// The jobs of a slot, the same in every slot of a term but for the slot's number.
pub struct Onion {
    /// Seal the own cells.
    pub seal: SealBatch,
    /// By phase but the last: peel what is passed on.
    pub peels: Vec<PeelBatch>,
    /// By phase but the last, by incoming lane: the lane over which its cells go on.
    pub passed_on: Vec<Vec<usize>>,
    /// In the last: open what arrives.
    pub open: OpenBatch,
    /// By lane: the key of the beat that leaves over it.
    pub beats_out: Vec<KeyId>,
    /// By lane: the key of the beat that arrives over it.
    pub beats_in: Vec<KeyId>,
}

impl Onion {
    /// Derives `rank`'s keys, puts all into `sealer` and lays down the jobs. The route's secrets are wiped with it.
    pub fn lay<S: Sealer>(
        route: MixedRoute,
        geometry: &Geometry,
        rank: Rank,
        run: &[u8; 32],
        term: Term,
        sealer: &mut S,
    ) -> Self {
        let (cells, payload) = (geometry.cells, geometry.payload as usize);
        let in_block = |lane: usize, phase: Phase, cell: u32| Place {
            block: lane,
            offset: geometry.cells_at(phase) + cell as usize * geometry.cell(phase),
        };
        let in_message = |message: u8, part: u16, cell: u32| Place {
            block: usize::from(message),
            offset: (usize::from(part) * cells as usize + cell as usize) * payload,
        };
        let (mut seals, mut beats_out, mut beats_in) = (Vec::new(), Vec::new(), Vec::new());
        for (out, circuit) in route.circuits.iter().enumerate() {
            let layers: Vec<KeyId> = circuit.layers.iter().map(|key| sealer.add(key)).collect();
            beats_out.push(layers[0]);
            seals.extend((0..cells).map(|cell| SealJob {
                layers: layers.clone(),
                cell,
                from: in_message(circuit.message, circuit.part, cell),
                to: in_block(out, Phase(1), cell),
            }));
        }
        let seal = sealer.lay_seals(payload, seals);
        let links = Links::of(&route, geometry, rank, run, term, sealer);
        let passed_on: Vec<Vec<usize>> = route
            .next
            .iter()
            .map(|next| next.iter().map(|peer| geometry.topology().lane(rank, *peer)).collect())
            .collect();
        let mut jobs_of = |phase: Phase, sealer: &mut S| {
            let mut jobs = Vec::new();
            for (from, peer) in geometry.topology().peers(rank).enumerate() {
                let key = sealer.add(&hop_key(&route.secret, run, term, rank, phase, peer));
                if phase == Phase(1) {
                    beats_in.push(key);
                }
                let onward = passed_on.get(phase.index() - 1).map(|lanes| lanes[from]);
                let next = Phase(phase.0 + 1);
                jobs.extend((0..cells).map(|cell| OpenJob {
                    key,
                    cell,
                    from: in_block(from, phase, cell),
                    to: match onward {
                        Some(to) => in_block(to, next, cell),
                        None => {
                            let (message, part) = route.arrivals[from];
                            in_message(message, part, cell)
                        }
                    },
                    under: links.under(phase, from),
                    over: onward.and_then(|to| links.over(next, to)),
                }));
            }
            jobs
        };
        let mut peels = Vec::new();
        for phase in Phase::all(geometry.hops - 1) {
            let jobs = jobs_of(phase, sealer);
            peels.push(sealer.lay_peels(geometry.cell(phase), jobs));
        }
        let last = Phase(geometry.hops);
        let jobs = jobs_of(last, sealer);
        let open = sealer.lay_opens(geometry.cell(last), jobs);
        Self { seal, peels, passed_on, open, beats_out, beats_in }
    }
}

/// The keystreams of a rank's lanes, by phase from the second on, by lane: none between ranks that are not linked.
struct Links {
    outgoing: Vec<Vec<Option<StreamId>>>,
    incoming: Vec<Vec<Option<StreamId>>>,
}

impl Links {
    fn of<S: Sealer>(
        route: &MixedRoute,
        geometry: &Geometry,
        rank: Rank,
        run: &[u8; 32],
        term: Term,
        sealer: &mut S,
    ) -> Self {
        let (mut outgoing, mut incoming) = (Vec::new(), Vec::new());
        for phase in Phase::all(geometry.hops).skip(1) {
            let streams = geometry.topology().peers(rank).zip(&route.links).map(|(peer, link)| {
                link.as_ref().map(|link| {
                    let from = link_key(&route.secret, run, term, rank, peer);
                    (sealer.add_stream(&stream_key(link, phase)), sealer.add_stream(&stream_key(&from, phase)))
                })
            });
            let (to, from) = streams.map(Option::unzip).unzip();
            outgoing.push(to);
            incoming.push(from);
        }
        Self { outgoing, incoming }
    }

    /// What lies over a block that arrives over `lane` in `phase`.
    fn under(&self, phase: Phase, lane: usize) -> Option<StreamId> {
        phase.index().checked_sub(2).and_then(|at| self.incoming[at][lane])
    }

    /// What is laid over a block that leaves over `lane` in `phase`.
    fn over(&self, phase: Phase, lane: usize) -> Option<StreamId> {
        phase.index().checked_sub(2).and_then(|at| self.outgoing[at][lane])
    }
}
