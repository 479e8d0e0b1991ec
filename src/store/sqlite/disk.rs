//! The disk below a file, in words for the operator: where it is mounted, whether it is full or
//! read-only. It must not know what the file holds.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rustix::fs::{StatVfs, StatVfsMountFlags};
use rustix::io::Errno;

/// With less than this, SQLite cannot even create the index of a log.
const ROOM_BYTES_MIN: u64 = 256 * 1024;

/// Where this process sees its disks.
const MOUNTS: &str = "/proc/self/mountinfo";

/// What kept SQLite from its file, and what to do if it was the disk.
pub(super) fn told(path: &Path, error: &rusqlite::Error) -> String {
    match hint_of_sqlite(path, error) {
        hint if hint.is_empty() => error.to_string(),
        hint => format!("{}: {error}{hint}", path.display()),
    }
}

/// What to add to an error of SQLite; empty if the disk did not cause it.
pub(super) fn hint_of_sqlite(path: &Path, error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::NoLargeFileSupport,
        ) => hint(path),
        Some(_) | None => String::new(),
    }
}

/// What to add to an error of the operating system; empty if the disk did not cause it.
pub(super) fn hint_of_io(path: &Path, error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::ROFS | Errno::IO) => hint(path),
        Some(Errno::ACCESS | Errno::PERM) => {
            "; the folder and all files of the database must belong to the user that the gateway \
             runs as"
                .to_owned()
        }
        Some(_) | None => String::new(),
    }
}

/// Where the disk of a file is mounted, which is the file itself if it is mounted alone. `None` if
/// that cannot be found out.
pub(super) fn mount_point(path: &Path) -> Option<PathBuf> {
    let table = fs::read(MOUNTS).ok()?;
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| {
        // "36 35 98:0 /its/root /mount/point options …" (proc_pid_mountinfo(5)).
        line.split(|byte| *byte == b' ').nth(4).map(unescaped)
    });
    points.filter(|point| path.starts_with(point)).max_by_key(|point| point.components().count())
}

fn hint(path: &Path) -> String {
    let directory = path.parent().unwrap_or(path);
    let mount = mount_point(path);
    let mount = mount.as_deref().unwrap_or(directory).display();
    let Ok(disk) = rustix::fs::statvfs(directory) else {
        return format!(" (the disk mounted at {mount} does not answer)");
    };
    let (free, all) = (bytes(&disk, disk.f_bavail), bytes(&disk, disk.f_blocks));
    let what_to_do = if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        "it is read-only: make it writable"
    } else if free < ROOM_BYTES_MIN {
        "it is full: make room on it"
    } else {
        "look for a quota, a limit on file sizes or on open files, missing permissions, or a \
         failing disk in the kernel's log"
    };
    let (free, all) = (in_mib(free), in_mib(all));
    format!(" (the disk mounted at {mount} has {free} free of {all}; {what_to_do})")
}

/// What is free for this user on the disk of a file.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path.parent().unwrap_or(path))?;
    Ok(bytes(&disk, disk.f_bavail))
}

fn bytes(disk: &StatVfs, blocks: u64) -> u64 {
    blocks.saturating_mul(disk.f_frsize)
}

/// In MiB with one digit, rounded down.
pub(super) fn in_mib(bytes: u64) -> String {
    let tenths = bytes / (1024 * 1024 / 10);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// The kernel writes a space, a tab, a line feed and a backslash as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = |digits: &[u8]| {
            digits.iter().try_fold(0_u8, |value, digit| {
                let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
                value.checked_mul(8)?.checked_add(digit)
            })
        };
        match (first, after.get(..3).and_then(octal)) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_point_of_a_file_is_the_nearest_one_above_it() {
        assert_eq!(mount_point(Path::new("/proc/self/status")), Some("/proc".into()));
        assert_eq!(mount_point(Path::new("/no-such-folder/x")), Some("/".into()));
    }

    #[test]
    fn names_with_spaces_and_backslashes_are_read_as_they_are() {
        assert_eq!(unescaped(br"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescaped(br"/a\04"), Path::new(r"/a\04"));
        assert_eq!(unescaped(br"/a\999"), Path::new(r"/a\999"));
    }

    #[test]
    fn an_error_of_the_disk_names_it_and_another_error_does_not() {
        let code = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        let path = Path::new("/proc/self/status");
        let io = told(path, &code(rusqlite::ffi::SQLITE_IOERR_FSYNC));
        assert!(io.contains("/proc/self/status") && io.contains("mounted at /proc"), "{io}");
        let busy = told(path, &code(rusqlite::ffi::SQLITE_BUSY));
        assert!(!busy.contains("mounted"), "{busy}");
        for errno in [Errno::NOSPC, Errno::IO] {
            assert!(hint_of_io(path, &errno.into()).contains("mounted at /proc"), "{errno:?}");
        }
        assert!(hint_of_io(path, &Errno::ACCESS.into()).contains("must belong to the user"));
        assert_eq!(hint_of_io(path, &Errno::NOENT.into()), "");
    }
}
