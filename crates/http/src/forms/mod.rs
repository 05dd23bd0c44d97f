//! What requests and answers look like, shared by the HTTP interface and the command.

mod answers;
mod lines;
mod words;

pub use baldur_app::describe::{OP_CODES, OpError, parse_op};

pub use answers::{CaptureAnswer, Counts, ErrorAnswer, LineAnswer, SummaryAnswer, record};
pub use lines::{BadLine, Line, LineSplitter, MAX_LINE_BYTES};
pub use words::{pair, point, service};
