//! Command lines that make no sense, made at random from the descriptors: each ends with exit
//! code 2 and says what is wrong, in one line, with a hint in another.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::Command;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MethodDescriptor};

/// Lines that are tried with each seed.
const LINES: usize = 100;

/// As splitmix64 makes them.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let length = u64::try_from(from.len()).expect("small");
        &from[usize::try_from(self.next() % length).expect("small")]
    }

    fn word(&mut self) -> String {
        (0..8).map(|_| *self.pick(&['a', 'b', 'q', 'x', 'z'])).collect()
    }
}

/// A line, and words of which the answer must have one.
struct Wrong {
    line: Vec<OsString>,
    words: Vec<String>,
}

impl Wrong {
    fn new(method: &MethodDescriptor, rest: &[&str], words: &[&str]) -> Self {
        let names = names(method);
        let line = names.iter().map(String::as_str).chain(rest.iter().copied());
        Self {
            line: line.map(OsString::from).collect(),
            words: words.iter().map(|word| (*word).to_owned()).collect(),
        }
    }
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        match letter {
            '_' => out.push('-'),
            upper if upper.is_ascii_uppercase() => {
                if !out.is_empty() {
                    out.push('-');
                }
                out.push(upper.to_ascii_lowercase());
            }
            other => out.push(other),
        }
    }
    out
}

fn names(method: &MethodDescriptor) -> [String; 2] {
    let service = method.parent_service().name();
    [service.strip_suffix("Service").unwrap_or(service), method.name()].map(kebab)
}

fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(pentad_api::FILE_DESCRIPTOR_SET).expect("descriptors");
    pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// Names that a field cannot have for itself.
const TAKEN: [&str; 6] = ["node", "dir", "grpc", "cookie", "output", "context"];

/// The fields that are flags by their own names.
fn plain(method: &MethodDescriptor) -> Vec<FieldDescriptor> {
    let is_plain = |field: &FieldDescriptor| {
        !TAKEN.contains(&field.name())
            && !field.is_map()
            && (field.is_list() || !matches!(field.kind(), Kind::Message(_)))
    };
    method.input().fields().filter(is_plain).collect()
}

fn wrong_values(kind: &Kind) -> &'static [&'static str] {
    match kind {
        Kind::String => &[],
        Kind::Bytes => &["0", "xy", "0x00", "base58:0", "é", " "],
        Kind::Bool => &["maybe", "1", "TRUE", ""],
        Kind::Enum(_) => &["nonsense", "1", "FINAL", ""],
        Kind::Message(_) => &["{", "nonsense", "no-such-field=1", "[]", "{} {}", "{\"q\":1}"],
        Kind::Float | Kind::Double => &["", "one", "0x1", "1 ", "1_0", "٣"],
        _ => &["", "one", "0x1", "1 ", "99999999999999999999999", "1_0", "٣", "1e3"],
    }
}

/// A field that is a flag, and the flag.
fn pick_flag(random: &mut Random, method: &MethodDescriptor) -> Option<(FieldDescriptor, String)> {
    let fields = plain(method);
    let field = (!fields.is_empty()).then(|| random.pick(&fields).clone())?;
    let flag = format!("--{}", kebab(field.name()));
    Some((field, flag))
}

/// A wrong line out of the many about a method; `None` where that kind needs other fields.
fn wrong(random: &mut Random, method: &MethodDescriptor, file: &Path) -> Option<Wrong> {
    let nonsense = random.word();
    match random.next() % 12 {
        0 => Some(Wrong::new(method, &[&format!("--{nonsense}")], &[&nonsense])),
        1 => Some(Wrong::new(method, &[&nonsense], &[&nonsense])),
        2 => {
            let mut wrong = Wrong::new(method, &[], &[&nonsense]);
            wrong.line[1] = OsString::from(&nonsense);
            Some(wrong)
        }
        3 => {
            let absent = format!("/{nonsense}/request.json");
            Some(Wrong::new(method, &["--json", &absent], &[&absent]))
        }
        4 => wrong_json(random, method, file),
        5 => Some(wrong_globals(random, method)),
        kind => wrong_flag(random, method, kind),
    }
}

fn wrong_flag(random: &mut Random, method: &MethodDescriptor, kind: u64) -> Option<Wrong> {
    let (field, flag) = pick_flag(random, method)?;
    let is_switch = field.kind() == Kind::Bool && !field.is_list();
    match kind {
        6 => {
            let values = wrong_values(&field.kind());
            let value = (!values.is_empty()).then(|| *random.pick(values))?;
            Some(Wrong::new(method, &[&format!("{flag}={value}")], &[&flag]))
        }
        7 => (!is_switch).then(|| Wrong::new(method, &[&flag], &[&flag])),
        8 => is_switch.then(|| Wrong::new(method, &[&flag, &flag], &[&flag])),
        9 => {
            let misspelt = format!("{flag}-{}", random.word());
            Some(Wrong::new(method, &[&misspelt], &[&misspelt]))
        }
        10 => {
            let mut wrong = Wrong::new(method, &[], &["UTF-8"]);
            let bytes = [format!("{flag}=").as_bytes(), &[0xff, 0xfe]].concat();
            wrong.line.push(OsString::from_vec(bytes));
            Some(wrong)
        }
        _ => {
            let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic())?;
            let fields = plain(method);
            let rival = oneof.fields().find(|other| *other != field && fields.contains(other))?;
            let typed = [&field, &rival].map(|field| {
                let value = match field.kind() {
                    Kind::Bool => "true",
                    Kind::Bytes => "00",
                    Kind::Message(_) => "{}",
                    _ => "1",
                };
                format!("--{}={value}", kebab(field.name()))
            });
            Some(Wrong::new(method, &[&typed[0], &typed[1]], &[&flag]))
        }
    }
}

fn wrong_json(random: &mut Random, method: &MethodDescriptor, file: &Path) -> Option<Wrong> {
    // A stream of requests is read while the call goes on.
    if method.is_client_streaming() {
        return None;
    }
    let texts = ["", "{", "[]", "7", "null", "{\"q q\":1}", "{} {}", "nonsense"];
    std::fs::write(file, random.pick(&texts)).expect("written");
    let name = file.to_str().expect("a UTF-8 path");
    Some(Wrong::new(method, &["--json", name], &[name]))
}

fn wrong_globals(random: &mut Random, method: &MethodDescriptor) -> Wrong {
    let (flag, value, word) = *random.pick(&[
        ("--timeout", "0", "--timeout"),
        ("--timeout", "soon", "--timeout"),
        ("--node", "0", "--node"),
        ("--node", "first", "--node"),
        ("--node", "99999", "--node"),
        ("--output", "xml", "--output"),
        ("--grpc", "", "--grpc"),
        ("--grpc", "no address", "no address"),
        ("--context", "nowhere", "nowhere"),
        ("--dir", "/no/such/directory", "/no/such/directory"),
    ]);
    Wrong::new(method, &[flag, value], &[word])
}

fn wrong_lines_are_told(seed: u64) {
    println!("seed {seed}: PENTAD_SEED={seed} replays it");
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let file = folder.path().join("request.json");
    let (mut random, methods) = (Random(seed), methods());
    let mut tried = 0;
    while tried < LINES {
        let method = random.pick(&methods).clone();
        let Some(Wrong { line, words }) = wrong(&mut random, &method, &file) else { continue };
        tried += 1;
        let mut command = Command::new(env!("CARGO_BIN_EXE_pentad"));
        for name in ["CONTEXT", "DIR", "NODE", "OUTPUT", "GRPC", "COOKIE", "CONTEXTS"] {
            command.env_remove(format!("PENTAD_{name}"));
        }
        let output = command
            .args(&line)
            .env("HOME", folder.path())
            .env_remove("XDG_CONFIG_HOME")
            .current_dir(folder.path())
            .output()
            .expect("pentad runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line:?}: {text}");
        assert!(output.stdout.is_empty(), "{line:?}");
        assert!(text.starts_with("error: ") && text.contains("\nhint: "), "{line:?}: {text}");
        assert!(words.iter().any(|word| text.contains(word)), "{line:?}: no {words:?} in {text}");
    }
}

#[test]
fn a_hundred_wrong_lines_are_told() {
    wrong_lines_are_told(1);
}

#[test]
fn a_hundred_wrong_lines_with_another_seed_are_told() {
    let given = std::env::var("PENTAD_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    wrong_lines_are_told(given.unwrap_or_else(|| now.expect("after 1970").subsec_nanos().into()));
}
