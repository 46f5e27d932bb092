//! A rank's route, laid down as the jobs of a slot: which cell is sealed, peeled and opened, under which key, from
//! where to where (docs/PROTOCOL.md, 8.2, 8.6 and 8.7).

use super::geometry::Geometry;
use super::package::{MixedRoute, hop_key, link_key, stream_key};
use crate::crypto::sealer::{KeyId, OpenBatch, OpenJob, PeelBatch, Place, SealBatch, SealJob, Sealer, StreamId};
use crate::ids::{Phase, Rank, Term};

/// The jobs of a slot. They are the same in every slot of a term, but for the slot's number.
pub struct Onion {
    /// Seals all own cells.
    pub seal: SealBatch,
    /// By phase but the last: peels the cells that are passed on.
    pub peels: Vec<PeelBatch>,
    /// By phase but the last, then by incoming lane: the number of the lane over which its cells go on in the next
    /// phase.
    pub passed_on: Vec<Vec<usize>>,
    /// Opens the cells that arrive in the last phase.
    pub open: OpenBatch,
    /// By lane: the key of the beat that leaves over it.
    pub beats_out: Vec<KeyId>,
    /// By lane: the key of the beat that arrives over it.
    pub beats_in: Vec<KeyId>,
}

impl Onion {
    /// Derives the keys of `rank`, gives all of its keys to `sealer` and lays down the jobs of `term`. `run` is the run
    /// id. The secrets of the route are wiped when this returns.
    pub fn lay<S: Sealer>(
        route: MixedRoute,
        geometry: &Geometry,
        rank: Rank,
        run: &[u8; 32],
        term: Term,
        sealer: &mut S,
    ) -> Self {
        let (cells, payload) = (geometry.cells, geometry.payload as usize);
        // Cell j of a block in phase p stands at j (P + 16 (`hops` + 1 - p)), in phase 1 behind the beat (3.8).
        let in_block = |lane: usize, phase: Phase, cell: u32| Place {
            block: lane,
            offset: geometry.cells_at(phase) + cell as usize * geometry.cell(phase),
        };
        // Cell j of part q of a message stands at (q c + j) P (8.2, 8.7).
        let in_message = |message: u8, part: u16, cell: u32| Place {
            block: usize::from(message),
            offset: (usize::from(part) * cells as usize + cell as usize) * payload,
        };
        // 8.2, Seal: each cell of each own circuit goes under the keys of all its hops, into the block of phase 1 over
        // which the circuit leaves. A beat has the key of its lane in phase 1 (9.1), which is that of the first hop.
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
        // 5.4: `next` names, by phase and incoming lane, the rank to which cells are passed on.
        let passed_on: Vec<Vec<usize>> = route
            .next
            .iter()
            .map(|next| next.iter().map(|peer| geometry.topology().lane(rank, *peer)).collect())
            .collect();
        // One layer of every cell that comes in `phase` is opened under the key of the lane over which it comes (6.2).
        // 8.6, Peel: cell j of a block goes on as cell j of a block of the next phase. A keystream comes off first, and
        // that of the next link goes on (6.10).
        // 8.7, Open: in the last phase it goes to the message and part that `arrivals` says.
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

/// The keystreams of a rank's lanes (docs/PROTOCOL.md, 6.10 and 6.11). There is none between ranks that are not linked.
struct Links {
    /// By phase from the second on, then by lane: what lies over cells that leave.
    outgoing: Vec<Vec<Option<StreamId>>>,
    /// By phase from the second on, then by lane: what lies over cells that arrive.
    incoming: Vec<Vec<Option<StreamId>>>,
}

impl Links {
    /// Derives the keys of the streams from the route's links and secret, and gives them to `sealer` (docs/PROTOCOL.md,
    /// 6.10).
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

    /// The keystream that lies over a block that arrives over `lane` in `phase`, if any.
    fn under(&self, phase: Phase, lane: usize) -> Option<StreamId> {
        phase.index().checked_sub(2).and_then(|at| self.incoming[at][lane])
    }

    /// The keystream to lay over a block that leaves over `lane` in `phase`, if any.
    fn over(&self, phase: Phase, lane: usize) -> Option<StreamId> {
        phase.index().checked_sub(2).and_then(|at| self.outgoing[at][lane])
    }
}
