//! Lengths and names in the sources.

use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

const COLUMNS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 500;
const TEST_FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
/// Names that say nothing.
const BANNED_NAMES: [&str; 4] = ["common", "utils", "helpers", "misc"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for top in ["crates", "services", "tests"] {
        collect(&root().join(top), &mut files);
    }
    assert!(files.len() > 20, "only {} sources found", files.len());
    files
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches")
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn files_and_lines_are_short() {
    let mut problems = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).expect("UTF-8 source");
        let limit = if is_test(&path) { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
        let lines = text.lines().count();
        if lines > limit {
            problems.push(format!("{}: {lines} lines, at most {limit}", path.display()));
        }
        for (number, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                problems.push(format!("{}:{}: {columns} columns", path.display(), number + 1));
            }
        }
    }
    report(&problems);
}

struct LongFunctions<'a> {
    path: &'a Path,
    problems: &'a mut Vec<String>,
}

impl LongFunctions<'_> {
    fn check(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (start, end) = (signature.span().start().line, block.span().end().line);
        let lines = end - start + 1;
        if lines > FUNCTION_LINES_MAX {
            let place = format!("{}:{start}", self.path.display());
            self.problems.push(format!("{place}: fn {} has {lines} lines", signature.ident));
        }
    }
}

impl<'ast> Visit<'ast> for LongFunctions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.check(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.check(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}

#[test]
fn functions_are_short() {
    let mut problems = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).expect("UTF-8 source");
        let file = syn::parse_file(&text).expect("Rust source");
        LongFunctions { path: &path, problems: &mut problems }.visit_file(&file);
    }
    report(&problems);
}

#[test]
fn names_say_something() {
    let mut problems = Vec::new();
    for path in sources() {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        if BANNED_NAMES.contains(&stem) || folder.is_some_and(|name| BANNED_NAMES.contains(&name)) {
            problems.push(format!("{}: a name that says nothing", path.display()));
        }
    }
    report(&problems);
}

#[test]
fn no_source_file_is_dead() {
    let mut problems = Vec::new();
    for path in sources() {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a UTF-8 name");
        let folder = path.parent().expect("a file in a folder");
        let roots = ["lib", "main", "build", "mod"];
        let is_target = ["examples", "benches", "bin", "fuzz_targets"]
            .iter()
            .any(|kind| folder.file_name().is_some_and(|name| name == *kind));
        if roots.contains(&stem) || is_target {
            continue;
        }
        let parents = [
            folder.join("lib.rs"),
            folder.join("main.rs"),
            folder.join("mod.rs"),
            folder.with_extension("rs"),
        ];
        let declared =
            parents.iter().filter_map(|file| fs::read_to_string(file).ok()).any(|text| {
                text.lines().any(|line| {
                    let line = line.trim().trim_end_matches(" {");
                    line.ends_with(&format!("mod {stem};"))
                        || line.ends_with(&format!("mod {stem}"))
                })
            });
        if !declared {
            problems.push(format!("{}: no module declares it", path.display()));
        }
    }
    report(&problems);
}
