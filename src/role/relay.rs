//! The role of a rank without a stage. It mixes like any other, and its own messages are empty.

use super::{Role, RoleError};
use crate::compute::Backend;
use crate::ids::Slot;
use crate::mix::beat::Order;
use crate::mix::courier::Post;

/// The role of a rank that hosts no stage.
pub struct Relay;

impl<B: Backend> Role<B> for Relay {
    fn step(&mut self, _: &B, _: Slot, _: &mut Post<B::Bytes>) -> Result<Order, RoleError> {
        Ok(Order::GoOn)
    }
}
