//! What someone can put between owner and rank who holds no identity, or only an old message.

use super::*;

#[test]
fn a_package_without_the_owners_signature_is_refused() {
    let altered = |change: fn(&mut [u8])| {
        Cast::new().hearing(move |number, mut message| {
            if number == 1 {
                let behind = message.len() - SIGNED;
                change(&mut message[behind..]);
            }
            message
        })
    };
    rank_refuses(altered(|signature| signature.fill(0)), &["the package from rank 0 is not signed"]);
    for place in [32, 63, 64, 95] {
        let flipped: fn(&mut [u8]) = match place {
            32 => |signature| signature[32] ^= 1,
            63 => |signature| signature[63] ^= 0x80,
            64 => |signature| signature[64] ^= 1,
            _ => |signature| signature[95] ^= 1,
        };
        rank_refuses(altered(flipped), &["the package from rank 0 is not what", "(host host-0) signed for this run"]);
    }
    runs(altered(|signature| signature.fill(0)).unguarded());
    // A package that is not what was signed.
    let spliced = Cast::new().hearing(|number, mut message| {
        if number == 1 {
            message[2000] ^= 1;
        }
        message
    });
    rank_refuses(spliced, &["the package from rank 0 is not what"]);
}

/// Public numbers that no owner of this version says are refused as they are heard: before a package is asked for, and before memory is
/// taken by them.
#[test]
fn an_opening_that_no_owner_says_is_refused_at_once() {
    let altered = |change: fn(&mut Public)| {
        let told = Arc::new(Mutex::new(0));
        let count = Arc::clone(&told);
        let cast = Cast::new().hearing(move |number, message| {
            if number > 0 {
                return message;
            }
            let mut public = public(&message);
            change(&mut public);
            opening::start(public).unwrap().1
        });
        let cast = cast.telling(move |_, message| {
            *count.lock().unwrap() += 1;
            message
        });
        (cast, told)
    };
    let changes: [fn(&mut Public); 3] =
        [|public| public.version.push('x'), |public| public.geometry.ranks += 1, |public| public.timeout = u64::MAX];
    for change in changes {
        let (cast, told) = altered(change);
        rank_refuses(cast, &["the opening from rank 0"]);
        assert_eq!(*told.lock().unwrap(), 0);
    }
    // The control: what is not altered is heard, and the rank asks for its package.
    let (cast, told) = altered(|_| {});
    runs(cast);
    assert!(*told.lock().unwrap() > 0);
}

/// The victim's identity has signed the announcement for another run, term, rank or number of ranks than this run's.
#[test]
fn an_announcement_that_was_signed_for_something_else_is_refused() {
    type Signed = fn(&mut Vec<u8>, &mut Term, &mut Rank, &mut u16);
    let elsewhere = |signed: Signed| {
        let cast = Cast::new();
        let credentials = showing(twin(&cast.identities[VICTIM]));
        let (cast, opening) = cast.heard();
        cast.telling(move |number, message| {
            if number > 0 {
                return message;
            }
            let mut opening = opening.lock().unwrap().clone();
            let (mut term, mut rank, mut ranks) = (Term(0), Rank(VICTIM as u16), 4);
            signed(&mut opening, &mut term, &mut rank, &mut ranks);
            let context = announcement::context(&bound(&opening, term, rank, ranks));
            Peers::new(&credentials).sign(&context, message[..UNSIGNED].to_vec())
        })
    };
    let cases: [Signed; 5] = [
        |opening, _, _, _| opening[20] ^= 1,
        |opening, _, _, _| opening[255] ^= 1,
        |_, term, _, _| term.0 = 1,
        |_, _, rank, _| rank.0 = 3,
        |_, _, _, ranks| *ranks = 5,
    ];
    for case in cases {
        owner_refuses(elsewhere(case), &["the key announcement from rank 2 is not what", "(host host-2) signed"]);
    }
    // The control: signed for this run, term and rank, it is taken. Where nobody asks for identities, all of them are.
    runs(elsewhere(|_, _, _, _| {}));
    owner_refuses(elsewhere(cases[0]).unguarded(), &["not what the identity that it shows has signed"]);
}

/// The announcement was signed for an earlier term of the same run, or for an earlier run of the same ranks.
#[test]
fn an_announcement_that_was_recorded_is_refused() {
    let mut first = Vec::new();
    owner_refuses(
        Cast::new().telling(move |number, message| match number {
            0 => {
                first.clone_from(&message);
                message
            }
            // This has the number of the present term, so that only the signature can tell.
            A_TERM => announced(&first, |announcement| announcement.term = Term(1)),
            _ => message,
        }),
        &["the key announcement from rank 2 is not what"],
    );
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let (tape, identities) = (Arc::clone(&recorded), Cast::new());
    let again: Vec<Identity> = identities.identities.iter().map(twin).collect();
    let lines = identities.lines.clone();
    runs(identities.telling(move |number, message| {
        if number == 0 {
            *tape.lock().unwrap() = message.clone();
        }
        message
    }));
    let replayed = Cast { identities: again, lines, ..Cast::new() };
    let replayed = replayed.telling(move |_, _| recorded.lock().unwrap().clone());
    owner_refuses(replayed, &["the key announcement from rank 2 is not what"]);
}

/// Puts someone between a rank and the owner. They put their own key into the announcement, open the package, and seal
/// it again for the rank, unsigned. Returns the run, and what was read of the package.
fn in_the_middle() -> (Cast, Arc<Mutex<Option<Package>>>) {
    let mut stack = WipedStack::new().unwrap();
    let own = KeyPair::generate(&mut stack);
    let said = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
    let read = Arc::new(Mutex::new(None));
    let (heard, shown, opened) = (Arc::clone(&said), own.public().to_vec(), Arc::clone(&read));
    let mut opening = None;
    let cast = Cast::new()
        .telling(move |number, message| match number {
            0 => {
                let altered = unsigned(announced(&message, |announcement| announcement.key.clone_from(&shown)));
                *heard.lock().unwrap() = [message, altered.clone()];
                altered
            }
            _ => message,
        })
        .hearing(move |number, message| {
            if number == 0 {
                opening = Some(public(&message));
            }
            let Some(public) = opening.as_ref().filter(|_| number == 1) else {
                return message;
            };
            let [theirs, altered] = &*said.lock().unwrap();
            let binding = public.binding(Term(0), Rank(VICTIM as u16), 4);
            let info = |announcement: &[u8]| package::info(&binding, announcement);
            // The owner refuses: what does not open is no package.
            let Ok(plain) = own.open(&mut stack, &info(altered), None, &message[..message.len() - SIGNED]) else {
                return message;
            };
            *opened.lock().unwrap() = unpadded(&plain);
            let key = unpadded::<Announcement>(&theirs[..UNSIGNED]).unwrap().key;
            let again = hpke::seal(&mut stack, &key, &info(theirs), None, &plain).unwrap();
            [again, vec![0; SIGNED]].concat()
        });
    (cast, read)
}

#[test]
fn nobody_gets_between_owner_and_rank() {
    let (cast, read) = in_the_middle();
    owner_refuses(cast, &["the key announcement from rank 2 is not signed"]);
    assert!(read.lock().unwrap().is_none());
    // Where only the rank has a trust file, the owner falls for it, and the rank notices.
    let (mut cast, _) = in_the_middle();
    cast.guarded = [false, true];
    rank_refuses(cast, &["the package from rank 0 is not signed"]);
    // The control: where neither has one, the package is read and nobody notices.
    let (cast, read) = in_the_middle();
    runs(cast.unguarded());
    assert!(read.lock().unwrap().is_some());
}

/// None of the owner's public numbers can be changed on the way: a rank signs what it has heard, and the owner what it
/// has said.
#[test]
fn an_altered_opening_is_refused() {
    let lowered = || {
        Cast::new().hearing(|number, message| {
            if number > 0 {
                return message;
            }
            let mut public = public(&message);
            public.timeout += 1;
            opening::write(&Opening::Start(public)).unwrap()
        })
    };
    owner_refuses(lowered(), &["the key announcement from rank 2 is not what"]);
    // This holds without trust files, too, as long as the rank shows an identity.
    owner_refuses(lowered().unguarded(), &["not what the identity that it shows has signed"]);
}

/// A lower suite or version is refused whether there are trust files or not.
#[test]
fn a_downgraded_suite_or_version_is_refused() {
    type Lower = fn(&mut Announcement);
    let lowered =
        |lower: Lower| Cast::new().unguarded().telling(move |_, message| unsigned(announced(&message, lower)));
    let suites: [Lower; 3] = [
        |announcement| announcement.suite[0] = 0x0020,
        |announcement| announcement.suite[1] = 0x0002,
        |announcement| announcement.suite[2] = 0x0001,
    ];
    for (lower, found) in
        suites.into_iter().zip(["0x0020, 0x0001, 0x0002", "0x647a, 0x0002, 0x0002", "0x647a, 0x0001, 0x0001"])
    {
        owner_refuses(lowered(lower), &["rank 2 announces the suite", found, "expected 0x647a, 0x0001, 0x0002"]);
    }
    owner_refuses(
        lowered(|announcement| announcement.version = "0.0.1".to_owned()),
        &["rank 2 runs mixnn \"0.0.1\""],
    );
    // It is refused, too, where a rank signs it that the owner accepts.
    let mut cast = Cast::new();
    cast.guarded = [true, false];
    let lowered = cast.telling(|_, message| announced(&message, |announcement| announcement.suite[0] = 0x0020));
    owner_refuses(lowered, &["the key announcement from rank 2 is not what"]);
}

/// A weak key is refused whether there are trust files or not.
#[test]
fn a_weak_key_is_refused() {
    let weakened = |weaken: fn(&mut Vec<u8>)| {
        Cast::new().unguarded().telling(move |number, message| match number {
            0 => unsigned(announced(&message, |announcement| weaken(&mut announcement.key))),
            _ => message,
        })
    };
    let words = ["the key that rank 2 announces is refused"];
    owner_refuses(weakened(|key| key[1184..].fill(0)), &[words[0], "X25519 half is a point of low order"]);
    owner_refuses(weakened(|key| key[..1152].fill(0)), &[words[0], "ML-KEM half is zero"]);
    owner_refuses(weakened(|key| key[..3].fill(0xff)), &[words[0], "FIPS 203"]);
    owner_refuses(weakened(Vec::clear), &[words[0], "it has 0 bytes, 1216 were due"]);
    // The control: a sound key is not refused. The run ends because the rank did not announce it.
    rank_refuses(weakened(|_| {}), &["the package from rank 0 failed authentication"]);
}
