//! Histories as Rust.

use super::Step;

/// The history as an expression of `differential/regressions.rs`, one step a line.
pub(crate) fn rust_of(history: &[Step]) -> String {
    let steps = history.iter().map(|step| format!("    {},\n", with_vecs(&format!("{step:?}"))));
    format!("vec![\n{}]", steps.collect::<String>())
}

/// Debug forms are Rust but for vectors, which lack their macro. Brackets inside texts are left alone.
fn with_vecs(debug: &str) -> String {
    let (mut rust, mut quoted, mut escaped) = (String::new(), false, false);
    for c in debug.chars() {
        if c == '[' && !quoted {
            rust.push_str("vec!");
        }
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && c == '\\' && !escaped;
        rust.push(c);
    }
    rust
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Deed, Shown, text},
        *,
    };

    #[test]
    fn a_history_is_printed_as_rust() {
        let hostile = text("[\"\\[").times(2);
        let history = [
            Step::Extend { slots: vec![(1, Shown::Current)], lease: 5 },
            Step::Act(vec![(7, Deed::Resolve(hostile)), (8, Deed::Back)]),
        ];
        let expected = r#"vec![
    Extend { slots: vec![(1, Current)], lease: 5 },
    Act(vec![(7, Resolve(text("[\"\\[").times(2))), (8, Back)]),
]"#;
        assert_eq!(rust_of(&history), expected);
    }
}
