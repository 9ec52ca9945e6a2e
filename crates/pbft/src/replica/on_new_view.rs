//! NEW-VIEW (section 4.4 of the paper).

use super::Replica;
use crate::event::Output;
use crate::evidence::Evidence;
use crate::keys::Keys;
use crate::message::NewView;
use crate::record::Record;

impl<K: Keys> Replica<K> {
    /// A right one is entered from any lower view, whoever passed it on: that is how a replica
    /// comes back that is several views behind (attack 26). A wrong one is a reason to leave its
    /// primary at once (attack 12).
    pub(super) fn on_new_view(&mut self, message: NewView) {
        if message.view < self.view || (message.view == self.view && self.is_active) {
            return;
        }
        let verdict = message.verify(&self.credentials, self.window, |view_change| {
            self.view_changes.get(&view_change.sender) == Some(view_change)
        });
        match verdict {
            Ok(()) => {
                self.persist(Record::NewView(message.clone()));
                self.heard.clear();
                self.heard.insert(message.sender);
                self.enter_view(message);
            }
            Err(error) => {
                if message.view == self.view && message.is_from_primary(&self.credentials) {
                    let new_view = Box::new(message);
                    self.emit(Output::Evidence(Evidence::InvalidNewView { new_view, error }));
                    self.leave_view();
                }
            }
        }
    }
}
