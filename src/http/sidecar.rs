//! The Unix socket through which a sidecar on this machine passes calls on. Who may open it is the
//! file system's business: its file belongs to the gateway's user and group, and no other one.
//!
//! What it must not know: what comes through it.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Owner and group may connect.
const MODE: u32 = 0o660;

/// The file of a socket that listens; removed when dropped.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and number.
    file: (u64, u64),
}

/// Listens at this path. A socket that its process left behind is replaced. `Err` if a process
/// listens there, or if there is something else.
pub(crate) fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::other("something else than a socket is there"));
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::Error::other("a process listens there")),
            // Its process has gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        },
    }
    // Under another name until its mode is right, so that at no time another user can connect.
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(MODE))?;
    let metadata = std::fs::symlink_metadata(&new)?;
    std::fs::rename(&new, path)?;
    let file = (metadata.dev(), metadata.ino());
    Ok((listener, SocketFile { path: path.to_owned(), file }))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put its own there.
        let metadata = std::fs::symlink_metadata(&self.path);
        if metadata.is_ok_and(|found| (found.dev(), found.ino()) == self.file) {
            // If it stays, the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_owner_and_group_may_connect_and_the_file_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sidecar.sock");
        let (listener, file) = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let refused = bind(&path).err().expect("it is taken").to_string();
        assert_eq!(refused, "a process listens there");
        tokio::net::UnixStream::connect(&path).await.expect("it still listens");
        drop(listener);
        let (_next, next_file) = bind(&path).expect("a socket that was left behind is replaced");
        drop(file);
        assert!(path.exists(), "the next one is not the first one's to remove");
        drop(next_file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "precious").unwrap();
        assert!(bind(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
