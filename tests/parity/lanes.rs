//! Blocks that stand on a device, of which MPI would be given the addresses. For devices whose memory is this process's: the test does
//! what MPI would.

use mixnn::compute::cuda::{Cuda, Device};
use mixnn::crypto::sealer::{KeyId, OpenJob, SealJob, Sealer};
use mixnn::device_memory::DeviceBlocks;
use mixnn::ids::Slot;

use super::cells::{BLANK, Pair, TAG, message, place, random_bytes, random_key, read, verdict};
use super::{Bench, Check};

pub fn checks<D: Device>() -> Vec<Check<Cuda<D>>> {
    vec![("lanes", lanes)]
}

/// Sealed, peeled and opened there, with the bytes of the processor's.
fn lanes<D: Device>(bench: &mut Bench<'_, Cuda<D>>) {
    const PAYLOAD: usize = 48;
    const HEAD: usize = 32;
    const CELLS: usize = 2;
    let (backend, slot) = (bench.backend, Slot(3));
    let mut pair = Pair::new(backend, b"lanes");
    let onion = |layers: usize| PAYLOAD + layers * TAG;
    let lengths = [HEAD + CELLS * onion(2), HEAD + CELLS * onion(2) + 8];
    let device = pair.here.lay_lanes(&lengths, &lengths).unwrap().unwrap();
    assert!(pair.here.lanes_on_device() && pair.there.lay_lanes(&lengths, &lengths).unwrap().is_none());
    let keys: Vec<[KeyId; 2]> =
        (0..2).map(|_| [(); 2].map(|()| random_key(bench)).map(|key| pair.add(key))).collect();
    let each = || (0..2).flat_map(|lane| (0..CELLS).map(move |cell| (lane, cell)));
    let seals = || {
        each().map(|(lane, cell)| SealJob {
            layers: keys[lane].into(),
            cell: cell as u32,
            from: place(lane, cell * PAYLOAD),
            to: place(lane, HEAD + cell * onion(2)),
        })
    };
    // What arrives over a lane leaves over the other, without a head.
    let peels = || {
        each().map(|(lane, cell)| OpenJob {
            key: keys[lane][0],
            cell: cell as u32,
            from: place(lane, HEAD + cell * onion(2)),
            to: place(1 - lane, cell * onion(1)),
            under: None,
            over: None,
        })
    };
    let opens = || {
        each().map(|(lane, cell)| OpenJob {
            key: keys[1 - lane][1],
            cell: cell as u32,
            from: place(lane, cell * onion(1)),
            to: place(lane, cell * PAYLOAD),
            under: None,
            over: None,
        })
    };
    let seal = pair.here.lay_seals(PAYLOAD, seals().collect());
    pair.there.lay_seals(PAYLOAD, seals().collect());
    let peel = pair.here.lay_peels(onion(2), peels().collect());
    pair.there.lay_peels(onion(2), peels().collect());
    let open = pair.here.lay_opens(onion(1), opens().collect());

    let sent: Vec<Vec<u8>> = (0..2).map(|_| random_bytes(bench, CELLS * PAYLOAD)).collect();
    let on_device: Vec<_> = sent.iter().map(|bytes| message(backend, bytes)).collect();
    let blank = || lengths.map(|length| vec![BLANK; length]);
    let [mut here, mut there] = [blank(), blank()];
    pair.here.seal(slot, seal, &on_device, &mut here).unwrap();
    assert!(here == blank(), "sealed on the processor too");
    pair.here.push(&here, 0, 0..HEAD).unwrap();
    pair.there.seal(slot, seal, &sent, &mut there).unwrap();
    let cells = |blocks: &[Vec<u8>; 2]| blocks.clone().map(|block| block[..HEAD + CELLS * onion(2)].to_vec());
    assert!(cells(&moved(&device.outgoing, lengths, None)) == cells(&there));
    // As MPI would: what has left arrives, with a bit of the second lane's first cell flipped, and as it was.
    for flipped in [true, false] {
        let mut arrived = there.clone();
        arrived[1][HEAD] ^= u8::from(flipped);
        moved(&device.incoming, lengths, Some(&arrived));
        let mut heads = [[0; HEAD]; 2];
        pair.here.heads(&here, &mut heads).unwrap();
        assert_eq!(heads, [[BLANK; HEAD]; 2]);
        let bad = verdict(pair.here.peel(slot, peel, &here, &mut blank()));
        assert_eq!(bad, flipped.then_some(CELLS));
    }
    let mut passed_on = blank();
    pair.there.peel(slot, peel, &there, &mut passed_on).unwrap();
    let peeled = moved(&device.outgoing, lengths, None);
    for (peeled, due) in peeled.iter().zip(&passed_on) {
        assert!(peeled[..CELLS * onion(1)] == due[..CELLS * onion(1)]);
    }
    moved(&device.incoming, lengths, Some(&peeled));
    let mut opened = [0; 2].map(|_| message(backend, &[BLANK; CELLS * PAYLOAD]));
    assert_eq!(verdict(pair.here.open(slot, open, &here, &mut opened)), None);
    for (lane, opened) in opened.iter().enumerate() {
        assert!(read(backend, opened, CELLS * PAYLOAD) == sent[1 - lane], "lane {lane}");
    }
    // From now on blocks are the processor's.
    pair.here.seal_no_messages();
    assert!(!pair.here.lanes_on_device());
    pair.here.seal(Slot(4), seal, &on_device, &mut here).unwrap();
    assert!(here != blank());
}

/// The bytes of blocks on a device that is memory of this process; `arrived` takes their place, if there is something.
#[allow(unsafe_code)]
fn moved(blocks: &DeviceBlocks, lengths: [usize; 2], arrived: Option<&[Vec<u8>; 2]>) -> [Vec<u8>; 2] {
    [0, 1].map(|lane| {
        let at = blocks.at(lane, lengths[lane]);
        // SAFETY: the memory of the shim and of the stand-ins is this process's, nothing is queued, and it has these bytes.
        let there = unsafe { std::slice::from_raw_parts_mut(at, lengths[lane]) };
        if let Some(arrived) = arrived {
            there.copy_from_slice(&arrived[lane]);
        }
        there.to_vec()
    })
}
