//! Whether a database holds settles of a sandbox or real ones, by a mark in the file's header. It
//! must not know SQL.

/// Whether the settles of a database are real.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// They may be real payments.
    Real,
    /// They were made against the simulator of a sandbox, which has forgotten them.
    Sandbox,
}

impl Purpose {
    pub(super) const ALL: [Purpose; 2] = [Purpose::Real, Purpose::Sandbox];

    /// Marks a database as the gateway's: "SetG" in ASCII, or "SetS". Earlier versions gave the
    /// first mark to the files of sandboxes too, so such a file counts as real.
    pub(super) fn application_id(self) -> i32 {
        match self {
            Purpose::Real => 0x5365_7447,
            Purpose::Sandbox => 0x5365_7453,
        }
    }

    /// `None`: the database belongs to another program.
    pub(super) fn of(application_id: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.application_id() == application_id)
    }
}
