//! The hosts that `--hosts` names.

use std::str::FromStr;

/// How ranks are dealt over hosts: in blocks, as launchers do, with the owner on the first host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMapping {
    /// So many hosts, over which ranks are dealt as evenly as can be.
    Evenly(u16),
    /// How many ranks each host has, the owner's host first.
    Ranks(Vec<u16>),
}

impl FromStr for HostMapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.trim().parse() {
            Ok(number @ 1..) => Ok(number),
            _ => Err(format!(
                "\"{text}\" is no number from 1 on; name how many hosts there are, as in --hosts 2, or how many ranks each has, the \
                 owner's host first, as in --hosts 6,1"
            )),
        };
        let mut numbers = text.split(',').map(number).collect::<Result<Vec<u16>, String>>()?;
        match numbers.as_mut_slice() {
            [hosts] => Ok(HostMapping::Evenly(*hosts)),
            _ => Ok(HostMapping::Ranks(numbers)),
        }
    }
}

impl HostMapping {
    /// How many ranks these hosts have in all. `None` where that is not said.
    pub fn ranks(&self) -> Option<u16> {
        match self {
            HostMapping::Evenly(_) => None,
            HostMapping::Ranks(ranks) => Some(ranks.iter().fold(0, |sum, ranks| sum.saturating_add(*ranks))),
        }
    }

    /// How many of `ranks` ranks are on each host. No host is without a rank.
    pub(super) fn over(&self, ranks: u16) -> Vec<u16> {
        match self {
            HostMapping::Evenly(hosts) => {
                let hosts = (*hosts).clamp(1, ranks.max(1));
                // Host h begins where h times the ranks, divided by the number of hosts, is rounded up.
                let begins = |host: u16| (u32::from(host) * u32::from(ranks)).div_ceil(hosts.into()) as u16;
                (0..hosts).map(|host| begins(host + 1) - begins(host)).collect()
            }
            HostMapping::Ranks(ranks) => ranks.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_a_number_or_a_list() {
        let over = |text: &str, ranks| text.parse::<HostMapping>().unwrap().over(ranks);
        assert_eq!(over("3", 9), [3, 3, 3]);
        assert_eq!(over("4", 9), [3, 2, 2, 2]);
        assert_eq!((over("100", 7), over("1", 7)), (vec![1; 7], vec![7]));
        assert_eq!((over("6,1", 7), "6, 1".parse::<HostMapping>().unwrap().ranks()), (vec![6, 1], Some(7)));
        assert_eq!("2".parse::<HostMapping>().unwrap().ranks(), None);
        for wrong in ["", "0", "6,", "6,0", "-1", "a:6", "70000", "6;1"] {
            let error = wrong.parse::<HostMapping>().unwrap_err();
            assert!(error.contains("--hosts 6,1"), "{wrong}: {error}");
        }
    }
}
