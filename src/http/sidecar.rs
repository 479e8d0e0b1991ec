//! The Unix socket through which a sidecar on this machine passes calls on. Who may open it is the
//! file system's business: its file belongs to the gateway's user and group, and no other one.
//!
//! What it must not know: what comes through it.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket};

/// Owner and group may connect.
const MODE: u32 = 0o660;
/// Connections that wait to be accepted; the kernel's own limit may be less.
const BACKLOG: u32 = 1_024;

/// The file of a socket that listens; removed when dropped.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and number.
    file: (u64, u64),
}

/// Listens at this path. A socket that its process left behind is replaced. `Err` if a process
/// listens there, or if there is something else.
pub(crate) fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    if is_socket(path)? {
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::Error::other("a process listens there")),
            // Its process has gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
    // Under another name until it listens, so that a sidecar meets the old one or the new one.
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let listener = closed(&new)?.listen(BACKLOG)?;
    let metadata = std::fs::symlink_metadata(&new)?;
    std::fs::rename(&new, path)?;
    let file = (metadata.dev(), metadata.ino());
    Ok((listener, SocketFile { path: path.to_owned(), file }))
}

/// A socket that has its file and its mode, and does not listen yet: no other user can have
/// connected before it does. Replaces what an interrupted start has left.
fn closed(path: &Path) -> io::Result<UnixSocket> {
    if is_socket(path)? {
        std::fs::remove_file(path)?;
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    Ok(socket)
}

/// Whether a socket is there. `Err` if there is something else.
fn is_socket(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(true),
        Ok(_) => {
            Err(io::Error::other(format!("something else than a socket is at {}", path.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
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
    async fn no_connection_is_taken_before_the_mode_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sidecar.sock");
        let socket = closed(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        let refused = tokio::net::UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let _listener = socket.listen(BACKLOG).unwrap();
        tokio::net::UnixStream::connect(&path).await.expect("now it listens");
    }

    #[tokio::test]
    async fn only_a_socket_is_replaced_under_either_name() {
        let dir = tempfile::tempdir().unwrap();
        let (path, new) = (dir.path().join("sock"), dir.path().join("sock.new"));
        for file in [&path, &new] {
            std::fs::write(file, "precious").unwrap();
            let refused = bind(&path).err().expect("something else is there").to_string();
            assert!(refused.contains("something else than a socket"), "{refused}");
            assert_eq!(std::fs::read_to_string(file).unwrap(), "precious");
            std::fs::remove_file(file).unwrap();
        }
        // As a start leaves it that was killed in the middle.
        drop(closed(&new).unwrap());
        assert!(new.exists());
        bind(&path).expect("what is left of it is replaced");
    }
}
