//! What keys, signatures and sealed messages are told apart by: all labels of the protocol (docs/PROTOCOL.md). Those of seeds, which are no
//! secrets, stand in `random.rs`.

/// The salt of all keys that are derived (PROTOCOL.md, 6.2).
pub const KEYS: &[u8] = b"mixnn/1";
/// The key of a lane in a phase (PROTOCOL.md, 6.2).
pub const HOP: &[u8] = b"hop";
/// The key of a link between two ranks (PROTOCOL.md, 6.10).
pub const LINK: &[u8] = b"link";
/// The key of a link's streams in a phase (PROTOCOL.md, 6.10).
pub const STREAM: &[u8] = b"stream";
/// What every cell and beat is bound to (PROTOCOL.md, 6.6).
pub const CELLS: &[u8] = b"mixnn/1 A";
/// The signature of an announcement (PROTOCOL.md, 19.5).
pub const ANNOUNCEMENT: &[u8] = b"mixnn/1 announcement";
/// A package (PROTOCOL.md, 5.2), its signature (19.5), and the key in it under which results are sealed (14.2).
pub const PACKAGE: &[u8] = b"mixnn/1 package";
/// The key of initial values (PROTOCOL.md, 4.9).
pub const START: &[u8] = b"start";
/// A result (PROTOCOL.md, 14.2).
pub const RESULT: &[u8] = b"mixnn/1 result";
/// The key of a verdict (PROTOCOL.md, 14.4).
pub const VERDICT: &[u8] = b"verdict";
