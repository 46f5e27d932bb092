//! The simulation's figures as a table in text, and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::draws::DRAWS;
use super::{CoalitionKind, CoalitionRow, Domain, Protection};

/// A larger error than this is told.
const CLOSE: f64 = 0.05;

/// The columns of the table, and their names in JSON.
const COLUMNS: [(&str, &str); 4] = [
    ("see a flow whole", "links_a_flow"),
    ("guess a stage", "guesses_a_stage"),
    ("locate a stage", "locates_a_stage"),
    ("know the order", "knows_the_order"),
];

impl fmt::Display for CoalitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.hosts, self.stage) {
            (1, true) => write!(f, "1, with a stage"),
            (hosts, true) => write!(f, "{hosts}, one with a stage"),
            (hosts, false) => write!(f, "{hosts}, relays alone"),
        }
    }
}

/// Writes a line with its name.
fn line(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "{name:<22} {text}")
}

impl Protection {
    /// All rows of figures, as JSON.
    pub(in crate::check) fn json(&self) -> Value {
        let row = |row: &CoalitionRow| {
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
        let domain = |(index, domain): (usize, &Domain)| json!({ "ranks": domain.ranks, "owner": index == 0, "stages": domain.stages });
        json!({
            "plans": self.plans,
            "hosts": self.domains.iter().enumerate().map(domain).collect::<Vec<Value>>(),
            "neighbours_on_one_host": self.neighbours_together,
            "blind_guess": self.blind,
            "hosts_known": { "guesses_a_stage": self.hosts_known[0], "guesses_the_likeliest": self.hosts_known[1] },
            "colluding": self.rows.iter().map(row).collect::<Vec<Value>>(),
            "draws": self.one_draw.iter().zip(1..).flat_map(|(one, hosts)| DRAWS.map(|draws| {
                let after = one.after(draws);
                json!({ "hosts": hosts, "draws": draws, "stages_held": after.held, "knows_the_order_of_one": after.order })
            })).collect::<Vec<Value>>(),
        })
    }

    /// Writes what each host holds. Where each holds one rank, two lines say that of all.
    fn domains(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [owner, others @ ..] = self.domains.as_slice() else {
            return Ok(());
        };
        let all = self.domains.len();
        if self.domains.iter().all(|domain| domain.ranks == 1) {
            let stages = others.iter().map(|domain| domain.stages).sum::<f64>() / others.len() as f64;
            line(
                f,
                "trust domains",
                &format!("{all} hosts, a rank each (--hosts names fewer): the owner's, which is trusted;"),
            )?;
            return line(f, "", &format!("each of the others holds a stage with chance {stages:.2}, else a relay"));
        }
        line(f, "trust domains", &format!("{all} hosts; the owner's is trusted"))?;
        let last = owner.ranks - 1;
        line(f, &format!("  ranks 0 to {last}"), &format!("the owner, and {:.2} stages on average", owner.stages))?;
        let mut from = owner.ranks;
        for domain in others {
            let name = format!("  ranks {from} to {}", from + domain.ranks - 1);
            line(f, &name, &format!("{:.2} stages on average, else relays", domain.stages))?;
            from += domain.ranks;
        }
        let together = self.neighbours_together;
        line(f, "", &format!("in {together:.2} of the plans stages that follow each other share a host"))
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.domains(f)?;
        let ([mean, most], blind) = (self.hosts_known, self.blind);
        let guess =
            format!("finds a stage with {mean:.2}, the likeliest with {most:.2}; a blind guess with {blind:.2}");
        line(f, "who knows the hosts", &guess)?;
        let named = COLUMNS.map(|(name, _)| format!("{name:<21}")).concat();
        line(f, "colluding hosts", &format!("{named}candidates"))?;
        for row in &self.rows {
            let name = format!("  {}", row.kind);
            let Some(chances) = row.chances else {
                line(f, &name, "there are no such hosts")?;
                continue;
            };
            let chances = chances.map(|chance| format!("{:<21}", chance.to_string())).concat();
            let candidates = row.candidates.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.1}"));
            line(f, &name, &format!("{chances}{candidates}"))?;
        }
        let plans = format!("{} plans drawn; in brackets 95 % of the error;", self.plans);
        line(f, "", &plans)?;
        if self.error() > CLOSE {
            let error = format!("it is up to {:.2}: more cores draw more plans in the same time;", self.error());
            line(f, "", &error)?;
        }
        line(f, "", "candidates: ranks that may stand next to a colluding stage (docs/PROTECTION.md)")?;
        let columns = DRAWS.map(|draws| format!("{:<21}", draws.to_string())).concat();
        line(f, "draws of the plan", columns.trim_end())?;
        for (one, hosts) in self.one_draw.iter().zip(1..) {
            let of = |draws| one.after(draws);
            let columns = DRAWS
                .map(|draws| format!("{:<14}", format!("{:.2}, {:.2}", of(draws).held, of(draws).order)))
                .concat();
            let name =
                if hosts == 1 { "  1 colluding host".to_owned() } else { format!("  {hosts} colluding hosts") };
            line(f, &name, columns.trim_end())?;
        }
        line(
            f,
            "",
            "the part of the stages that they have held, and the chance that they knew the order of one draw;",
        )?;
        line(f, "", "a run that goes on on other hosts draws anew, one on the same hosts does not")
    }
}
