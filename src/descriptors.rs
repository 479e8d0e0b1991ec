//! File descriptors: how many this process may open, and how many are open. Without a free one no
//! connection is accepted, and Douyin cannot be called.
//!
//! What it must not know: what they are for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and returns it. `None`: no limit.
pub(crate) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.maximum;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // The limit stays if the operating system does not allow it.
    let _ = setrlimit(Resource::Nofile, raised);
    allowed()
}

/// How many may be open. `None`: any number.
pub(crate) fn allowed() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// How many are open, if the operating system tells.
pub(crate) fn used() -> Option<usize> {
    std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_counted_and_within_what_is_allowed() {
        let allowed = raise();
        let before = used().expect("this operating system tells");
        let files = [(); 5].map(|()| std::fs::File::open("/proc/self/stat").unwrap());
        assert!(used().unwrap() >= 5 && before > 0, "others open and close theirs beside us");
        assert!(allowed.is_none_or(|allowed| allowed > 5));
        drop(files);
    }
}
