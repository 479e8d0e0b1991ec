//! A small disk of its own: a file with a file system, mounted. Only root can do that.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// SQLite's files and a log fit several times.
const MIB: u64 = 64;

/// Mounted until dropped.
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    pub fn mount() -> Self {
        let disk = Self { dir: TempDir::new().unwrap() };
        let image = disk.dir.path().join("image");
        File::create(&image).unwrap().set_len(MIB * 1024 * 1024).unwrap();
        fs::create_dir(disk.path()).unwrap();
        run("mkfs.ext4", &["-q", "-m", "0"], &image);
        let status =
            Command::new("mount").args(["-o", "loop"]).args([&image, &disk.path()]).status();
        let mounted = status.is_ok_and(|status| status.success());
        assert!(mounted, "cannot mount: this kind needs root; HOSTILE=… plays others");
        disk
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It may be frozen still if a test has failed.
        let _ = Command::new("fsfreeze").arg("-u").arg(self.path()).output();
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn run(program: &str, arguments: &[&str], on: &Path) {
    let status = Command::new(program).args(arguments).arg(on).status();
    assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?} {on:?}");
}

/// `fsfreeze`: writers wait until it is thawed.
pub fn freeze(path: &Path) {
    run("fsfreeze", &["-f"], path);
}

pub fn thaw(path: &Path) {
    run("fsfreeze", &["-u"], path);
}
