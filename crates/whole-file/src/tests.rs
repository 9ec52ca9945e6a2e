use std::os::unix::fs::PermissionsExt as _;
use std::{fs, mem, thread};

use super::*;

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("listed").map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    names.sort_unstable();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("readable")
}

#[test]
fn a_file_is_replaced_and_has_the_mode_that_was_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    let other = directory.path().join("other");
    fs::write(&other, "as the system makes files").expect("written");
    for (text, asked, expected) in [
        ("first", PRIVATE_MODE, PRIVATE_MODE),
        ("second", DEFAULT_MODE, mode(&other)),
        ("", PRIVATE_MODE, PRIVATE_MODE),
    ] {
        replace(&path, text, asked).expect("replaced");
        assert_eq!(read(&path), text);
        assert_eq!(mode(&path), expected, "{text}");
    }
    assert_eq!(names(directory.path()), ["file", "other"]);
}

#[test]
fn a_draft_has_the_mode_of_the_file_from_the_start_and_goes_when_dropped() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    let draft = Draft::write(&path, "secret", PRIVATE_MODE).expect("written");
    let [name] = &names(directory.path())[..] else {
        panic!("the draft alone");
    };
    assert!(name.starts_with(".file.") && name.ends_with(".draft"), "{name}");
    assert_eq!(mode(&directory.path().join(name)), PRIVATE_MODE);
    drop(draft);
    assert!(names(directory.path()).is_empty(), "the draft is left");
}

#[test]
fn drafts_that_crashes_left_behind_are_in_nobodys_way() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    for _ in 0..3 {
        mem::forget(Draft::write(&path, "half", DEFAULT_MODE).expect("written"));
    }
    create(&path, "first", PRIVATE_MODE).expect("made");
    replace(&path, "second", PRIVATE_MODE).expect("replaced");
    assert_eq!((read(&path).as_str(), mode(&path)), ("second", PRIVATE_MODE));
    assert_eq!(names(directory.path()).len(), 3 + 1);
}

#[test]
fn what_is_there_is_not_made_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    create(&path, "first", PRIVATE_MODE).expect("made");
    let error = create(&path, "second", PRIVATE_MODE).expect_err("refused");
    assert_eq!(error.to_string(), "File exists (os error 17)");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!((read(&path).as_str(), mode(&path)), ("first", PRIVATE_MODE));
    assert_eq!(names(directory.path()), ["file"]);
}

#[test]
fn a_file_that_cannot_be_put_in_place_leaves_what_was_there_and_no_draft() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    fs::create_dir(&path).expect("made");
    fs::write(path.join("within"), "old").expect("written");
    let error = replace(&path, "new", PRIVATE_MODE).expect_err("a directory is in the way");
    assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    assert_eq!(read(&path.join("within")), "old");
    assert_eq!(names(directory.path()), ["file"]);

    let path = path.join("within");
    let draft = Draft::write(&path, "new", PRIVATE_MODE).expect("written");
    fs::remove_file(&draft.draft).expect("removed");
    let error = draft.put().expect_err("there is no draft");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(read(&path), "old");
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_without_the_name_of_a_draft() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("missing/file");
    let error = replace(&path, "new", PRIVATE_MODE).expect_err("no such directory");
    assert_eq!(error.to_string(), "No such file or directory (os error 2)");
}

#[test]
fn writers_at_the_same_time_leave_the_text_of_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let (made, replaced) = (directory.path().join("made"), directory.path().join("replaced"));
    let texts: Vec<String> = (0..8).map(|number| number.to_string().repeat(10_000)).collect();
    let created = thread::scope(|scope| {
        let write = |text| {
            let (made, replaced) = (&made, &replaced);
            scope.spawn(move || {
                replace(replaced, text, PRIVATE_MODE).expect("replaced");
                match create(made, text, PRIVATE_MODE) {
                    Ok(()) => Some(text),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                    Err(error) => panic!("{error}"),
                }
            })
        };
        let writers: Vec<_> = texts.iter().map(write).collect();
        writers.into_iter().filter_map(|it| it.join().expect("ended")).collect::<Vec<_>>()
    });
    assert_eq!(created, [&read(&made)]);
    assert!(texts.contains(&read(&replaced)));
    assert_eq!(names(directory.path()), ["made", "replaced"]);
}

#[test]
fn a_bare_name_is_in_the_current_directory() {
    assert_eq!(directory(Path::new("file")), Path::new("."));
    assert_eq!(directory(Path::new("a/file")), Path::new("a"));
    assert_eq!(directory(Path::new("/file")), Path::new("/"));
}
