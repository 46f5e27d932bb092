//! By what keys, signatures and sealed messages are told apart: all labels of the protocol (docs/PROTOCOL.md). The
//! labels of seeds, which are no secrets, stand in `random.rs`.

/// The salt with which all keys are derived (PROTOCOL.md, 6.2).
pub const KEYS: &[u8] = b"mixnn/1";
/// Names the key of a lane in a phase (PROTOCOL.md, 6.2).
pub const HOP: &[u8] = b"hop";
/// Names the key of a link between two ranks (PROTOCOL.md, 6.10).
pub const LINK: &[u8] = b"link";
/// Names the key of a link's keystreams in a phase (PROTOCOL.md, 6.10).
pub const STREAM: &[u8] = b"stream";
/// Begins the associated data of every cell and beat (PROTOCOL.md, 6.6).
pub const CELLS: &[u8] = b"mixnn/1 A";
/// Begins what the signature of an announcement covers (PROTOCOL.md, 19.5).
pub const ANNOUNCEMENT: &[u8] = b"mixnn/1 announcement";
/// Names a package (PROTOCOL.md, 5.2) and begins what its signature covers (19.5). It also names the key in it under
/// which results are sealed (14.2).
pub const PACKAGE: &[u8] = b"mixnn/1 package";
/// Names the key of what stages start from (PROTOCOL.md, 4.9).
pub const START: &[u8] = b"start";
/// Names a result (PROTOCOL.md, 14.2).
pub const RESULT: &[u8] = b"mixnn/1 result";
/// Names the key of a verdict (PROTOCOL.md, 14.5).
pub const VERDICT: &[u8] = b"verdict";
/// Begins what the key of a checkpoint is derived with.
pub const CHECKPOINT: &[u8] = b"mixnn/1 checkpoint";
/// Begins what the key of the file of slots is derived with.
pub const SLOTS: &[u8] = b"mixnn/1 slots";
