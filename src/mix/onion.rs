//! A rank's route, laid down as the jobs of a slot: which cell is sealed, peeled and opened, under which key, from where
//! to where.

use super::geometry::Geometry;
use super::package::{MixedRoute, hop_key, lane, peers};
use crate::crypto::sealer::{KeyId, OpenBatch, OpenJob, PeelBatch, Place, SealBatch, SealJob, Sealer};
use crate::ids::{Epoch, Phase, Rank};

/// The jobs of a slot, the same in every slot of an epoch but for the slot's number.
pub struct Onion {
    /// Seal the own cells.
    pub seal: SealBatch,
    /// By phase but the last: peel what is passed on.
    pub peels: Vec<PeelBatch>,
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
        epoch: Epoch,
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
        let mut jobs_of = |phase: Phase, sealer: &mut S| {
            let mut jobs = Vec::new();
            for (from, peer) in peers(rank, geometry.ranks).enumerate() {
                let key = sealer.add(&hop_key(&route.secret, run, epoch, rank, phase, peer));
                if phase == Phase(1) {
                    beats_in.push(key);
                }
                jobs.extend((0..cells).map(|cell| OpenJob {
                    key,
                    cell,
                    from: in_block(from, phase, cell),
                    to: match route.next.get(phase.index() - 1) {
                        Some(next) => in_block(lane(rank, next[from]), Phase(phase.0 + 1), cell),
                        None => {
                            let (message, part) = route.arrivals[from];
                            in_message(message, part, cell)
                        }
                    },
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
        Self { seal, peels, open, beats_out, beats_in }
    }
}
