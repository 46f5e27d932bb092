//! The simulation's figures as a table and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::chance::Chance;
use super::{Kind, Protection, Row};

/// The columns, and their names in JSON.
const COLUMNS: [(&str, &str); 4] = [
    ("see a flow whole", "links_a_flow"),
    ("guess a stage", "guesses_a_stage"),
    ("locate a stage", "locates_a_stage"),
    ("know the order", "knows_the_order"),
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.hosts, self.stage) {
            (1, false) => write!(f, "1 relay"),
            (hosts, false) => write!(f, "{hosts} relays"),
            (1, true) => write!(f, "1 stage"),
            (2, true) => write!(f, "1 stage, 1 relay"),
            (hosts, true) => write!(f, "1 stage, {} relays", hosts - 1),
        }
    }
}

impl Protection {
    /// As JSON.
    pub(in crate::check) fn json(&self) -> Value {
        let row = |row: &Row| {
            let mut value = json!({
                "hosts": row.kind.hosts,
                "with_a_stage": row.kind.stage,
                "candidates_for_a_neighbour": row.candidates,
            });
            for (index, (_, name)) in COLUMNS.iter().enumerate() {
                value[name] = row.chances.map_or(Value::Null, |chances| chances[index].json());
            }
            value
        };
        let domains = self.domains.iter().enumerate();
        let domain = |(index, domain): (usize, &super::Domain)| json!({ "ranks": domain.ranks, "owner": index == 0, "stages": domain.stages });
        json!({
            "plans": self.plans,
            "hosts": domains.map(domain).collect::<Vec<Value>>(),
            "neighbours_on_one_host": self.neighbours_together,
            "blind_guess": self.blind,
            "colluding": self.rows.iter().map(row).collect::<Vec<Value>>(),
        })
    }

    /// Which ranks a host holds, the owner's first: one line where each holds one.
    fn hosts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [owner, others @ ..] = self.domains.as_slice() else {
            return Ok(());
        };
        let name = "trust domains";
        match others.iter().all(|domain| domain.ranks == 1) && owner.ranks == 1 {
            true => {
                let stages = others.iter().map(|domain| domain.stages).sum::<f64>() / others.len().max(1) as f64;
                let hosts = self.domains.len();
                writeln!(
                    f,
                    "{name:<22} {hosts} hosts, a rank each (--hosts names fewer): the owner's, which is trusted;"
                )?;
                writeln!(f, "{:<22} each of the others holds a stage with chance {stages:.2}", "")
            }
            false => {
                writeln!(f, "{name:<22} {} hosts; the owner's is trusted; stages on average", self.domains.len())?;
                let mut from = 0;
                for domain in &self.domains {
                    let (last, stages) = (from + domain.ranks - 1, domain.stages);
                    let holds = if from == 0 {
                        format!("the owner and {stages:.2} stages")
                    } else {
                        format!("{stages:.2} stages")
                    };
                    writeln!(f, "{:<22} {holds}", format!("  ranks {from} to {last}"))?;
                    from = last + 1;
                }
                let together = self.neighbours_together;
                writeln!(f, "{:<22} neighbouring stages share a host with chance {together:.2}", "")
            }
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hosts(f)?;
        let named = COLUMNS.map(|(name, _)| format!("{name:<21}")).concat();
        writeln!(f, "{:<22} {named}candidates", "colluding hosts")?;
        for row in &self.rows {
            let cell = |chance: Chance| format!("{:<21}", chance.to_string());
            let chances =
                row.chances.map_or_else(|| format!("{:<84}", "no such hosts"), |all| all.map(cell).concat());
            let candidates = row.candidates.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.1}"));
            writeln!(f, "{:<22} {chances}{candidates}", format!("  {}", row.kind))?;
        }
        let (plans, blind) = (self.plans, self.blind);
        writeln!(
            f,
            "{:<22} {plans} plans drawn; in brackets 95 % of the error; a blind guess finds a stage with {blind:.2};",
            ""
        )?;
        writeln!(
            f,
            "{:<22} candidates: ranks that may be the neighbour of a colluding stage (docs/PROTECTION.md)",
            ""
        )
    }
}
