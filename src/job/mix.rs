//! `[mix]`: how messages travel between ranks, and how much of that is protected.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::duration::duration;
use super::section::Section;
use super::table::{JobTable, table};
use super::{JobError, MOST_RANKS};
use crate::float::Float;

/// The shortest slot of a pace, `mix.pace`: 20 microseconds.
pub const SHORTEST_SLOT: Duration = Duration::from_micros(20);
/// The longest slot of a pace, `mix.pace`: an hour.
pub const LONGEST_SLOT: Duration = Duration::from_secs(3600);
/// How many slots of a pace must fit into `transport.timeout`.
pub const SLOTS_OF_TIMEOUT: u32 = 4;

/// `[mix]`: how messages travel between ranks, and how much of that is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// `mix.profile`: how much of a message's journey is protected. `mixed` by default.
    pub profile: Profile,
    /// `mix.relays`: the fewest ranks that host no stage, from 0 to 62. 3 by default.
    pub relays: u16,
    /// `mix.hops`: the hops of a circuit, 3 or 4. 3 by default.
    pub hops: u8,
    /// `mix.cell`: the most bytes of a cell, from 128 to 2^24. 65,536 by default.
    pub cell: u32,
    /// `mix.depth`: for how many stages the job's stages pass, as far as slots tell. 0, the default: for as many as there are.
    /// Otherwise at least as many as stand on ranks, up to 511.
    pub depth: u16,
    /// `mix.pace`: when slots begin. `hosts` by default. Only the profile `mixed` has a pace.
    pub pace: Pace,
    /// `mix.link`: between which ranks the cells that relays pass on are encrypted once more. `hosts` by default. Only under the
    /// profile `mixed` cells are passed on.
    pub link: LinkEncryption,
    /// `mix.wire`: the format in which activations and gradients travel. `f32` by default.
    pub wire: Float,
    /// `mix.message`: the fewest bytes of a message, up to 2^30. 0, the default: as many as the job needs. Equal lengths make two
    /// models look alike.
    pub message: u32,
    /// `mix.package`: the fewest bytes of the package that a rank gets before the run, up to 2^30. 0, the default: as many as the
    /// job needs.
    pub package: u32,
    /// `mix.result`: the fewest bytes of the result that a rank gives after the run, up to 2^40. 0, the default: as many as the job
    /// needs.
    pub result: u64,
    /// `mix.state`: the fewest bytes of the state that a rank gives for a checkpoint, up to 2^40. 0, the default: as many as the job
    /// needs.
    pub state: u64,
}

impl JobTable for Mix {
    const KEY: &'static str = "mix";

    fn read(section: &Section<'_>) -> Result<Self, JobError> {
        let mix = Self {
            profile: section
                .choice("profile", &Profile::ALL.map(|profile| (profile.name(), profile)))?
                .unwrap_or(Profile::Mixed),
            relays: section.integer("relays", 0..=i64::from(MOST_RANKS) - 2)?.unwrap_or(3),
            hops: section.integer("hops", 3..=4)?.unwrap_or(3),
            // A payload of at least 16 bytes, its tags, and room to hold a 64-byte header in a few cells.
            cell: section.integer("cell", 128..=1 << 24)?.unwrap_or(1 << 16),
            depth: section.integer("depth", 0..=i64::from(MOST_RANKS) - 1)?.unwrap_or(0),
            pace: Pace::read(section)?,
            link: section
                .choice("link", &LinkEncryption::ALL.map(|link| (link.name(), link)))?
                .unwrap_or(LinkEncryption::Hosts),
            wire: section.choice("wire", &Float::ALL)?.unwrap_or_default(),
            message: section.integer("message", 0..=1 << 30)?.unwrap_or(0),
            package: section.integer("package", 0..=1 << 30)?.unwrap_or(0),
            result: section.integer("result", 0..=1 << 40)?.unwrap_or(0),
            state: section.integer("state", 0..=1 << 40)?.unwrap_or(0),
        };
        section.finish()?;
        Ok(mix)
    }

    fn write(&self) -> Table {
        table([
            ("profile", self.profile.name().into()),
            ("relays", i64::from(self.relays).into()),
            ("hops", i64::from(self.hops).into()),
            ("cell", i64::from(self.cell).into()),
            ("depth", i64::from(self.depth).into()),
            ("pace", self.pace.to_string().into()),
            ("link", self.link.name().into()),
            ("wire", self.wire.name().into()),
            ("message", i64::from(self.message).into()),
            ("package", i64::from(self.package).into()),
            ("result", i64::try_from(self.result).unwrap_or(i64::MAX).into()),
            ("state", i64::try_from(self.state).unwrap_or(i64::MAX).into()),
        ])
    }
}

/// `mix.profile`: how much of a message's journey is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// `bare`: neighbours send to each other directly, and nothing is sealed or padded. The baseline.
    Bare,
    /// `sealed`: neighbours send to each other directly, in messages of fixed length under AES-256-GCM, without cover.
    Sealed,
    /// `mixed`: messages travel over relays, as onion-encrypted cells of fixed length, and every circuit carries cover.
    Mixed,
}

impl Profile {
    /// All profiles, in the order in which errors list them.
    const ALL: [Self; 3] = [Self::Mixed, Self::Sealed, Self::Bare];

    /// The word for the profile in a job.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Sealed => "sealed",
            Self::Mixed => "mixed",
        }
    }
}

/// `mix.pace`: when slots begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// `hosts`: as `auto` where the ranks stand on several hosts, and as `lockstep` where they stand on one, so that no network sees times.
    Hosts,
    /// `lockstep`: a slot begins when its ranks are ready. Times then show who computes.
    Lockstep,
    /// `auto`: in each slot all ranks have the same time for their work, whatever they have to do. The owner chooses it.
    Auto,
    /// In each slot all ranks have this time for their work: from 20 microseconds to an hour.
    Work(Duration),
    /// Slots begin at fixed times, this far apart: from 20 microseconds to an hour.
    Slots(Duration),
}

impl Pace {
    /// What it comes to for ranks on `one_host`, or on several.
    pub fn among(self, one_host: bool) -> Self {
        match self {
            Self::Hosts if one_host => Self::Lockstep,
            Self::Hosts => Self::Auto,
            pace => pace,
        }
    }

    /// Reads `mix.pace`.
    ///
    /// # Errors
    /// [`JobError::Value`] where it is neither a word for a pace nor the time of a slot.
    fn read(section: &Section<'_>) -> Result<Self, JobError> {
        const PACE: &str = "\"hosts\", \"auto\", \"lockstep\", the time of a slot such as \"2ms\", or the time for work in it such as \"work 500us\", from \"20us\" to \"1h\"";
        match section.text("pace", PACE)? {
            None | Some("hosts") => Ok(Self::Hosts),
            Some("lockstep") => Ok(Self::Lockstep),
            Some("auto") => Ok(Self::Auto),
            Some(text) => {
                let (kind, time): (fn(Duration) -> Self, _) = match text.strip_prefix("work ") {
                    Some(time) => (Self::Work, time),
                    None => (Self::Slots, text),
                };
                match duration(time, Duration::from_micros(1)) {
                    Some(time) if (SHORTEST_SLOT..=LONGEST_SLOT).contains(&time) => Ok(kind(time)),
                    _ => Err(section.unfit("pace", format!("{text:?}"), PACE)),
                }
            }
        }
    }
}

impl fmt::Display for Pace {
    /// Writes the pace as a job has it: a word, or the time of a slot in microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts => f.write_str("hosts"),
            Self::Lockstep => f.write_str("lockstep"),
            Self::Auto => f.write_str("auto"),
            Self::Work(work) => write!(f, "work {}us", work.as_micros()),
            Self::Slots(slot) => write!(f, "{}us", slot.as_micros()),
        }
    }
}

/// `mix.link`: between which ranks the cells that relays pass on are encrypted once more, under a keystream that those two ranks
/// alone know. Without it, who sees the network and one of the ranks finds cells again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEncryption {
    /// `hosts`: cells are encrypted once more between ranks of different hosts.
    Hosts,
    /// `all`: cells are encrypted once more between all ranks, those of one host too.
    All,
    /// `off`: cells are not encrypted once more. For networks that encrypt by themselves.
    Off,
}

impl LinkEncryption {
    /// All choices, in the order in which errors list them.
    const ALL: [Self; 3] = [Self::Hosts, Self::All, Self::Off];

    /// The word for the choice in a job.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::All => "all",
            Self::Off => "off",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{JOB, parse, refused};

    #[test]
    fn every_key_has_its_default_and_is_written_as_it_is_read() {
        let due = Mix {
            profile: Profile::Mixed,
            relays: 3,
            hops: 3,
            cell: 65_536,
            depth: 0,
            pace: Pace::Hosts,
            link: LinkEncryption::Hosts,
            wire: Float::F32,
            message: 0,
            package: 0,
            result: 0,
            state: 0,
        };
        assert_eq!(parse(JOB, &[]).unwrap().mix, due);
        let due = Mix {
            profile: Profile::Sealed,
            relays: 5,
            hops: 4,
            cell: 128,
            depth: 7,
            pace: Pace::Auto,
            link: LinkEncryption::All,
            wire: Float::Bf16,
            message: 1,
            package: 2,
            result: 1 << 40,
            state: 3,
        };
        let keys = "mix={ profile = \"sealed\", relays = 5, hops = 4, cell = 128, depth = 7, pace = \"auto\", link = \"all\", \
                    wire = \"bf16\", message = 1, package = 2, result = 1099511627776, state = 3 }";
        let job = parse(JOB, &[keys]).unwrap();
        assert_eq!(job.mix, due);
        assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job);
    }

    #[test]
    fn what_is_out_of_its_range_is_refused() {
        for (set, words) in [
            ("mix.profile=open", "expected \"mixed\" or \"sealed\" or \"bare\""),
            ("mix.relays=511", "from 0 to 510"),
            ("mix.hops=2", "from 3 to 4"),
            ("mix.cell=127", "from 128 to 16777216"),
            ("mix.depth=512", "from 0 to 511"),
            ("mix.link=none", "expected \"hosts\" or \"all\" or \"off\""),
            ("mix.wire=f64", "expected \"f32\" or \"bf16\" or \"f16\""),
            ("mix.message=-1", "from 0 to 1073741824"),
            ("mix.package=1073741825", "from 0 to 1073741824"),
            ("mix.result=1099511627777", "from 0 to 1099511627776"),
            ("mix.state=1099511627777", "from 0 to 1099511627776"),
            ("mix.relay=1", "did you mean `relays`?"),
        ] {
            let found = refused(JOB, &[set]);
            assert!(found.starts_with(&format!("--set {set}: ")) && found.contains(words), "{found}");
        }
    }

    #[test]
    fn a_pace_is_a_word_or_the_time_of_a_slot() {
        let us = |us| Pace::Slots(Duration::from_micros(us));
        let read = [
            ("hosts", Pace::Hosts),
            ("lockstep", Pace::Lockstep),
            ("auto", Pace::Auto),
            ("2ms", us(2000)),
            ("0.05ms", us(50)),
            ("work 2ms", Pace::Work(Duration::from_millis(2))),
        ];
        for (written, pace) in read.into_iter().chain([("1h", us(3_600_000_000)), ("20us", us(20))]) {
            let job = parse(JOB, &["transport.timeout=9h", &format!("mix.pace=\"{written}\"")]).unwrap();
            assert_eq!(job.mix.pace, pace, "{written}");
            assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job, "{written}");
        }
        for written in ["fast", "", "19us", "2h", "-1ms", "2"] {
            assert!(refused(JOB, &[&format!("mix.pace=\"{written}\"")]).contains("mix.pace"), "{written}");
        }
        assert_eq!([true, false].map(|one| Pace::Hosts.among(one)), [Pace::Lockstep, Pace::Auto]);
        for pace in [Pace::Lockstep, Pace::Auto, us(20)] {
            assert_eq!([true, false].map(|one| pace.among(one)), [pace; 2]);
        }
    }
}
