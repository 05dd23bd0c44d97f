//! `baldur store import`.

use baldur::{
    Chain,
    port::{AdminError, ExportedEntry, Imported},
    wire,
};
use baldur_http::forms::Line;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    answers::Answers,
    exit::{Code, Failure, HasCode as _},
    lines,
    out::Output,
    session::Session,
    text,
};

/// A line of an export.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportLine<'a> {
    #[serde(borrow)]
    entry: &'a RawValue,
    #[serde(borrow)]
    evidence: Vec<&'a RawValue>,
}

/// What became of a line, as programs read it.
#[derive(Serialize)]
struct Answer {
    line: u64,
    id: String,
    imported: &'static str,
}

/// Why a line is no export: a code and words.
type Refused = (&'static str, String);

pub(super) async fn run(session: &Session, out: &Output) -> Result<(), Failure> {
    let mut input = lines::stdin().map_err(|error| {
        Failure::new(Code::Failure, "no thread could be started").because(&error)
    })?;
    let mut answers = Answers::new(out, "imported");
    let (mut new, mut present) = (0, 0);
    let mut broken = None;
    while let Some(chunk) = input.recv().await {
        let lines = match chunk {
            Ok(lines) => lines,
            Err(error) => {
                broken = Some(
                    Failure::new(Code::Failure, "standard input can't be read").because(&error),
                );
                break;
            }
        };
        broken = import(session, lines, &mut answers, &mut new, &mut present).await?;
        answers.flush()?;
        if broken.is_some() {
            break;
        }
    }
    let there = match present {
        0 => String::new(),
        present => format!(", {} were there before", text::number(present)),
    };
    let concluded = answers.conclude(&format!("imported {}{there}", text::entries(new)));
    broken.map_or(concluded, Err)
}

/// Imports one chunk; answers with why to stop, if so.
async fn import(
    session: &Session,
    lines: Vec<Line>,
    answers: &mut Answers<'_>,
    new: &mut u64,
    present: &mut u64,
) -> Result<Option<Failure>, Failure> {
    let mut asked = Vec::with_capacity(lines.len());
    let mut entries = Vec::with_capacity(lines.len());
    for Line { number, text } in lines {
        let read =
            text.map_err(|bad| (bad.code(), bad.message().to_owned())).and_then(|text| read(&text));
        match read {
            Ok(entry) => {
                asked.push((number, Ok(entry.op.id)));
                entries.push(entry);
            }
            Err(refused) => asked.push((number, Err(refused))),
        }
    }
    let mut imported = session.baldur.admin().import_batch(entries).await.into_iter();
    let mut stop = None;
    for (line, id) in asked {
        let id = match id {
            Ok(id) => id,
            Err((code, message)) => {
                answers.bad(line, code, &message)?;
                continue;
            }
        };
        match imported.next() {
            Some(Ok(what)) => {
                let (count, imported) = match what {
                    Imported::New => (&mut *new, "new"),
                    Imported::Present => (&mut *present, "present"),
                };
                *count += 1;
                answers.good(&Answer { line, id: id.to_string(), imported })?;
            }
            Some(Err(error)) => {
                let code = match &error {
                    AdminError::Backend(error) => error.kind().as_str(),
                    AdminError::Invalid(_) | _ => "not_importable",
                };
                answers.bad(line, code, &Chain(&error).to_string())?;
                if let AdminError::Backend(_) = &error {
                    stop.get_or_insert_with(|| {
                        Failure::new(error.exit_code(), "the store takes nothing in any more")
                            .because(&error)
                            .hint("run the same import again: what is there already is left alone")
                    });
                }
            }
            None => answers.bad(line, "other", "the store gave no answer")?,
        }
    }
    Ok(stop)
}

fn read(text: &str) -> Result<ExportedEntry, Refused> {
    // A derived reader would also take an array.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(("not_an_export", "the line is no JSON object".to_owned()));
    }
    let line: ExportLine<'_> = serde_json::from_str(text).map_err(|error| {
        ("not_an_export", format!("no line of an export, from column {} on", error.column()))
    })?;
    let refused = |error: wire::WireError| ("not_an_export", Chain(&error).to_string());
    let op = wire::decode_entry(line.entry.get()).map_err(refused)?;
    let evidence = line
        .evidence
        .into_iter()
        .map(|record| wire::decode_evidence(record.get()))
        .collect::<Result<_, _>>()
        .map_err(refused)?;
    Ok(ExportedEntry { op, evidence })
}
