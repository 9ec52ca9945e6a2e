//! Files that are replaced as a whole: whoever reads one sees the old text or the new one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::fault::Fault;

/// A text on its way to a path: on disk, beside it.
#[derive(Debug)]
pub struct Draft {
    draft: PathBuf,
    path: PathBuf,
}

impl Draft {
    /// Writes `text` beside `path`, readable for whom `mode` and the umask say. Whoever may replace
    /// the same file at the same time holds a lock.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(path: &Path, text: &str, mode: u32) -> Result<Self, Fault> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".draft-{}", std::process::id()));
        let draft = Self { draft: PathBuf::from(draft), path: path.to_owned() };
        let written = || {
            let mut open = OpenOptions::new();
            let mut file = open.write(true).create_new(true).mode(mode).open(&draft.draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        written().map_err(|error| draft.refused(&error))?;
        Ok(draft)
    }

    /// Puts it where it belongs.
    ///
    /// # Errors
    /// When the system refuses; then the file is as it was.
    pub fn put(self) -> Result<(), Fault> {
        fs::rename(&self.draft, &self.path).map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &io::Error) -> Fault {
        Fault::refused(format!("cannot write {}: {error}", self.path.display()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone when it was put; what else led here is reported, and a draft left behind harms
        // nobody.
        fs::remove_file(&self.draft).ok();
    }
}

/// Puts `text` where `path` is: [`Draft::write`] and [`Draft::put`].
///
/// # Errors
/// When the system refuses; then the file is as it was.
pub fn replace(path: &Path, text: &str, mode: u32) -> Result<(), Fault> {
    Draft::write(path, text, mode)?.put()
}
