//! placeholder
pub mod compute; pub mod data; pub mod mix; pub mod transport; pub mod crypto; pub mod ids; pub mod job; pub mod nn; pub mod pipeline; pub mod random; pub mod wire;
