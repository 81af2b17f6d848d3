//! The process that borrows: its window, what it was told, and that the two are always right.

use super::kernel::Kernel;
use super::model::Object;
use abi::protocol::lent::LentName;

impl Kernel {
    pub fn show(&mut self, place: usize, frame: Option<u32>) {
        match frame {
            Some(frame) => drop(self.window.insert(place, frame)),
            None => drop(self.window.remove(&place)),
        }
    }

    pub fn tell(&mut self, place: usize, name: Option<LentName>) {
        match name {
            Some(name) => assert_eq!(self.names.insert(place, name), None, "two names for place {place}"),
            None => drop(self.names.remove(&place)),
        }
    }

    /// Another borrower, to which nothing is shown yet.
    pub fn new_borrower(&mut self) {
        self.window.clear();
        self.names.clear();
    }

    /// The borrower sees what is in the pages it was told of, at every moment.
    pub fn check_borrowed(&self) {
        for (place, name) in &self.names {
            let is_named = |object: &&Object| LentName::of_object(object.id) == *name;
            let object = self.model.objects.values().find(is_named).expect("an object that lives is named");
            let frame = self.window.get(place).expect("named, so it is shown");
            let seen = self.frames[*frame as usize].bytes;
            assert_eq!(seen, object.pages[0], "place {place} shows something else than object {}", object.id);
        }
    }
}
