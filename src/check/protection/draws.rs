//! What hosts that collude find out over several draws of the plan. A run that goes on on other hosts draws its plan anew, so that the
//! same colluders may hold other stages, and see other circuits.

use rand::Rng;
use rand::seq::IndexedRandom;

use super::coalition::Knowledge;
use super::orders::PossibleOrders;
use crate::ids::{Rank, RankSet};
use crate::mix::plan::Plan;

/// The numbers of draws that are reckoned with.
pub(super) const DRAWS: [u32; 4] = [1, 2, 4, 8];
/// How many hosts collude: up to so many.
pub(super) const MOST_HOSTS: usize = 3;
/// How many coalitions of each size are played on a plan.
const COALITIONS: usize = 4;

/// What a coalition of some hosts has of one plan, on average over coalitions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OneDraw {
    /// The share of the stages that its ranks hold, and so know.
    pub(super) held: f64,
    /// The chance that it knows who hosts which stage, apart from the direction of the order.
    pub(super) order: f64,
}

impl OneDraw {
    /// What coalitions of `hosts` hosts have of `plan`, whoever is on them. The owner's host is not among them. `None` where there are not
    /// so many others.
    pub(super) fn on(plan: &Plan, domains: &[u32], hosts: usize, rng: &mut impl Rng) -> Option<Self> {
        let mut others: Vec<u32> = domains.iter().copied().filter(|host| *host != domains[0]).collect();
        others.dedup();
        let played = |rng: &mut _| {
            let chosen: Vec<u32> = others.sample(rng, hosts).copied().collect();
            let colluders: RankSet =
                Rank::all(plan.ranks).filter(|rank| chosen.contains(&domains[rank.index()])).collect();
            let stages = &plan.roles.hosts;
            let held = stages.iter().filter(|rank| colluders.contains(**rank)).count();
            let is_known = PossibleOrders::fitting(&Knowledge::of(plan, colluders), rng).is(stages);
            Self { held: held as f64 / stages.len() as f64, order: f64::from(u8::from(is_known)) }
        };
        (hosts <= others.len()).then(|| Self::mean((0..COALITIONS).map(|_| played(rng))))
    }

    /// The mean of `all`.
    pub(super) fn mean(all: impl ExactSizeIterator<Item = Self>) -> Self {
        let part = 1.0 / all.len().max(1) as f64;
        all.fold(Self::default(), |sum, one| Self {
            held: sum.held + part * one.held,
            order: sum.order + part * one.order,
        })
    }

    /// What `draws` draws come to: the share of the stages that the coalition has held in one of them, and the chance that it has known the
    /// order in one of them.
    ///
    /// A draw tells nothing of another one. Colluders who hold the same hosts in all draws learn no more than that, and less where these
    /// are smaller or larger than others.
    pub(super) fn after(self, draws: u32) -> Self {
        let once = |chance: f64| 1.0 - (1.0 - chance).powi(draws as i32);
        Self { held: once(self.held), order: once(self.order) }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn hosts_hold_their_share_of_the_stages() {
        let domains = [0, 1, 2, 3, 4, 5, 6];
        let mut rng = StdRng::seed_from_u64(7);
        let plan = Plan::draw(3, 3, &domains, &mut rng).unwrap();
        let mut on = |hosts: usize| OneDraw::on(&plan, &domains, hosts, &mut rng);
        let one = OneDraw::mean((0..100).map(|_| on(1).unwrap()).collect::<Vec<_>>().into_iter());
        assert!((one.held - 1.0 / 6.0).abs() < 0.08, "{one:?}");
        assert_eq!(one.order, 0.0, "one host alone does not know the order");
        let all = on(6).unwrap();
        assert_eq!([all.held, all.order], [1.0, 1.0]);
        assert!(on(7).is_none());
    }

    #[test]
    fn draws_add_up() {
        let one = OneDraw { held: 0.25, order: 0.5 };
        let after = DRAWS.map(|draws| one.after(draws));
        assert_eq!([after[0].held, after[0].order], [0.25, 0.5]);
        assert_eq!([after[1].held, after[1].order], [0.4375, 0.75]);
        assert!(after.windows(2).all(|pair| pair[0].held < pair[1].held));
        assert_eq!(OneDraw::default().after(8).order, 0.0);
    }
}
