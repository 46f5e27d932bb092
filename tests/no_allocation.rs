//! A slot of the mix takes no memory from Rust's allocator once its lanes are warm: neither the mix, nor the in-memory
//! transport, nor a relay's step, nor the thread on which it may be done. Nor do a stage's operations, but for matrix products.
//! (What AWS-LC's C code would take is not seen here.)
#![allow(clippy::unwrap_used)]

mod seats;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::Instant;

use mixnn::compute::Memory;
use mixnn::compute::cpu::Cpu;
use mixnn::float::Float;
use mixnn::ids::{Batch, Epoch, MicroBatch, Slot};
use mixnn::job::{Job, Optimizer, Shape};
use mixnn::mix::beat::Order;
use mixnn::mix::courier::{Courier, Post, Timing, Word};
use mixnn::mix::geometry::Geometry;
use mixnn::nn::{Pass, Stage, StageSpec};
use mixnn::random::Seed;
use mixnn::role::relay::Relay;
use mixnn::role::work::{Work, Worker};
use mixnn::role::{Role, RoleError};

/// Counts what each thread asks for.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // At a thread's very end its counter is gone.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came; the counter is plain memory and allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RANKS: u16 = 6;
const WARM_UP: u64 = 10;
const MEASURED: u64 = 20;

/// What each rank's thread allocates in [`MEASURED`] slots with `role`'s steps, several cells a lane.
fn allocations<R: Role<Cpu>>(role: impl Fn() -> R + Sync) -> Vec<u64> {
    let geometry = Geometry::new(RANKS, 3, 5000, 512).unwrap();
    assert!(geometry.cells > 1);
    let backend = seats::backend();
    seats::seated(
        &seats::plan(3, RANKS, 3),
        geometry,
        |end| end,
        |seat| {
            let seats::Seat { mut transport, mut mixer, mut post } = seat;
            let mut timing = Timing::default();
            let mut role = role();
            let mut before = 0;
            for slot in 0..WARM_UP + MEASURED {
                if slot == WARM_UP {
                    before = ALLOCATIONS.get();
                }
                let order = role.step(&backend, Slot(slot), &mut post).unwrap();
                mixer.slot(&mut transport, Slot(slot), Word { order, ..Word::WELL }, &mut post, &mut timing).unwrap();
            }
            ALLOCATIONS.get() - before
        },
    )
}

#[test]
fn a_warm_slot_allocates_nothing_on_any_rank() {
    assert_eq!(allocations(|| Relay), [0; RANKS as usize]);
}

/// A relay whose steps take time, as far as clocks tell.
struct Measurable;

impl Role<Cpu> for Measurable {
    fn step(&mut self, backend: &Cpu, slot: Slot, post: &mut Post<seats::Bytes>) -> Result<Order, RoleError> {
        let began = Instant::now();
        let order = Relay.step(backend, slot, post);
        while began.elapsed().is_zero() {
            std::hint::spin_loop();
        }
        order
    }
}

/// Nor does one whose role works beside it, once as many messages wait as ever will: here the role answers in each slot, however
/// long it takes to get a core.
#[test]
fn a_warm_slot_with_a_worker_allocates_nothing() {
    let backend = seats::backend();
    let (mut worker, workshop) = Worker::new(&backend, 1000).unwrap();
    let mut post = Post::new(|| backend.bytes(1000)).unwrap();
    let mut timing = Timing::default();
    std::thread::scope(|scope| {
        let backend = &backend;
        scope.spawn(move || workshop.run(backend, &mut Measurable));
        let mut before = 0;
        for slot in 0..2 * (WARM_UP + MEASURED) {
            if slot == WARM_UP + MEASURED {
                before = ALLOCATIONS.get();
            }
            for message in &mut post.inbox {
                message[0] = 1;
            }
            worker.give(backend, Slot(slot), &mut post);
            // At first messages pile up, as they would where a role is slow.
            if slot >= WARM_UP {
                let before = timing.compute;
                while timing.compute == before {
                    std::thread::yield_now();
                    worker.take(backend, Slot(slot), &mut post, &mut timing).unwrap();
                }
            }
        }
        assert_eq!(ALLOCATIONS.get() - before, 0);
        drop(worker);
    });
}

/// Allocates once a step.
struct Wasteful;

impl Role<Cpu> for Wasteful {
    fn step(&mut self, _: &Cpu, _: Slot, _: &mut Post<seats::Bytes>) -> Result<Order, RoleError> {
        drop(black_box(Box::new(1_u8)));
        Ok(Order::GoOn)
    }
}

/// The control: what does allocate is counted, each time, on each rank.
#[test]
fn an_allocation_is_counted() {
    assert_eq!(allocations(|| Wasteful), [MEASURED; RANKS as usize]);
    let before = ALLOCATIONS.get();
    drop(black_box(vec![0_u8; 100]));
    let mut growing = black_box(Vec::<u8>::with_capacity(1));
    growing.reserve(1000);
    assert_eq!(ALLOCATIONS.get() - before, 3);
}

/// What operations keep for backward was taken when the micro-batch first passed. (Matrix products are left out: the crate
/// `gemm` takes its scratch memory anew in every call.)
#[test]
fn a_warm_stage_allocates_nothing() {
    let ops = "{ op = \"max_pool\", kernel = 2 }, { op = \"batch_norm\" }, { op = \"gelu\" }, { op = \"dropout\" }, { op = \
               \"residual\", ops = [{ op = \"group_norm\", groups = 2 }, { op = \"tanh\" }] }, { op = \"avg_pool\", kernel = 2 \
               }, { op = \"flatten\" }, { op = \"layer_norm\" }, { op = \"rms_norm\" }, { op = \"softmax\" }, { op = \"reshape\", shape = [2, 8] }, { op = \"position\" }, { op = \"flatten\" }, { op = \"embedding\", vocabulary = 3, width = 2 }";
    let job = format!(
        "name = \"x\"\n[data]\nsource = \"digits\"\n[train]\nepochs = 1\n[mix]\nprofile = \"bare\"\n[[stage]]\nops = [{ops}]"
    );
    let spec = StageSpec {
        ops: Job::parse("job.toml", &job, &[]).unwrap().stages[0].ops.clone(),
        input: Shape::new([4, 8, 8]),
        output: Shape::new([16, 2]),
        data: None,
        wire: Float::F32,
        micro_batch: 5,
        optimizer: Optimizer::sgd(0.9),
        seed: Seed::from_text("warm"),
        loss: None,
        values: None,
    };
    assert!(spec.chains());
    let backend = seats::backend();
    let mut stage = Stage::new(&backend, &spec).unwrap();
    let mut before = 0;
    for round in 0..4 {
        if round == 2 {
            before = ALLOCATIONS.get();
        }
        for micro_batch in 0..3 {
            let pass = Pass::training(5, Epoch(0), Batch(round), MicroBatch(micro_batch));
            stage.input(&backend, pass).unwrap();
            stage.forward(&backend);
        }
        for _ in 0..3 {
            stage.backward_input(&backend);
            stage.backward_params(&backend);
        }
    }
    assert_eq!(ALLOCATIONS.get(), before);
}
