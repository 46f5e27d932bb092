//! Blocks that stand on a device, of which MPI would be given the addresses. For devices whose memory is this process's: the test does
//! what MPI would.

use mixnn::compute::cuda::{Cuda, Device};
use mixnn::crypto::sealer::{KeyId, OpenJob, SealJob, Sealer, StreamId};
use mixnn::device_memory::DeviceBlocks;
use mixnn::ids::Slot;

use super::cells::{BLANK, Pair, TAG, message, place, random_bytes, random_key, read, verdict};
use super::{Bench, Check};

pub fn checks<D: Device>() -> Vec<Check<Cuda<D>>> {
    vec![("lanes", lanes)]
}

/// Sealed, peeled and opened there over 2 to 4 hops, with keystreams between hops on some lanes: the bytes and the bad cells of the
/// processor's.
fn lanes<D: Device>(bench: &mut Bench<'_, Cuda<D>>) {
    (2..=4).for_each(|hops| over_hops(bench, hops));
}

fn over_hops<D: Device>(bench: &mut Bench<'_, Cuda<D>>, hops: usize) {
    const PAYLOAD: usize = 48;
    const HEAD: usize = 32;
    const CELLS: usize = 3;
    let (backend, slot) = (bench.backend, Slot(3));
    let mut pair = Pair::new(backend, b"lanes");
    // Bytes of a cell, and where it stands in a block, when it comes to a hop.
    let sealed = |hop: usize| PAYLOAD + (hops - hop) * TAG;
    let at = |hop: usize, cell: usize| if hop == 0 { HEAD } else { 0 } + cell * sealed(hop);
    let lengths = [at(0, CELLS), at(0, CELLS) + 8];
    let device = pair.here.lay_lanes(&lengths, &lengths).unwrap().unwrap();
    assert!(pair.here.lanes_on_device() && pair.there.lay_lanes(&lengths, &lengths).unwrap().is_none());
    // By the lane over which it leaves its source, and the hop.
    let keys: Vec<Vec<KeyId>> = (0..2).map(|_| (0..hops).map(|_| pair.add(random_key(bench))).collect()).collect();
    // By the hop that takes it off, and the lane: from the second hop on, half of them.
    let streamed = |hop: usize, lane: usize| hop > 0 && (hop + lane).is_multiple_of(2);
    let streams: Vec<[Option<StreamId>; 2]> = (0..hops)
        .map(|hop| [0, 1].map(|lane| streamed(hop, lane).then(|| pair.add_stream(random_key(bench)))))
        .collect();
    let each = || (0..2).flat_map(|lane| (0..CELLS).map(move |cell| (lane, cell)));
    let seals = || {
        each().map(|(lane, cell)| SealJob {
            layers: keys[lane].clone(),
            cell: cell as u32,
            from: place(lane, cell * PAYLOAD),
            to: place(lane, at(0, cell)),
        })
    };
    // What arrives over a lane leaves over the other, without a head, and goes to a message at last.
    let opens = |hop: usize| {
        let last = hop + 1 == hops;
        let jobs = each().map(|(lane, cell)| OpenJob {
            key: keys[(lane + hop) % 2][hop],
            cell: cell as u32,
            from: place(lane, at(hop, cell)),
            to: if last { place(lane, cell * PAYLOAD) } else { place(1 - lane, at(hop + 1, cell)) },
            under: streams[hop][lane],
            over: if last { None } else { streams[hop + 1][1 - lane] },
        });
        jobs.collect::<Vec<_>>()
    };
    let seal = pair.here.lay_seals(PAYLOAD, seals().collect());
    pair.there.lay_seals(PAYLOAD, seals().collect());
    let peels: Vec<_> = (0..hops - 1).map(|hop| pair.here.lay_peels(sealed(hop), opens(hop))).collect();
    (0..hops - 1).for_each(|hop| assert_eq!(pair.there.lay_peels(sealed(hop), opens(hop)), peels[hop]));
    let open = pair.here.lay_opens(sealed(hops - 1), opens(hops - 1));
    pair.there.lay_opens(sealed(hops - 1), opens(hops - 1));

    let sent: Vec<Vec<u8>> = (0..2).map(|_| random_bytes(bench, CELLS * PAYLOAD)).collect();
    let on_device: Vec<_> = sent.iter().map(|bytes| message(backend, bytes)).collect();
    let blank = || lengths.map(|length| vec![BLANK; length]);
    let [mut here, mut there] = [blank(), blank()];
    pair.here.seal(slot, seal, &on_device, &mut here).unwrap();
    assert!(here == blank(), "sealed on the processor too");
    pair.here.push(&here, 0, 0..HEAD).unwrap();
    pair.there.seal(slot, seal, &sent, &mut there).unwrap();
    let cells = |blocks: &[Vec<u8>; 2], hop: usize| blocks.clone().map(|block| block[..at(hop, CELLS)].to_vec());
    assert!(cells(&moved(&device.outgoing, lengths, None), 0) == cells(&there, 0));
    // A part of one block alone.
    pair.here.push(&[[7; HEAD]], 1, 8..16).unwrap();
    let heads = moved(&device.outgoing, lengths, None).map(|block| block[..HEAD].to_vec());
    assert_eq!(heads, [vec![BLANK; HEAD], [[BLANK; 8], [7; 8], [BLANK; 8], [BLANK; 8]].concat()]);

    // As MPI would: what has left arrives, with bits of three cells flipped, and as it was.
    let spoiled = [(0, 2), (1, 0), (1, 1)];
    let bad: Vec<usize> = spoiled.iter().map(|(lane, cell)| lane * CELLS + cell).collect();
    let came = |there: &[Vec<u8>; 2], hop: usize, flipped: bool| {
        let mut arrived = there.clone();
        for ((lane, cell), byte) in spoiled.into_iter().zip([0, sealed(hop) - TAG, sealed(hop) - 1]) {
            arrived[lane][at(hop, cell) + byte] ^= u8::from(flipped);
        }
        moved(&device.incoming, lengths, Some(&arrived));
        (arrived, if flipped { bad.clone() } else { vec![] })
    };
    for (hop, peel) in peels.iter().enumerate() {
        let mut passed_on = blank();
        for flipped in [true, false] {
            let (arrived, due) = came(&there, hop, flipped);
            if hop == 0 {
                let mut heads = [[0; HEAD]; 2];
                pair.here.heads(&here, &mut heads).unwrap();
                assert_eq!(heads, [[BLANK; HEAD]; 2]);
            }
            assert_eq!(verdict(pair.here.peel(slot, *peel, &here, &mut blank())), due, "hop {hop} of {hops}");
            assert_eq!(verdict(pair.there.peel(slot, *peel, &arrived, &mut passed_on)), due);
            let peeled = moved(&device.outgoing, lengths, None);
            assert!(cells(&peeled, hop + 1) == cells(&passed_on, hop + 1), "hop {hop} of {hops}, flipped {flipped}");
            assert!(moved(&device.incoming, lengths, None) == arrived, "what has arrived is altered");
            // Zeros stand in place of bad cells, and no keystream over them.
            for (lane, cell) in spoiled.into_iter().filter(|_| flipped) {
                let place = at(hop + 1, cell)..at(hop + 1, cell + 1);
                assert!(peeled[1 - lane][place].iter().all(|byte| *byte == 0), "hop {hop} of {hops}");
            }
        }
        there = passed_on;
    }
    for flipped in [true, false] {
        let (arrived, due) = came(&there, hops - 1, flipped);
        let mut opened = [0; 2].map(|_| message(backend, &[BLANK; CELLS * PAYLOAD]));
        let mut on_host = vec![vec![BLANK; CELLS * PAYLOAD]; 2];
        assert_eq!(verdict(pair.here.open(slot, open, &here, &mut opened)), due);
        assert_eq!(verdict(pair.there.open(slot, open, &arrived, &mut on_host)), due);
        for (lane, opened) in opened.iter().enumerate() {
            let opened = read(backend, opened, CELLS * PAYLOAD);
            assert!(opened == on_host[lane], "lane {lane} of {hops} hops, flipped {flipped}");
            assert!(flipped || opened == sent[(lane + hops - 1) % 2], "lane {lane} of {hops} hops");
        }
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
