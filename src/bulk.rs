//! Long secrets as one run of bytes, for serde: read in one piece, into memory that is taken once and wiped, not value by value
//! into memory that grows and leaves copies behind.
//!
//! Whoever reads takes memory for what is there, not for what is said to be there.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

/// What is read from bytes that lie one behind the other.
trait Bulk: Sized + Zeroize {
    /// What the bytes are, as errors name it.
    const WHAT: &'static str;

    fn read(bytes: &[u8]) -> Option<Self>;
}

impl Bulk for Vec<u8> {
    const WHAT: &'static str = "bytes";

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

impl Bulk for Vec<f32> {
    const WHAT: &'static str = "numbers of four bytes each";

    fn read(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks();
        rest.is_empty().then(|| numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
    }
}

struct Reader<V>(PhantomData<V>);

impl<V: Bulk> Visitor<'_> for Reader<V> {
    type Value = Zeroizing<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(V::WHAT)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        V::read(bytes).map(Zeroizing::new).ok_or_else(|| E::invalid_length(bytes.len(), &self))
    }
}

/// Writes a field of bytes.
pub(crate) fn write_bytes<S: Serializer>(bytes: &Zeroizing<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

/// Reads a field of bytes.
pub(crate) fn read_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<Vec<u8>>, D::Error> {
    from.deserialize_bytes(Reader(PhantomData))
}

/// Writes a field of numbers, if there are any: little-endian.
pub(crate) fn write_numbers<S: Serializer>(numbers: &Option<Zeroizing<Vec<f32>>>, to: S) -> Result<S::Ok, S::Error> {
    match numbers {
        Some(numbers) => to.serialize_some(&Numbers(numbers)),
        None => to.serialize_none(),
    }
}

/// Reads a field of numbers, if there are any.
pub(crate) fn read_numbers<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Zeroizing<Vec<f32>>>, D::Error> {
    Ok(Option::<ReadNumbers>::deserialize(from)?.map(|read| read.0))
}

struct Numbers<'a>(&'a [f32]);

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(4 * self.0.len()));
        bytes.extend(self.0.iter().flat_map(|number| number.to_le_bytes()));
        to.serialize_bytes(&bytes)
    }
}

struct ReadNumbers(Zeroizing<Vec<f32>>);

impl<'de> Deserialize<'de> for ReadNumbers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_bytes(Reader(PhantomData)).map(ReadNumbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Both {
        #[serde(serialize_with = "write_bytes", deserialize_with = "read_bytes")]
        bytes: Zeroizing<Vec<u8>>,
        #[serde(serialize_with = "write_numbers", deserialize_with = "read_numbers")]
        numbers: Option<Zeroizing<Vec<f32>>>,
    }

    #[test]
    fn what_is_written_is_read_back() {
        for numbers in [None, Some(Zeroizing::new(vec![0.5, -1.0]))] {
            let both = Both { bytes: Zeroizing::new(vec![1, 2, 3]), numbers };
            let written = postcard::to_allocvec(&both).unwrap();
            assert_eq!(written.len(), 4 + if both.numbers.is_some() { 1 + 1 + 8 } else { 1 });
            assert_eq!(postcard::from_bytes::<Both>(&written).unwrap(), both);
        }
    }

    #[test]
    fn what_is_not_there_is_not_read() {
        // Numbers of 7 bytes; more bytes than there are.
        assert!(postcard::from_bytes::<Both>(&[0, 1, 7, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(postcard::from_bytes::<Both>(&[0, 1, 255, 255, 255, 255, 15, 0]).is_err());
        assert!(postcard::from_bytes::<Both>(&[255, 255, 255, 255, 15, 0]).is_err());
    }
}
