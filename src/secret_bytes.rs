//! Fields of secret bytes, for serde. They are read in one piece, into memory that is taken once and wiped. Value by
//! value they would be read into memory that grows and leaves copies behind.
//!
//! The reader takes memory for the bytes that are there, and not for what a length claims.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};
use zeroize::Zeroizing;

/// Reads bytes into memory that is wiped.
struct Reader;

impl Visitor<'_> for Reader {
    type Value = Zeroizing<Vec<u8>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Zeroizing::new(bytes.to_vec()))
    }
}

/// Writes a field of bytes: a length, then the bytes.
pub(crate) fn write<S: Serializer>(bytes: &Zeroizing<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

/// Reads a field of bytes that [`write()`] wrote.
pub(crate) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<Vec<u8>>, D::Error> {
    from.deserialize_bytes(Reader)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use zeroize::Zeroizing;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Secret {
        #[serde(serialize_with = "super::write", deserialize_with = "super::read")]
        bytes: Zeroizing<Vec<u8>>,
    }

    #[test]
    fn what_is_written_is_read_back() {
        let secret = Secret { bytes: Zeroizing::new(vec![1, 2, 3]) };
        let written = postcard::to_allocvec(&secret).unwrap();
        assert_eq!(written, [3, 1, 2, 3]);
        assert_eq!(postcard::from_bytes::<Secret>(&written).unwrap(), secret);
    }

    #[test]
    fn what_is_not_there_is_not_read() {
        assert!(postcard::from_bytes::<Secret>(&[255, 255, 255, 255, 15, 0]).is_err());
    }
}
