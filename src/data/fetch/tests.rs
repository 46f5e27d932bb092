//! Two tiny originals stand for MNIST's four files. Their digests are the examples of FIPS 180-2, appendix B.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::Command,
    thread,
};

use tempfile::{TempDir, tempdir};

use super::download::{MIRRORS, TOOLS, Tool};
use super::*;
use crate::data::error::CIFAR10_HOME;

const ABC: &[u8] = b"abc";
const LONG: &[u8] = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

const DIGESTS: [&str; 2] = [
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
];

static TINY: [Original; 2] = [
    Original { name: "abc", bytes: 3, proof: Proof::Sha256(DIGESTS[0]) },
    Original { name: "long", bytes: 56, proof: Proof::Sha256(DIGESTS[1]) },
];

fn from_local(to: &TempDir, from: &Path) -> (Result<Vec<Fetched>, DataError>, Vec<String>) {
    let mut said = Vec::new();
    let result = fetch(&TINY, to.path(), FetchFrom::Local(from), &mut |line| said.push(line.to_owned()));
    (result, said)
}

fn holds_both(to: &TempDir) -> bool {
    let names = fs::read_dir(to.path()).unwrap().count();
    names == 2 && fs::read(to.path().join("abc")).unwrap() == ABC && fs::read(to.path().join("long")).unwrap() == LONG
}

fn put(dir: &TempDir, path: &str, bytes: &[u8]) {
    let path = dir.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A tar archive of `members`: their names and contents.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Starts a server on this machine, and returns its address. It answers requests one by one with what `answer` makes of the
/// path; `None` is a 404.
fn server(answer: fn(&str) -> Option<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/mnist/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let (status, body) = match answer(request.split(' ').nth(1).unwrap()) {
                Some(body) => ("200 OK", body),
                None => ("404 Not Found", Vec::new()),
            };
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())
                .unwrap();
            // A client that has enough goes away, which is no error.
            let _ = stream.write_all(&body);
        }
    });
    address
}

/// The tools that this machine has, without their options for HTTPS and past any proxy. If `MIXNN_DOWNLOAD` is `required`, all
/// must be there.
fn installed() -> Vec<Tool> {
    let past_proxies: [&[&str]; 2] = [&["--noproxy", "*"], &["--no-proxy"]];
    let tools = TOOLS.into_iter().zip(past_proxies).map(|(tool, https)| Tool { https, ..tool });
    let (here, absent): (Vec<Tool>, Vec<Tool>) = tools.partition(is_here);
    let is_required = std::env::var_os("MIXNN_DOWNLOAD").is_some_and(|word| word == "required");
    for tool in absent {
        assert!(!is_required, "no {} here", tool.name);
        eprintln!("no {} here: not tried", tool.name);
    }
    here
}

fn is_here(tool: &Tool) -> bool {
    Command::new(tool.name).arg("--version").output().is_ok()
}

fn from_mirrors(tools: &[Tool], to: &TempDir, addresses: &[&str]) -> (Result<Vec<Fetched>, DataError>, Vec<String>) {
    let mut said = Vec::new();
    let result =
        fetch(&TINY, to.path(), FetchFrom::Mirrors { tools, addresses }, &mut |line| said.push(line.to_owned()));
    (result, said)
}

fn good(path: &str) -> Option<Vec<u8>> {
    match path {
        "/mnist/abc.gz" => Some(gzip::pack(ABC)),
        "/mnist/long.gz" => Some(gzip::pack(LONG)),
        _ => None,
    }
}

#[test]
fn the_mnist_table_names_the_files_that_are_loaded() {
    assert_eq!(MNIST.each_ref().map(|original| original.name), FILES);
    assert!(MNIST.iter().all(|original| matches!(original.proof, Proof::Sha256(digest) if digest.len() == 64)));
}

#[test]
fn a_folder_is_searched_plain_and_gzipped_and_files_are_written_plain() {
    let (from, to) = (tempdir().unwrap(), tempdir().unwrap());
    put(&from, "a/b/abc.gz", &gzip::pack(ABC));
    put(&from, "long", LONG);
    let (result, _) = from_local(&to, from.path());
    let fetched = result.unwrap();
    assert_eq!(fetched.iter().map(|file| (file.name, file.bytes)).collect::<Vec<_>>(), [("abc", 3), ("long", 56)]);
    assert_eq!(fetched[1].sha256, DIGESTS[1]);
    assert!(holds_both(&to));
    // Readable for everybody whom the umask lets, like a file that any program makes.
    let other = to.path().join("other");
    fs::write(&other, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&to.path().join("abc")), mode(&other));
}

#[test]
fn an_archive_holds_them_anywhere() {
    let members: [(&str, &[u8]); 3] =
        [("package/readme.md", b"hello"), ("package/data/abc", ABC), ("long.gz", &gzip::pack(LONG))];
    for bytes in [tar(&members), gzip::pack(&tar(&members))] {
        let (from, to) = (tempdir().unwrap(), tempdir().unwrap());
        put(&from, "archive", &bytes);
        from_local(&to, &from.path().join("archive")).0.unwrap();
        assert!(holds_both(&to));
    }
}

#[test]
fn what_is_there_is_kept_and_the_source_not_asked() {
    let to = tempdir().unwrap();
    put(&to, "abc", ABC);
    put(&to, "long", LONG);
    let (result, said) = from_local(&to, Path::new("/nowhere"));
    assert_eq!(result.unwrap().len(), 2);
    assert!(said.len() == 2 && said.iter().all(|line| line.contains("kept")), "{said:?}");
    // The control: if one file is missing, the source is asked.
    fs::remove_file(to.path().join("abc")).unwrap();
    assert!(matches!(from_local(&to, Path::new("/nowhere")).0, Err(DataError::Io { action: "read", .. })));
}

#[test]
fn another_file_of_that_name_is_never_overwritten() {
    let (from, to) = (tempdir().unwrap(), tempdir().unwrap());
    put(&from, "abc", ABC);
    put(&from, "long", LONG);
    put(&to, "long", b"mine");
    let error = from_local(&to, from.path()).0.unwrap_err();
    assert!(matches!(&error, DataError::Digest { remedy, .. } if remedy.contains("left as it is")), "{error}");
    assert_eq!(fs::read(to.path().join("long")).unwrap(), b"mine");
}

/// Two fetches into one folder at once: the later one finds a file where there was none.
#[test]
fn a_file_that_has_come_to_be_there_meanwhile_is_kept() {
    let to = tempdir().unwrap();
    put(&to, "abc", ABC);
    put(&to, "long", b"mine");
    let mut said = Vec::new();
    let kept = TINY[0].write(to.path(), ABC, &mut |line| said.push(line.to_owned())).unwrap();
    assert_eq!((kept.bytes, said.len()), (3, 1));
    assert!(said[0].contains("kept"), "{said:?}");
    let error = TINY[1].write(to.path(), LONG, &mut |_| {}).unwrap_err();
    assert!(matches!(error, DataError::Digest { .. }), "{error}");
    assert_eq!(fs::read(to.path().join("long")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 2, "something was left behind");
}

#[test]
fn a_wrong_digest_is_told_and_nothing_written() {
    let (from, to) = (tempdir().unwrap(), tempdir().unwrap());
    put(&from, "abc", b"abd");
    put(&from, "long", LONG);
    let message = from_local(&to, from.path()).0.unwrap_err().to_string();
    for part in [&from.path().join("abc").display().to_string(), "a52d159f", DIGESTS[0]] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    // A second file of that name, further down, is the original. It is found and taken.
    put(&from, "z/abc", ABC);
    from_local(&to, from.path()).0.unwrap();
    assert!(holds_both(&to));
}

#[test]
fn a_source_without_the_files_says_so() {
    let (from, to) = (tempdir().unwrap(), tempdir().unwrap());
    put(&from, "abc", ABC);
    put(&from, "1/2/3/4/5/6/7/8/9/long", LONG);
    let error = from_local(&to, from.path()).0.unwrap_err();
    assert!(matches!(error, DataError::NotInSource { name: "long", .. }), "{error}");
    put(&from, "1/2/3/4/5/6/7/8/long", LONG);
    from_local(&to, from.path()).0.unwrap();

    let to = tempdir().unwrap();
    put(&from, "text", &[b'x'; 2000]);
    assert!(matches!(from_local(&to, &from.path().join("text")).0, Err(DataError::BadArchive { .. })));
    let packed = gzip::pack(&tar(&[("abc", ABC), ("long", LONG)]));
    put(&from, "cut.tgz", &packed[..packed.len() / 2]);
    assert!(matches!(from_local(&to, &from.path().join("cut.tgz")).0, Err(DataError::BadArchive { .. })));
}

#[test]
fn every_tool_downloads_from_a_mirror() {
    for tool in installed() {
        let to = tempdir().unwrap();
        let (result, said) = from_mirrors(&[tool], &to, &[&server(good)]);
        assert_eq!(result.unwrap().len(), 2);
        assert!(holds_both(&to));
        assert!(said[0].contains("downloading http://127.0.0.1"), "{said:?}");
    }
}

#[test]
fn a_mirror_that_lacks_damages_or_forges_a_file_is_followed_by_the_next() {
    let absent = server(|_| None);
    let damaged = server(|path| good(path).map(|bytes| bytes[..bytes.len() - 9].to_vec()));
    let forged = server(|_| Some(gzip::pack(b"forged")));
    let endless = server(|_| Some(vec![0; 1 << 20]));
    for tool in installed() {
        for (bad, why) in
            [(&absent, "404"), (&damaged, ".gz"), (&forged, DIGESTS[0]), (&endless, "more than the 1027 bytes")]
        {
            let to = tempdir().unwrap();
            let (result, said) = from_mirrors(&[tool], &to, &[bad, &server(good)]);
            result.unwrap();
            assert!(holds_both(&to));
            assert!(said[1].contains(why), "{}: {said:?}", tool.name);
        }
        let to = tempdir().unwrap();
        let message = from_mirrors(&[tool], &to, &[&absent, &forged]).0.unwrap_err().to_string();
        for part in [absent.as_str(), "404", forged.as_str(), DIGESTS[0], "--from"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    }
}

#[test]
fn no_mirror_within_reach_is_told_with_the_way_out() {
    // The port was bound and given back, so nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("http://127.0.0.1:{port}/");
    for tool in installed() {
        let message = from_mirrors(&[tool], &tempdir().unwrap(), &[&address]).0.unwrap_err().to_string();
        for part in ["cannot download abc", &address, &port.to_string(), "--from FOLDER_OR_ARCHIVE"] {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn what_is_not_installed_is_passed_over_and_told_where_nothing_is() {
    let absent = Tool { name: "mixnn-no-such-tool", options: &[], https: &[] };
    let address = server(good);
    for tool in installed() {
        let to = tempdir().unwrap();
        from_mirrors(&[absent, tool], &to, &[&address]).0.unwrap();
        assert!(holds_both(&to));
    }
    let message = from_mirrors(&[absent], &tempdir().unwrap(), &[&address]).0.unwrap_err().to_string();
    for part in [&format!("{address}abc.gz"), "is installed: mixnn-no-such-tool", "--from FOLDER_OR_ARCHIVE"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn nothing_but_https_is_spoken() {
    assert!(MIRRORS.iter().all(|mirror| mirror.starts_with("https://")));
    let address = server(good);
    for real in TOOLS.into_iter().filter(is_here) {
        // wget does not refuse an address by its kind, but it follows no mirror that redirects it.
        let address = if real.name == "wget" { moved(&address) } else { address.clone() };
        let error = from_mirrors(&[real], &tempdir().unwrap(), &[&address]).0.unwrap_err();
        assert!(matches!(error, DataError::Download { .. }), "{}: {error}", real.name);
    }
}

/// Starts a server that redirects every request to `address`, and returns its address.
fn moved(address: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = format!("http://{}/", listener.local_addr().unwrap());
    let address = address.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let name = request.split(' ').nth(1).unwrap().trim_start_matches('/');
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {address}{name}\r\nContent-Length: 0\r\n");
            write!(stream, "{head}Connection: close\r\n\r\n").unwrap();
        }
    });
    here
}

fn cifar10_from(to: &TempDir, from: Option<&Path>) -> (Result<Vec<Fetched>, DataError>, Vec<String>) {
    let mut said = Vec::new();
    let result = cifar10(to.path(), from, &mut |line| said.push(line.to_owned()));
    (result, said)
}

/// An archive of CIFAR-10 like that of its authors, but with one record a file. The last file is cut by `cut` bytes.
fn archive_of_cifar10(cut: usize) -> Vec<u8> {
    let record = cifar10::encode(&[7]);
    let paths = cifar10::FILES.map(|name| format!("cifar-10-batches-bin/{name}"));
    let length = |path: &String| record.len() - if path.ends_with("test_batch.bin") { cut } else { 0 };
    let members: Vec<(&str, &[u8])> = paths.iter().map(|path| (path.as_str(), &record[..length(path)])).collect();
    tar(&[&[("cifar-10-batches-bin/readme.html", b"hello".as_slice())][..], &members].concat())
}

#[test]
fn the_files_of_cifar10_are_those_that_its_reader_takes() {
    let (from, to) = (tempdir().unwrap(), tempdir().unwrap());
    put(&from, "whole.tgz", &gzip::pack(&archive_of_cifar10(0)));
    let (result, said) = cifar10_from(&to, Some(&from.path().join("whole.tgz")));
    let fetched = result.unwrap();
    assert_eq!(fetched.iter().map(|file| file.name).collect::<Vec<_>>(), cifar10::FILES);
    assert!(fetched.iter().all(|file| file.bytes == 3073 && file.sha256.len() == 64));
    assert!(said.len() == 6 && said[0].contains("data_batch_1.bin: 3073 bytes, well-formed, written to"), "{said:?}");
    assert_eq!(cifar10::load(to.path()).unwrap().train.samples(), 5);
    // What is there is kept, and no source is asked for.
    assert_eq!(cifar10_from(&to, None).0.unwrap(), fetched);

    let to = tempdir().unwrap();
    let error = cifar10_from(&to, None).0.unwrap_err().to_string();
    for part in [CIFAR10_HOME, "not downloaded", "mixnn data fetch cifar10 --from FILE"] {
        assert!(error.contains(part), "{error}");
    }
    put(&from, "cut.tar", &archive_of_cifar10(1));
    let error = cifar10_from(&to, Some(&from.path().join("cut.tar"))).0.unwrap_err().to_string();
    assert!(error.contains("test_batch.bin, the whole: 3072 bytes, expected one or more records"), "{error}");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    let error = cifar10_from(&to, Some(from.path())).0.unwrap_err();
    assert!(matches!(error, DataError::NotInSource { name: "data_batch_1.bin", .. }), "{error}");
    put(&to, "test_batch.bin", b"mine");
    assert!(cifar10_from(&to, Some(from.path())).0.unwrap_err().to_string().contains("4 bytes"));
    assert_eq!(fs::read(to.path().join("test_batch.bin")).unwrap(), b"mine");
}
