//! The page of the book names every code.

use baldur_app::Refusal;
use baldur_http::{PROBLEMS, forms::OP_CODES};

const PAGE: &str = include_str!("../../../../docs/book/src/reference/http-api.md");

#[test]
fn every_problem_is_in_the_book_with_its_status() {
    for problem in PROBLEMS {
        let row = format!("| `{}` | {} |", problem.code, problem.status);
        assert!(PAGE.contains(&row), "{row}");
    }
    for code in OP_CODES.iter().chain(&Refusal::CODES).chain(&["line_too_long", "store_refused"]) {
        assert!(PAGE.contains(&format!("`{code}`")), "{code}");
    }
}
