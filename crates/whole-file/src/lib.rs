//! Small files that are written as a whole: whoever reads one, after a crash too, sees the old text
//! or the new one.
//!
//! A text is first written beside its place, as `.NAME.RANDOM.draft`. A crash may leave that one
//! there; nothing reads it, and it can be deleted.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

/// Mode of a file that only its owner reads and writes.
pub const PRIVATE_MODE: u32 = 0o600;
/// Mode of any other file: whatever the umask leaves of it.
pub const DEFAULT_MODE: u32 = 0o666;

/// A text on its way to a path: on the disk, beside it. Removed when dropped.
#[derive(Debug)]
pub struct Draft {
    draft: TempPath,
    path: PathBuf,
}

impl Draft {
    /// Writes a text beside `path`, open to whom `mode` and the umask say.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(path: &Path, text: impl AsRef<[u8]>, mode: u32) -> io::Result<Self> {
        let mut prefix = OsString::from(".");
        prefix.push(path.file_name().unwrap_or_default());
        prefix.push(".");
        // Unlike `tempfile_in`, this leaves the random name out of the errors.
        let mut draft = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".draft")
            .make_in(directory(path), |draft| {
                OpenOptions::new().write(true).create_new(true).mode(mode).open(draft)
            })?;
        draft.as_file_mut().write_all(text.as_ref())?;
        draft.as_file().sync_all()?;
        Ok(Self { draft: draft.into_temp_path(), path: path.to_owned() })
    }

    /// Puts it where it belongs, in place of what is there.
    ///
    /// # Errors
    /// When the system refuses; unless only the directory could not be synced, what was there is
    /// as it was.
    pub fn put(self) -> io::Result<()> {
        self.draft.persist(&self.path).map_err(|refused| refused.error)?;
        sync_directory(&self.path)
    }

    /// As [`Draft::put`], but durable only with whatever is put into the same directory next: so
    /// two files are replaced with nothing in between.
    ///
    /// # Errors
    /// When the system refuses; then what was there is as it was.
    pub fn put_unsynced(self) -> io::Result<()> {
        self.draft.persist(&self.path).map_err(|refused| refused.error)
    }

    /// As [`Draft::put`], but what is there already stays.
    ///
    /// # Errors
    /// `AlreadyExists` when something is there, or when the system refuses.
    pub fn put_new(self) -> io::Result<()> {
        self.draft.persist_noclobber(&self.path).map_err(|refused| refused.error)?;
        sync_directory(&self.path)
    }
}

/// Puts a text where `path` is, whatever was there: [`Draft::write`] and [`Draft::put`].
///
/// # Errors
/// As there.
pub fn replace(path: &Path, text: impl AsRef<[u8]>, mode: u32) -> io::Result<()> {
    Draft::write(path, text, mode)?.put()
}

/// Makes a file that is not there yet: [`Draft::write`] and [`Draft::put_new`].
///
/// # Errors
/// As there.
pub fn create(path: &Path, text: impl AsRef<[u8]>, mode: u32) -> io::Result<()> {
    Draft::write(path, text, mode)?.put_new()
}

/// Makes the name of a file, or that it is gone, durable: both are its directory's.
///
/// # Errors
/// When the system refuses.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

/// Where the file is. A bare name has an empty parent, which cannot be opened.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
