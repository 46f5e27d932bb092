//! Cells sealed and opened where messages are: the published bytes, and those of the processor's sealer.

use mixnn::compute::Memory;
use mixnn::compute::cuda::{Cuda, CudaSealer, Device};
use mixnn::crypto::aead::Library;
use mixnn::crypto::key::Key;
use mixnn::crypto::sealer::{BadCells, CpuSealer, KeyId, OpenError, OpenJob, Place, SealJob, Sealer, StreamId};
use mixnn::ids::Slot;
use serde::Deserialize;

use super::{Bench, Check};

pub(super) const TAG: usize = 16;
/// What no one has written to.
pub(super) const BLANK: u8 = 0xee;

type Host = CpuSealer<Vec<u8>>;
type On<D> = CudaSealer<D>;
type Bytes<D> = <Cuda<D> as Memory>::Bytes;

pub fn checks<D: Device>() -> Vec<Check<Cuda<D>>> {
    vec![
        ("published vectors", published),
        ("onions", onions),
        ("lengths", lengths),
        ("what is not authentic", refusals),
        ("many cells and late keys", many),
        ("fetch and store", fetch_and_store),
    ]
}

pub(super) fn place(block: usize, offset: usize) -> Place {
    Place { block, offset }
}

/// Two sealers with the same keys, on the device and on the processor.
pub(super) struct Pair<D: Device> {
    pub(super) here: On<D>,
    pub(super) there: Host,
}

impl<D: Device> Pair<D> {
    pub(super) fn new(backend: &Cuda<D>, data: &[u8]) -> Self {
        let here = On::new(&**backend.device(), Library::Ring, data.to_vec()).unwrap();
        Self { here, there: Host::new(Library::AwsLc, data.to_vec()) }
    }

    pub(super) fn add(&mut self, bytes: [u8; 32]) -> KeyId {
        let key = Key::from_bytes(bytes);
        let id = self.here.add(&key);
        assert_eq!(self.there.add(&key), id);
        id
    }

    pub(super) fn add_stream(&mut self, bytes: [u8; 32]) -> StreamId {
        let key = Key::from_bytes(bytes);
        let id = self.here.add_stream(&key);
        assert_eq!(self.there.add_stream(&key), id);
        id
    }
}

pub(super) fn random_bytes<D: Device>(bench: &mut Bench<'_, Cuda<D>>, len: usize) -> Vec<u8> {
    (0..len).map(|_| bench.random.next_u32() as u8).collect()
}

pub(super) fn random_key<D: Device>(bench: &mut Bench<'_, Cuda<D>>) -> [u8; 32] {
    random_bytes(bench, 32).try_into().unwrap()
}

/// `bytes` as a message on the device, there for other queues.
pub(super) fn message<D: Device>(backend: &Cuda<D>, bytes: &[u8]) -> Bytes<D> {
    let mut message = backend.bytes(bytes.len()).unwrap();
    backend.put(bytes, &mut message, 0);
    backend.finish().unwrap();
    message
}

pub(super) fn read<D: Device>(backend: &Cuda<D>, message: &Bytes<D>, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    backend.get(message, 0, &mut bytes);
    bytes
}

/// Which jobs of a batch were bad.
pub(super) fn verdict(opened: Result<(), OpenError>) -> BadCells {
    match opened {
        Ok(()) => BadCells::new(),
        Err(OpenError::BadCells(bad)) => {
            assert!(!bad.is_empty(), "an error, and no job was bad");
            bad
        }
        Err(OpenError::Device(error)) => panic!("{error}"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    tc_id: u32,
    key: String,
    iv: String,
    aad: String,
    msg: String,
    ct: String,
    tag: String,
    result: String,
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn published<D: Device>(bench: &mut Bench<'_, Cuda<D>>) {
    let files = [
        (include_str!("../vectors/gcm_specification.json"), [4, 0]),
        (include_str!("../vectors/aes_256_gcm.json"), [39, 27]),
    ];
    for (file, due) in files {
        let mut counts = [0, 0];
        for vector in serde_json::from_str::<Vec<Vector>>(file).unwrap() {
            let id = vector.tc_id;
            let mut sealer = On::new(&**bench.backend.device(), Library::AwsLc, hex(&vector.aad)).unwrap();
            let key = sealer.add(&Key::from_bytes(hex(&vector.key).try_into().unwrap()));
            // A nonce is a cell's number and a slot's.
            let iv = hex(&vector.iv);
            let cell = u32::from_le_bytes(iv[..4].try_into().unwrap());
            let slot = Slot(u64::from_le_bytes(iv[4..].try_into().unwrap()));
            let (plain, sealed) = (hex(&vector.msg), hex(&(vector.ct + &vector.tag)));
            let [from, to] = [place(0, 0); 2];
            let seal = sealer.lay_seals(plain.len(), vec![SealJob { layers: vec![key], cell, from, to }]);
            let open = sealer.lay_opens(sealed.len(), vec![OpenJob { key, cell, from, to, under: None, over: None }]);
            let mut blocks = [vec![0; sealed.len()]];
            sealer.seal(slot, seal, &[message(bench.backend, &plain)], &mut blocks).unwrap();
            let mut opened = [message(bench.backend, &vec![BLANK; plain.len()])];
            let found = verdict(sealer.open(slot, open, &[&sealed], &mut opened));
            let shows = read(bench.backend, &opened[0], plain.len());
            if vector.result == "valid" {
                counts[0] += 1;
                assert_eq!((&blocks[0], found, &shows), (&sealed, vec![], &plain), "case {id}");
            } else {
                counts[1] += 1;
                assert_ne!(blocks[0], sealed, "case {id}");
                assert_eq!((found, shows), (vec![0], vec![0; plain.len()]), "case {id}");
            }
        }
        assert_eq!(counts, due, "valid and invalid cases");
    }
}

/// Onions of all depths, several lanes of several cells, opened hop by hop, with keystreams between hops on some lanes.
fn onions<D: Device>(bench: &mut Bench<'_, Cuda<D>>) {
    let backend = bench.backend;
    for (layers, lanes, cells, payload) in [
        (1, 1, 1, 16),
        (1, 3, 2, 65_488),
        (2, 2, 3, 4064),
        (3, 3, 2, 4080),
        (3, 2, 5, 5808),
        (4, 2, 2, 4096),
        (4, 1, 3, 32),
    ] {
        let data = random_bytes(bench, 42);
        let mut pair = Pair::new(backend, &data);
        let slot = Slot(u64::from(bench.random.next_u32()) << 20);
        let onion = payload + layers * TAG;
        // Lanes leave from two messages, with room between their cells.
        let gap = 16 * bench.size(0, 3);
        let sent: Vec<Vec<u8>> = (0..2).map(|_| random_bytes(bench, 48 + lanes * cells * (payload + gap))).collect();
        let (mut keys, mut streams) = (Vec::new(), Vec::new());
        let mut jobs = [Vec::new(), Vec::new()];
        for lane in 0..lanes {
            // What lies over the lane's cells when they come to each hop, and behind the last.
            let streamed = |hop: usize| (1..layers).contains(&hop) && !(hop + lane).is_multiple_of(3);
            let over: Vec<Option<StreamId>> =
                (0..=layers).map(|hop| streamed(hop).then(|| pair.add_stream(random_key(bench)))).collect();
            streams.push(over);
            let hops: Vec<KeyId> = (0..layers).map(|_| random_key(bench)).map(|key| pair.add(key)).collect();
            for cell in 0..cells {
                let at = lane * cells + cell;
                jobs.iter_mut().for_each(|jobs| {
                    jobs.push(SealJob {
                        layers: hops.clone(),
                        cell: cell as u32,
                        from: place(at % 2, 48 + at * (payload + gap)),
                        to: place(lane, 32 + cell * onion),
                    });
                });
            }
            keys.push(hops);
        }
        let blank = vec![vec![BLANK; 32 + cells * onion + 5]; lanes];
        let [mut here, mut there] = [blank.clone(), blank];
        let [jobs_here, jobs_there] = jobs;
        let batch = pair.here.lay_seals(payload, jobs_here);
        assert_eq!(pair.there.lay_seals(payload, jobs_there), batch);
        let on_device = [message(backend, &sent[0]), message(backend, &sent[1])];
        pair.here.seal(slot, batch, &on_device, &mut here).unwrap();
        pair.there.seal(slot, batch, &sent, &mut there).unwrap();
        assert!(here == there, "{layers} layers, {lanes} lanes, {cells} cells of {payload}");
        // The same jobs in the next slot: other bytes, and again the processor's.
        let next = Slot(slot.0 + 1);
        let before = here.clone();
        pair.here.seal(next, batch, &on_device, &mut here).unwrap();
        pair.there.seal(next, batch, &sent, &mut there).unwrap();
        assert!(here == there && here != before);

        let key_of = |lane: usize, hop: usize| -> KeyId { keys[lane][hop] };
        for hop in 0..layers {
            let sealed = payload + (layers - hop) * TAG;
            // Every cell's place in a message, in another order than in the blocks.
            let place_of = |at: usize| place(at % 3, 16 + (lanes * cells - 1 - at) * (sealed + 16));
            let jobs = || {
                (0..lanes * cells).map(|at| (at / cells, at % cells)).map(|(lane, cell)| OpenJob {
                    key: key_of(lane, hop),
                    cell: cell as u32,
                    from: place(lane, 32 + cell * onion),
                    to: place_of(lane * cells + cell),
                    under: streams[lane][hop],
                    over: streams[lane][hop + 1],
                })
            };
            let batch = pair.here.lay_opens(sealed, jobs().collect());
            assert_eq!(pair.there.lay_opens(sealed, jobs().collect()), batch);
            let blank = vec![BLANK; 16 + lanes * cells * (sealed + 16)];
            let mut on_host = vec![blank.clone(); 3];
            let mut on_device = [0; 3].map(|_| message(backend, &blank));
            assert!(verdict(pair.there.open(next, batch, &here, &mut on_host)).is_empty());
            assert!(verdict(pair.here.open(next, batch, &here, &mut on_device)).is_empty());
            for (device, host) in on_device.iter().zip(&on_host) {
                assert!(read(backend, device, host.len()) == *host, "hop {hop} of {layers}");
            }
            for at in 0..lanes * cells {
                let (Place { block, offset }, from) = (place_of(at), 32 + at % cells * onion);
                here[at / cells][from..from + sealed - TAG]
                    .copy_from_slice(&on_host[block][offset..offset + sealed - TAG]);
                if hop + 1 == layers {
                    let due = &sent[at % 2][48 + at * (payload + gap)..][..payload];
                    assert!(on_host[block][offset..][..payload] == *due, "cell {at}");
                }
            }
        }
    }
}

/// Payloads of any length, also those that end within a block.
fn lengths<D: Device>(bench: &mut Bench<'_, Cuda<D>>) {
    let backend = bench.backend;
    let mut pair = Pair::new(backend, b"any length");
    let layers: Vec<KeyId> = [[1; 32], [2; 32]].map(|key| pair.add(key)).into();
    let [under, over] = [[3; 32], [4; 32]].map(|key| Some(pair.add_stream(key)));
    for (slot, payload) in (0..35).chain([250, 4063, 4065, 4079, 4081, 4096, 8191, 12_289]).enumerate() {
        let (slot, sent) = (Slot(slot as u64), random_bytes(bench, payload + 3));
        let job = || vec![SealJob { layers: layers.clone(), cell: 1, from: place(0, 0), to: place(0, 3) }];
        let batch = pair.here.lay_seals(payload, job());
        pair.there.lay_seals(payload, job());
        let [mut here, mut there] = [[vec![BLANK; payload + 40]], [vec![BLANK; payload + 40]]];
        pair.here.seal(slot, batch, &[message(backend, &sent)], &mut here).unwrap();
        pair.there.seal(slot, batch, std::slice::from_ref(&sent), &mut there).unwrap();
        assert!(here == there, "{payload} bytes");
        let mut inside = [vec![0; payload + TAG]];
        let hop = OpenJob { key: layers[0], cell: 1, from: place(0, 3), to: place(0, 0), under: None, over: under };
        let peel = pair.here.lay_peels(payload + 2 * TAG, vec![hop]);
        assert!(verdict(pair.here.peel(slot, peel, &here, &mut inside)).is_empty());
        for over in [None, over] {
            let job = || vec![OpenJob { key: layers[1], cell: 1, from: place(0, 0), to: place(0, 16), under, over }];
            let open = pair.here.lay_opens(payload + TAG, job());
            pair.there.lay_opens(payload + TAG, job());
            let blank = vec![BLANK; payload + 19];
            let (mut opened, mut due) = ([message(backend, &blank)], [blank.clone()]);
            assert!(verdict(pair.here.open(slot, open, &inside, &mut opened)).is_empty());
            assert!(verdict(pair.there.open(slot, open, &inside, &mut due)).is_empty());
            assert!(read(backend, &opened[0], payload + 19) == due[0], "{payload} bytes");
            let plain = [&[BLANK; 16][..], &sent[..payload], &[BLANK; 3]].concat();
            match over {
                None => assert!(due[0] == plain, "{payload} bytes"),
                // A keystream of a few bytes may be zeros.
                Some(_) => assert!(payload < 16 || due[0] != plain, "{payload} bytes"),
            }
        }
    }
}

/// Three cells under two keys, of which one or more are not what was sealed.
fn refusals<D: Device>(bench: &mut Bench<'_, Cuda<D>>) {
    const PAYLOAD: usize = 32;
    const SEALED: usize = PAYLOAD + TAG;
    let backend = bench.backend;
    let slot = Slot(0x0102_0304_0506_0708);
    let mut sealer = On::new(&**backend.device(), Library::AwsLc, b"run 1".to_vec()).unwrap();
    let mut stranger = On::new(&**backend.device(), Library::AwsLc, b"run 2".to_vec()).unwrap();
    let keys = [[5; 32], [6; 32]].map(|key| {
        stranger.add(&Key::from_bytes(key));
        sealer.add(&Key::from_bytes(key))
    });
    let sent = random_bytes(bench, 3 * PAYLOAD);
    let seals = (0..3).map(|i| SealJob {
        layers: vec![keys[i % 2]],
        cell: i as u32,
        from: place(0, i * PAYLOAD),
        to: place(0, 32 + i * SEALED),
    });
    let seal = sealer.lay_seals(PAYLOAD, seals.collect());
    let mut blocks = [vec![0; 32 + 3 * SEALED]];
    sealer.seal(slot, seal, &[message(backend, &sent)], &mut blocks).unwrap();
    let opens = |swapped: Option<usize>, renumbered: Option<usize>| -> Vec<OpenJob> {
        let job = |i: usize| OpenJob {
            key: keys[(i + usize::from(swapped == Some(i))) % 2],
            cell: i as u32 + 256 * u32::from(renumbered == Some(i)),
            from: place(0, 32 + i * SEALED),
            to: place(0, 16 + i * (PAYLOAD + 16)),
            under: None,
            over: None,
        };
        (0..3).map(job).collect()
    };
    let blank = vec![BLANK; 16 + 3 * (PAYLOAD + 16)];
    // What the message must hold: zeros for each bad cell, and nothing touched around them.
    let due = |bad: &[usize]| {
        let mut due = blank.clone();
        for i in 0..3 {
            let cell = &mut due[16 + i * (PAYLOAD + 16)..][..PAYLOAD];
            if bad.contains(&i) { cell.fill(0) } else { cell.copy_from_slice(&sent[i * PAYLOAD..][..PAYLOAD]) }
        }
        due
    };
    let check = |sealer: &mut On<D>, batch, slot, blocks: &[Vec<u8>], bad: &[usize], what: &str| {
        let mut opened = [message(backend, &blank)];
        assert_eq!(verdict(sealer.open(slot, batch, blocks, &mut opened)), bad, "{what}");
        assert!(read(backend, &opened[0], blank.len()) == due(bad), "{what}");
    };
    let open = sealer.lay_opens(SEALED, opens(None, None));
    check(&mut sealer, open, slot, &blocks, &[], "as sealed");
    // Two bits at a time, of two cells.
    for bit in (0..8 * SEALED).step_by(2) {
        let altered = [bit / 2 % 3, (bit / 2 + 1) % 3];
        let flip = |blocks: &mut [Vec<u8>; 1]| {
            for (cell, bit) in altered.into_iter().zip(bit..) {
                blocks[0][32 + cell * SEALED + bit / 8] ^= 1 << (bit % 8);
            }
        };
        flip(&mut blocks);
        let bad = [altered[0].min(altered[1]), altered[0].max(altered[1])];
        check(&mut sealer, open, slot, &blocks, &bad, &format!("bit {bit} and the next, of cells {bad:?}"));
        flip(&mut blocks);
    }
    for two in [[0, 1], [0, 2], [1, 2]] {
        two.iter().for_each(|cell| blocks[0][32 + cell * SEALED + SEALED - 1] ^= 0x80);
        check(&mut sealer, open, slot, &blocks, &two, "two bad cells");
        two.iter().for_each(|cell| blocks[0][32 + cell * SEALED + SEALED - 1] ^= 0x80);
    }
    for bit in [0, 31, 32, 63] {
        check(&mut sealer, open, Slot(slot.0 ^ 1 << bit), &blocks, &[0, 1, 2], "another slot");
    }
    for i in 0..3 {
        let renumbered = sealer.lay_opens(SEALED, opens(None, Some(i)));
        check(&mut sealer, renumbered, slot, &blocks, &[i], "another cell's number");
        let swapped = sealer.lay_opens(SEALED, opens(Some(i), None));
        check(&mut sealer, swapped, slot, &blocks, &[i], "another key");
    }
    let elsewhere = stranger.lay_opens(SEALED, opens(None, None));
    check(&mut stranger, elsewhere, slot, &blocks, &[0, 1, 2], "another run");
    check(&mut sealer, open, slot, &blocks, &[], "as sealed, at last");
}

/// More cells than blocks of threads; keys and jobs that come when others are in use.
fn many<D: Device>(bench: &mut Bench<'_, Cuda<D>>) {
    const CELLS: usize = 2051;
    let backend = bench.backend;
    let mut pair = Pair::new(backend, b"");
    let sent = random_bytes(bench, 16 * CELLS);
    let on_device = [message(backend, &sent)];
    let mut batches = Vec::new();
    for (round, cells) in [3, CELLS, 1].into_iter().enumerate() {
        let keys: Vec<KeyId> = (0..3).map(|_| random_key(bench)).map(|key| pair.add(key)).collect();
        // Runs of cells under one key, and at last one under the first of all.
        let key = |i: usize| if i + 1 == cells { keys[0] } else { keys[i / 5 % 3] };
        let seals = || {
            (0..cells).map(|i| SealJob {
                layers: vec![key(i)],
                cell: (cells * round + i) as u32,
                from: place(0, 16 * i),
                to: place(0, 32 * i),
            })
        };
        let batch = pair.here.lay_seals(16, seals().collect());
        pair.there.lay_seals(16, seals().collect());
        let opens = seals().map(|job| OpenJob {
            key: job.layers[0],
            cell: job.cell,
            from: job.to,
            to: job.from,
            under: None,
            over: None,
        });
        batches.push((batch, pair.here.lay_opens(32, opens.collect()), cells));
        // The batches before are as good as this one.
        for (i, (seal, open, cells)) in
            batches.iter().enumerate().filter(|(_, (.., cells))| *cells < CELLS || round == 1)
        {
            let slot = Slot((10 * round + i) as u64);
            let [mut here, mut there] = [[vec![0; 32 * cells]], [vec![0; 32 * cells]]];
            pair.here.seal(slot, *seal, &on_device, &mut here).unwrap();
            pair.there.seal(slot, *seal, std::slice::from_ref(&sent), &mut there).unwrap();
            assert!(here == there, "batch {i} in round {round}");
            // Of many, two of one block of threads are bad.
            let bad = if *cells == CELLS { 2048..2050 } else { 0..0 };
            let mut due = sent[..16 * cells].to_vec();
            for cell in bad.clone() {
                here[0][32 * cell] ^= 1;
                due[16 * cell..][..16].fill(0);
            }
            let mut opened = [message(backend, &vec![0; 16 * cells])];
            assert_eq!(verdict(pair.here.open(slot, *open, &here, &mut opened)), bad.collect::<Vec<_>>());
            assert!(read(backend, &opened[0], 16 * cells) == due);
        }
    }
}

fn fetch_and_store<D: Device>(bench: &mut Bench<'_, Cuda<D>>) {
    let backend = bench.backend;
    let mut sealer: On<D> = On::new(&**backend.device(), Library::AwsLc, Vec::new()).unwrap();
    let mut bytes = message(backend, &random_bytes(bench, 100));
    let stored = random_bytes(bench, 77);
    let rest = read(backend, &bytes, 100).split_off(77);
    sealer.store(&stored, &mut bytes).unwrap();
    assert_eq!(read(backend, &bytes, 100), [stored, rest].concat());
    let mut fetched = [0; 90];
    sealer.fetch(&bytes, &mut fetched).unwrap();
    assert_eq!(fetched[..], read(backend, &bytes, 100)[..90]);
}
