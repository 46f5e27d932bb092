//! What a rank says of itself on the owner's terminal and in its files. Whatever it is, it moves no cursor and begins
//! no line.

use super::*;

/// Sets a window's title, clears the screen, goes on in a line that looks like one of ours, and turns the direction of
/// writing.
const FOUL: &str = "\u{1b}]0;x\u{7}\u{9b}2J\r\nmixnn: error\u{202e}\u{200b}";
/// [`FOUL`] as it is shown.
const SHOWN: &str = r"\u{1b}]0;x\u{7}\u{9b}2J\r\nmixnn: error\u{202e}\u{200b}";

#[track_caller]
fn is_shown(text: &str, shown: &str) {
    assert!(text.contains(shown), "no {shown:?} in: {text:?}");
    let obeyed = |c: char| c.is_control() || FOUL.contains(c) && !c.is_ascii();
    assert!(!text.contains(obeyed), "a terminal would obey {text:?}");
}

/// A run in which a rank announces itself with other words than its own.
fn saying(say: fn(&mut Announcement)) -> Cast {
    Cast::new().unguarded().telling(move |_, message| unsigned(announced(&message, say)))
}

#[test]
fn in_notes_and_warnings() {
    let mut lines = Lines::default();
    // The owner warns before the rank finds that it was not heard as it spoke.
    let (_, served) = saying(|announcement| announcement.fingerprint = FOUL.to_owned()).watched(&mut lines);
    assert!(served.is_err());
    is_shown(lines.0.iter().find(|line| line.contains("ranks compute differently")).unwrap(), SHOWN);
    lines.0.iter().for_each(|line| is_shown(line, ""));
}

#[test]
fn in_errors() {
    let error = |cast: Cast| cast.run().0.unwrap_err().to_string();
    is_shown(&error(saying(|announcement| announcement.version = FOUL.to_owned())), SHOWN);
    // This is signed by a rank that the owner knows from another host.
    let mut elsewhere = Cast::new();
    elsewhere.hosts[VICTIM] = FOUL.to_owned();
    let error = error(elsewhere);
    assert!(error.contains("of host host-2"), "{error}");
    is_shown(&error, SHOWN);
    // This is a line of the owner's own trust file, as somebody sent it.
    let mut listed = Cast::new().telling(|_, mut message| {
        *message.last_mut().unwrap() ^= 1;
        message
    });
    let foul = FOUL.replace(char::is_whitespace, "");
    listed.lines[VICTIM] = format!("{} {foul}", listed.identities[VICTIM].public());
    let error = listed.run().0.unwrap_err().to_string();
    assert!(error.contains("is not what"), "{error}");
    is_shown(&error, "mixnn:");
}

#[test]
fn in_results() {
    let mut named = Cast::new().unguarded();
    named.hosts[VICTIM] = FOUL.to_owned();
    let (led, served) = named.run();
    served.unwrap();
    let outcome = led.unwrap();
    // The file of JSON is shown as it stands.
    is_shown(&serde_json::to_string(&outcome).unwrap(), &SHOWN.replace('\\', r"\\"));
}
