//! What `mixnn check` says of the protection, as a user and a script read it.
#![allow(clippy::unwrap_used)]

mod binary;

use binary::{DIGITS, mixnn};
use serde_json::Value;

fn check(args: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let ran = mixnn(folder.path(), &[&["check", DIGITS, "--json"], args].concat()).well();
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The chance of `what` where `hosts` hosts collude.
#[track_caller]
fn chance(json: &Value, hosts: u64, with_a_stage: bool, what: &str) -> f64 {
    let rows = json["protection"]["colluding"].as_array().unwrap();
    let row = rows.iter().find(|row| row["hosts"] == hosts && row["with_a_stage"] == with_a_stage).unwrap();
    let [low, chance, high] = ["low", "chance", "high"].map(|key| row[what][key].as_f64().unwrap());
    assert!(0.0 <= low && low <= chance && chance <= high && high <= 1.0 && low < high, "{row}");
    chance
}

/// Whether the leak `name` is open, and what closes it.
#[track_caller]
fn leak<'a>(json: &'a Value, name: &str) -> (bool, &'a Value) {
    let leak = json["leaks"].as_array().unwrap().iter().find(|leak| leak["leak"] == name);
    let leak = leak.unwrap_or_else(|| panic!("no {name} in {}", json["leaks"]));
    (leak["open"].as_bool().unwrap(), &leak["closed_by"])
}

#[test]
fn the_more_hosts_collude_the_more_they_find_out() {
    let json = check(&[]);
    assert!(json["protection"]["plans"].as_u64().unwrap() >= 1);
    assert_eq!(json["protection"]["hosts"].as_array().unwrap().len(), 7);
    assert_eq!(json["protection"]["hosts"][0]["owner"], true);
    for stage in [false, true] {
        assert_eq!(chance(&json, 1, stage, "links_a_flow"), 0.0, "no rank alone links others' flows");
        assert!(chance(&json, 3, stage, "links_a_flow") > chance(&json, 1, stage, "links_a_flow"));
        let [one, three] = [1, 3].map(|hosts| chance(&json, hosts, stage, "guesses_a_stage"));
        assert!(three > one, "{one} {three}");
        assert!(chance(&json, 1, stage, "knows_the_order") < 0.1);
    }
    let text = mixnn(tempfile::tempdir().unwrap().path(), &["check", DIGITS]).well().stdout;
    for words in ["colluding hosts", "2, relays alone", "2, one with a stage", "plans drawn", "what else may be read"]
    {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

/// Hosts count, not ranks: the fewer hosts, the more each of them sees.
#[test]
fn ranks_of_one_host_collude() {
    let json = check(&["--ranks", "9", "--hosts", "3"]);
    let ranks: Vec<u64> =
        json["protection"]["hosts"].as_array().unwrap().iter().map(|host| host["ranks"].as_u64().unwrap()).collect();
    assert_eq!(ranks, [3, 3, 3]);
    assert!(chance(&json, 1, true, "links_a_flow") > 0.0);
    let rows = json["protection"]["colluding"].as_array().unwrap();
    assert!(
        rows.iter().filter(|row| row["hosts"] == 3).all(|row| row["links_a_flow"].is_null()),
        "the owner's is no"
    );
    assert!(leak(&json, "hosts").0 && !leak(&check(&["--ranks", "9"]), "hosts").0);
}

/// Who knows how many ranks each host has guesses no stage with more than twice the blind chance; what that costs is said.
#[test]
fn hosts_of_unequal_size_do_not_tell_who_hosts_what() {
    let folder = tempfile::tempdir().unwrap();
    for (hosts, unequal) in [("6,1", true), ("4,3", false), ("7", false)] {
        let json = check(&["--hosts", hosts]);
        let protection = &json["protection"];
        let known = ["guesses_a_stage", "guesses_the_likeliest"];
        let [mean, most] = known.map(|key| protection["hosts_known"][key].as_f64().unwrap());
        let blind = protection["blind_guess"].as_f64().unwrap();
        assert!(blind <= mean + 1e-9 && mean <= most + 1e-9 && most <= 2.0 * blind + 1e-6, "{hosts}: {mean} {most}");
        assert!(!unequal || most > 1.9 * blind, "{hosts}: there is nothing to trade: {most}");
        let words = "hosts of unequal size";
        let warned =
            json["warnings"].as_array().unwrap().iter().any(|warning| warning.as_str().unwrap().contains(words));
        assert_eq!(warned, unequal, "{hosts}: {}", json["warnings"]);
        let text = mixnn(folder.path(), &["check", DIGITS, "--hosts", hosts]).well().stdout;
        assert!(text.contains("who knows the hosts") && text.contains(words) == unequal, "{text}");
    }
    let wrong = mixnn(folder.path(), &["check", DIGITS, "--hosts", "6,1", "--ranks", "8"]);
    wrong.refused(2, &["--hosts has 7 ranks, --ranks 8"]);
    mixnn(folder.path(), &["check", DIGITS, "--hosts", "6,x"]).refused(2, &["--hosts 6,1"]);
}

#[test]
fn without_a_mix_everything_is_linked() {
    for (profile, contents) in [("bare", true), ("sealed", false)] {
        let set = format!("mix.profile={profile}");
        let json = check(&["--set", &set]);
        assert!(json["protection"].is_null());
        assert_eq!(leak(&json, "contents").0, contents);
        let (addresses, closed_by) = leak(&json, "addresses");
        assert!(addresses && closed_by == "mix.profile = \"mixed\"");
        let text = mixnn(tempfile::tempdir().unwrap().path(), &["check", DIGITS, "--set", &set]).well().stdout;
        assert!(text.contains("none: messages go straight to the neighbours"), "{text}");
    }
}

/// A setting that `check` names does close the leak that it names it for.
#[test]
fn what_is_said_to_close_a_leak_closes_it() {
    let open = check(&["--set", "mix.pace=lockstep"]);
    for name in ["messages", "packages", "results"] {
        let (is_open, setting) = leak(&open, name);
        let setting = setting.as_str().unwrap();
        let (key, rest) = setting.split_once(" above ").unwrap();
        let needed: u64 = rest.split_once(':').unwrap().0.parse().unwrap();
        assert!(is_open);
        let with = |bytes: u64| leak(&check(&["--set", &format!("{key}={bytes}")]), name).0;
        assert!(with(needed), "{key} = {needed} changes nothing");
        assert!(!with(needed + 1));
    }
    assert!(leak(&open, "seed").0);
    assert!(!leak(&check(&["--set", "seed=\"seventeen letters\""]), "seed").0);
    for (name, key, closes) in [
        ("times", "mix.pace", "auto"),
        ("times", "mix.pace", "hosts"),
        ("times", "mix.pace", "2ms"),
        ("slots", "mix.depth", "4"),
    ] {
        let (is_open, setting) = leak(&open, name);
        assert!(is_open && setting.as_str().unwrap().starts_with(key), "{name}");
        assert!(!leak(&check(&["--set", &format!("{key}={closes}")]), name).0, "{name}");
    }
    assert!(leak(&check(&["--set", "mix.pace=auto", "--set", "mix.profile=sealed"]), "times").0);
    // By default times are hidden where a network sees them.
    assert!(!leak(&check(&[]), "times").0 && leak(&check(&["--hosts", "1"]), "times").0);
    for name in ["position", "shapes"] {
        let (is_open, setting) = leak(&open, name);
        assert!(is_open && setting.is_null(), "{name}");
    }
    let on_owner = |first: &str, last: &str| {
        let stage = |ops: &str, at: &str| format!("{{ ops = [{ops}], at = \"{at}\" }}");
        let middle = stage("{ op = \"relu\" }, { op = \"linear\", out = 32 }", "rank");
        let last = stage("{ op = \"linear\", out = 10 }", last);
        check(&[
            "--set",
            &format!("stage=[{}, {middle}, {middle}, {last}]", stage("{ op = \"linear\", out = 64 }", first)),
        ])
    };
    for (name, open, closed) in
        [("inputs", ["rank", "owner"], ["owner", "rank"]), ("labels", ["owner", "rank"], ["rank", "owner"])]
    {
        let checked = on_owner(open[0], open[1]);
        let (is_open, setting) = leak(&checked, name);
        assert!(is_open && setting.as_str().unwrap().starts_with("at = \"owner\""), "{name}");
        assert!(!leak(&on_owner(closed[0], closed[1]), name).0, "{name}");
    }
    // A last stage that has the loss is sent what it could otherwise only read off gradients.
    let at_last = check(&["--set", "train.loss_at=last"]);
    let (is_open, setting) = leak(&at_last, "labels");
    assert!(is_open && setting.as_str().unwrap().starts_with("train.loss_at = \"owner\""), "{setting}");
    let folder = tempfile::tempdir().unwrap();
    let trusted = mixnn(folder.path(), &["keygen", "--out", "identity"]).well().stdout;
    let file = folder.path().join("ranks.trust");
    std::fs::write(&file, trusted).unwrap();
    assert!(leak(&open, "identity").0);
    assert!(!leak(&check(&["--set", &format!("trust.ranks={}", file.display())]), "identity").0);
    assert!(!leak(&open, "addresses").0 && !leak(&open, "one relay").0);
}
