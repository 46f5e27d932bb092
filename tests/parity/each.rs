//! Each value on its own: the same bits.

use mixnn::compute::{Elementwise, Function, Memory, PhiloxStream};
use mixnn::element::{Element, Encoding};
use mixnn::float::Float;

use super::{Bench, Check};

pub fn checks<B: Memory + Elementwise>() -> Vec<Check<B>> {
    vec![
        ("functions", functions),
        ("add and blend", add_and_blend),
        ("dropout", dropout),
        ("formats", formats),
        ("data", data),
        ("messages", messages),
    ]
}

const FUNCTIONS: [Function; 7] = [
    Function::Relu,
    Function::LeakyRelu(0.01),
    Function::Tanh,
    Function::Sigmoid,
    Function::Gelu,
    Function::GeluTanh,
    Function::Silu,
];

/// What is at the edge of something.
const EDGES: [f32; 20] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.625,
    -0.625,
    2.0,
    88.72,
    88.73,
    -87.33,
    -87.34,
    1e-30,
    1e-40,
    -1e-40,
    3e38,
    -3e38,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    0.999_999_94,
];

fn functions<B: Memory + Elementwise>(bench: &mut Bench<'_, B>) {
    for f in FUNCTIONS {
        for (scale, len) in [(0.5, 1), (3.0, 255), (12.0, 4097), (100.0, 3001)] {
            let mut values = bench.values(len, scale);
            values.extend(EDGES);
            let len = values.len();
            let (x, dy) = (bench.put(&values), bench.tensor(len, 1.0));
            let [mut y, mut dx] = [bench.poison(len), bench.poison(len)];
            bench.backend.map(f, len, &x.here, &mut y.here);
            bench.cpu.map(f, len, &x.there, &mut y.there);
            bench.same(&y, &format!("{f:?}"));
            bench.backend.map_backward(f, len, &x.here, &y.here, &dy.here, &mut dx.here);
            bench.cpu.map_backward(f, len, &x.there, &y.there, &dy.there, &mut dx.there);
            bench.same(&dx, &format!("{f:?} backward"));
        }
    }
}

fn add_and_blend<B: Memory + Elementwise>(bench: &mut Bench<'_, B>) {
    for most in [1, 300, 70_000] {
        let len = bench.size(1, most);
        let (x, mut y) = (bench.tensor(len, 2.0), bench.tensor(len, 2.0));
        bench.backend.add(len, &x.here, &mut y.here);
        bench.cpu.add(len, &x.there, &mut y.there);
        bench.same(&y, "add");
        bench.backend.blend(len, 0.1, 1.3, &x.here, &mut y.here);
        bench.cpu.blend(len, 0.1, 1.3, &x.there, &mut y.there);
        bench.same(&y, "blend");
        // The rest of a longer buffer is left alone.
        let part = len / 2;
        bench.backend.add(part, &x.here, &mut y.here);
        bench.cpu.add(part, &x.there, &mut y.there);
        bench.same(&y, "add to a part");
    }
}

fn dropout<B: Memory + Elementwise>(bench: &mut Bench<'_, B>) {
    for (p, len) in [(0.0, 5), (0.1, 4096), (0.5, 10_001), (0.9, 3)] {
        let stream = PhiloxStream {
            key: [bench.random.next_u32(), bench.random.next_u32()],
            counter: [bench.random.next_u32(), 3, u32::MAX],
        };
        let (x, mut y) = (bench.tensor(len, 2.0), bench.poison(len));
        bench.backend.drop_out(stream, p, len, &x.here, &mut y.here);
        bench.cpu.drop_out(stream, p, len, &x.there, &mut y.there);
        bench.same(&y, "dropout");
    }
}

fn formats<B: Memory + Elementwise>(bench: &mut Bench<'_, B>) {
    for (_, format) in Float::ALL {
        let width = format.bytes() as usize;
        for at in [64, 65, 66, 0] {
            // Every size of number that there is, some beyond f16, some far below what it has.
            let mut values: Vec<f32> = (0..3000)
                .map(|_| f32::from_bits(bench.random.next_u32()))
                .map(|value| if value.is_nan() { 1.0 } else { value })
                .collect();
            values.extend(EDGES);
            values.extend((0..2000).map(|i| (i as f32 - 1000.0) * 2.980_232_2e-8));
            values.extend([65_504.0, 65_519.9, 65_520.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0]);
            let len = values.len();
            let (from, mut to) = (bench.put(&values), bench.poison(len));
            let mut message = bench.bytes(at + len * width + 3);
            bench.backend.encode(format, &from.here, len, &mut message.here, at);
            bench.cpu.encode(format, &from.there, len, &mut message.there, at);
            bench.same_bytes(&message, &format!("encode {format:?}"));
            bench.backend.decode(format, &message.here, at, len, &mut to.here);
            bench.cpu.decode(format, &message.there, at, len, &mut to.there);
            bench.same(&to, &format!("decode {format:?}"));
            let mut rounded = bench.poison(len);
            bench.backend.round(format, len, &from.here, &mut rounded.here);
            bench.cpu.round(format, len, &from.there, &mut rounded.there);
            bench.same(&rounded, &format!("round {format:?}"));
        }
    }
    // All halves there are.
    let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for format in [Float::Bf16, Float::F16] {
        let (message, mut to) = (bench.put_bytes(&halves), bench.poison(65_536));
        bench.backend.decode(format, &message.here, 0, 65_536, &mut to.here);
        bench.cpu.decode(format, &message.there, 0, 65_536, &mut to.there);
        bench.same(&to, &format!("decode every {format:?}"));
    }
}

fn data<B: Memory + Elementwise>(bench: &mut Bench<'_, B>) {
    for element in [Element::U8, Element::U16, Element::F32] {
        for (channels, width, rows, at) in [(1, 64, 3, 64), (3, 100, 5, 64), (1, 1, 1, 1), (7, 3, 11, 65)] {
            let n = channels * width;
            let encoding =
                Encoding { element, scale: bench.values(channels, 1.0), shift: bench.values(channels, 2.0) };
            let values = bench.values(rows * n, 5.0);
            let mut bytes = vec![9; at];
            match element {
                Element::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
                _ => bytes.extend((0..rows * n * element.bytes() as usize).map(|_| bench.random.next_u32() as u8)),
            }
            let (message, mut to) = (bench.put_bytes(&bytes), bench.poison(rows * n));
            bench.backend.decode_data(&encoding, &message.here, at, rows, n, &mut to.here);
            bench.cpu.decode_data(&encoding, &message.there, at, rows, n, &mut to.there);
            bench.same(&to, &format!("data {element:?}"));
        }
    }
}

fn messages<B: Memory + Elementwise>(bench: &mut Bench<'_, B>) {
    let mut message = bench.bytes(1000);
    let part: Vec<u8> = (0..77).collect();
    bench.backend.put(&part, &mut message.here, 13);
    bench.cpu.put(&part, &mut message.there, 13);
    bench.backend.clear(&mut message.here, 500, 777);
    bench.cpu.clear(&mut message.there, 500, 777);
    bench.same_bytes(&message, "put and clear");
    let (from, mut to) = (bench.tensor(300, 1.0), bench.tensor(400, 1.0));
    bench.backend.copy(222, &from.here, &mut to.here);
    bench.cpu.copy(222, &from.there, &mut to.there);
    bench.same(&to, "copy");
    let zeros = bench.backend.zeros(5000).unwrap();
    let mut values = vec![1.0; 5000];
    bench.backend.download(&zeros, &mut values);
    assert_eq!(values, vec![0.0; 5000]);
}
