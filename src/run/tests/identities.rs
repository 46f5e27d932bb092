//! Who is accepted: identities, hosts, and what a trust file asks of them.

use super::*;

#[test]
fn trust_on_both_sides_changes_no_bit() {
    let reference = runs(Cast::new().unguarded());
    assert_eq!(runs(Cast::new()), reference);
    for guarded in [[true, false], [false, true]] {
        assert_eq!(runs(Cast { guarded, ..Cast::new() }), reference, "{guarded:?}");
    }
}

#[test]
fn a_rank_that_no_line_names_is_refused() {
    let stranger = || {
        let mut cast = Cast::new();
        cast.identities[VICTIM] = Identity::generate().unwrap();
        cast
    };
    let shown = stranger();
    let key = shown.identities[VICTIM].public().to_string();
    owner_refuses(shown, &["rank 2 shows the identity", &key, "trusted does not list"]);
    runs(stranger().unguarded());
}

#[test]
fn a_rank_that_shows_no_identity_is_refused() {
    let silent = || {
        Cast::new().telling(|_, mut message| {
            let signed = message.len() - SIGNED;
            if message.len() == announcement::LENGTH {
                message[signed..].fill(0);
            }
            message
        })
    };
    owner_refuses(silent(), &["the key announcement from rank 2 is not signed", "mixnn keygen"]);
    // The owner takes a message without an identity. But the rank has shown one, and notices.
    rank_refuses(silent().unguarded(), &["the package from rank 0 failed authentication"]);
}

#[test]
fn a_rank_on_a_host_that_is_not_its_own_is_refused() {
    let moved = || {
        let mut cast = Cast::new();
        cast.hosts[VICTIM] = "elsewhere".to_owned();
        cast
    };
    owner_refuses(moved(), &["rank 2 runs on host \"elsewhere\" with the identity of host host-2"]);
    runs(moved().unguarded());
}

#[test]
fn an_owner_that_no_line_names_is_refused() {
    let other = || {
        let mut cast = Cast::new();
        cast.identities[OWNER] = Identity::generate().unwrap();
        cast
    };
    rank_refuses(other(), &["rank 0 shows the identity", "trusted does not list"]);
    runs(other().unguarded());
}

#[test]
fn a_rank_stays_who_it_is() {
    let replaced = || {
        // Rank 3 has an identity that the owner accepts; from the second term on rank 2 shows that one.
        let mut cast = Cast::new();
        let credentials = showing(twin(&cast.identities[3]));
        cast.lines[3] = cast.lines[3].replace("host-3", "host-2");
        cast.hosts[3] = "host-2".to_owned();
        let (cast, opening) = cast.heard();
        cast.telling(move |number, message| {
            if number != A_TERM {
                return message;
            }
            let context = announcement::context(&bound(&opening.lock().unwrap(), Term(1), Rank(VICTIM as u16), 4));
            Peers::new(&credentials).sign(&context, message[..UNSIGNED].to_vec())
        })
    };
    owner_refuses(replaced(), &["rank 2 shows the identity", "a run's ranks stay who they are"]);
    // Without trust files the owner does not keep account of identities. But the rank notices that its words were
    // changed.
    rank_refuses(replaced().unguarded(), &["the package from rank 0 failed authentication"]);
}

#[test]
fn domains_follow_identities() {
    let identities: Vec<Identity> = (0..3).map(|_| Identity::generate().unwrap()).collect();
    let lines: Vec<String> = identities.iter().map(|one| format!("{} host", one.public())).collect();
    let own = twin(&identities[0]);
    let trust = Trust::parse(Path::new("trusted"), &lines.join("\n")).unwrap();
    let guarded = Credentials { identity: Some(own), trust: Some(trust) };
    let mut peers = Peers::new(&guarded);
    // Rank 1 has the owner's identity, ranks 2 and 3 share one, rank 4 has another.
    for (rank, which) in [(1, 0), (2, 1), (3, 1), (4, 2)] {
        let shown = showing(twin(&identities[which]));
        let signed = Peers::new(&shown).sign(b"context", b"message".to_vec());
        // A message has one length, signed or not.
        assert_eq!(signed.len(), Peers::new(&Credentials::default()).sign(b"context", b"message".to_vec()).len());
        let message = peers.recognise("it", Rank(rank), b"context", &signed).unwrap();
        assert_eq!(message, b"message");
    }
    let hosts = ["host"; 5];
    assert_eq!(peers.domains(hosts.into_iter()), [0, 0, 1, 1, 2]);
    // Without a trust file the domains follow the hosts' names.
    let open = Credentials::default();
    assert_eq!(Peers::new(&open).domains(["a", "b", "a", "c", "b"].into_iter()), [0, 1, 0, 2, 1]);
}

/// Where hosts of unequal size keep stages together, the owner's user is warned. Where they do not, there is no
/// warning.
#[test]
fn hosts_of_unequal_size_are_warned_of() {
    let sets = ["train.epochs=1", "data.validation=0.95"].map(str::to_owned);
    let job = Job::parse("digits.toml", include_str!("../../../jobs/digits.toml"), &sets).unwrap();
    let prepared = Prepared::of(job).unwrap();
    let honest = || -> Change { Box::new(|_, message| message) };
    for (hosts, unequal) in [("aaaaaab", true), ("aaaabbb", false), ("aaaaaaa", false), ("abcdefg", false)] {
        let hosts: Vec<String> = hosts.chars().map(String::from).collect();
        let credentials: Vec<Credentials> = hosts.iter().map(|_| Credentials::default()).collect();
        let mut warned = Lines::default();
        let (led, served) = play(&prepared, &hosts, &credentials, honest(), honest(), &mut warned);
        assert!(led.is_ok() && served.is_ok());
        let said = warned.0.iter().any(|line| line.starts_with("warning: hosts of unequal size"));
        assert_eq!(said, unequal, "{hosts:?}: {:?}", warned.0);
    }
}

/// No label is the beginning of another one, and every field but the last has a known length.
#[test]
fn what_is_signed_is_unambiguous() {
    let binding = Binding { run: &[6; 32], opening: &[7; 32], term: Term(1), rank: Rank(2), ranks: 4 };
    let announcement = announcement::context(&binding);
    let package = package::context(&binding, &[9; 1216]);
    assert_eq!((announcement.len(), package.len()), (20 + 32 + 4 + 2 + 2, 15 + 32 + 4 + 2 + 2 + 32));
    assert_ne!(announcement[..15], package[..15]);
    assert_ne!(package, package::context(&binding, &[8; 1216]));
}

#[test]
fn short_messages_are_refused() {
    let identity = Identity::generate().unwrap();
    let trust = Trust::parse(Path::new("trusted"), &format!("{} host", identity.public())).unwrap();
    let guarded = Credentials { identity: None, trust: Some(trust) };
    for length in [0, 1, SIGNED - 1] {
        let message = vec![1; length];
        let found = Peers::new(&guarded).recognise("it", Rank(1), b"", &message);
        assert!(matches!(found, Err(TrustError::Unsigned { .. })), "{length}");
    }
}
