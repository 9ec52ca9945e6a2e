//! Files that are replaced as a whole: whoever reads one sees the old text or the new one.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::fault::Fault;

/// Puts `text` where `path` is, readable for whom `mode` and the umask say. Whoever may replace the
/// same file at the same time holds a lock.
///
/// # Errors
/// When the system refuses; then the file is as it was.
pub fn replace(path: &Path, text: &str, mode: u32) -> Result<(), Fault> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".draft-{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    written().map_err(|error| {
        // What led here is reported; a draft left behind harms nobody.
        fs::remove_file(&draft).ok();
        Fault::refused(format!("cannot write {}: {error}", path.display()))
    })
}
