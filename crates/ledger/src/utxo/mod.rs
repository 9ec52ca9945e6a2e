//! The set of unspent outputs: how it is read, and how blocks change it.

mod changes;
mod overlay;
mod set;
mod undo;
mod view;

pub use changes::{UndoError, UtxoChanges, is_spendable};
pub use overlay::UtxoOverlay;
pub use set::UtxoSet;
pub use undo::BlockUndo;
pub use view::UtxoView;
