//! Names in other spellings.

/// The words of a name in camel case, in small letters with `between` between them.
#[must_use]
pub fn words(name: &str, between: char) -> String {
    let mut out = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            out.push(between);
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}
