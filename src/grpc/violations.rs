//! What is wrong with the fields of a request.

/// The most violations that an error lists. It counts the others.
pub(crate) const VIOLATIONS_MAX: usize = 20;

/// What is wrong with the fields of a request: the first of them, and how many there are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Violations {
    pub(super) shown: Vec<Violation>,
    pub(super) total: usize,
}

/// One wrong field of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Violation {
    /// Path in the request, as in the proto: `settle_params[2].amount_fen`.
    pub(super) field: String,
    pub(super) description: String,
}

impl Violations {
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.total += 1;
        if self.shown.len() < VIOLATIONS_MAX {
            let (field, description) = (field.into(), description.into());
            self.shown.push(Violation { field, description });
        }
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}
