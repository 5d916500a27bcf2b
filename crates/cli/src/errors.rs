//! `fanfare errors`: the table of codes in words, by name or by number.

use fanfare_core::code::{Code, Meaning, Outcome};
use serde_json::{Value, json};

use crate::args::Errors;
use crate::failure::Failure;
use crate::output;
use crate::paint::{Ink, Paint, wrap};

/// Columns of a terminal that need no scrolling.
const WIDTH: usize = 88;

pub fn run(args: &Errors) -> Result<(), Failure> {
    let Some(asked) = &args.code else {
        return all(args.json);
    };
    let found = find(asked)?;
    let paint = Paint::stdout();
    for (at, code) in found.into_iter().enumerate() {
        if args.json {
            output::line(&as_json(code).to_string())?;
            continue;
        }
        if at > 0 {
            output::line("")?;
        }
        output::line(&text(code, paint))?;
    }
    Ok(())
}

fn all(json: bool) -> Result<(), Failure> {
    if json {
        return Code::ALL
            .iter()
            .try_for_each(|code| output::line(&as_json(*code).to_string()));
    }
    let paint = Paint::stdout();
    let head = format!(
        "{:<21} {:>4}  {:>4}  {:<15} MEANING",
        "CODE", "HTTP", "WS", "ADVICE"
    );
    output::line(&paint.ink(Ink::Faint, &head))?;
    for code in Code::ALL {
        let advice = code.advice(code.publish_outcome()).as_str();
        let name = paint.ink(Ink::Strong, &format!("{:<21}", code.as_str()));
        output::line(&format!(
            "{name} {:>4}  {:>4}  {advice:<15} {}",
            number(code.http()),
            number(code.ws()),
            code.title()
        ))?;
    }
    output::line("\nOne of them: fanfare errors CODE")
}

fn number(number: Option<u16>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// The codes that a name or number means.
fn find(asked: &str) -> Result<Vec<Code>, Failure> {
    let name = asked.trim().to_lowercase().replace('-', "_");
    // Clients name an end without a code by its number.
    let digits = ["http_", "close_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(&name);
    if let Ok(wanted) = digits.parse::<u16>() {
        let has = |code: &&Code| code.http() == Some(wanted) || code.ws() == Some(wanted);
        let found: Vec<Code> = Code::ALL.iter().filter(has).copied().collect();
        return match found.is_empty() {
            false => Ok(found),
            true => Err(Failure::Usage(format!(
                "no code has the number {wanted} over HTTP or WebSocket\n{}",
                foreign(wanted)
            ))),
        };
    }
    match Code::by_name(&name) {
        Some(code) => Ok(vec![code]),
        None => Err(Failure::Usage(unknown(asked, &name))),
    }
}

/// What a number says that no node sends.
fn foreign(number: u16) -> &'static str {
    match number {
        502 | 504 => "A proxy says so when the edge behind it does not answer: fanfare doctor URL",
        1006 => {
            "The connection was cut without a word, by a crash, a network or a proxy: connect again"
        }
        1000 | 1001 => "The client itself, or its page, has gone",
        _ => "It comes from something between the client and the edge. All codes: fanfare errors",
    }
}

fn unknown(asked: &str, name: &str) -> String {
    let mut near: Vec<(f64, &str)> = Code::ALL
        .iter()
        .map(|code| (strsim::jaro_winkler(name, code.as_str()), code.as_str()))
        .filter(|(likeness, _)| *likeness > 0.7)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<String> = near
        .iter()
        .take(3)
        .map(|(_, name)| format!("`{name}`"))
        .collect();
    match near.is_empty() {
        true => format!("`{asked}` is no code\nAll codes: fanfare errors"),
        false => format!("`{asked}` is no code; did you mean {}?", near.join(" or ")),
    }
}

/// gRPC's names are spelt in capitals.
fn grpc(code: Code) -> String {
    let mut out = String::new();
    for (at, c) in format!("{:?}", code.grpc()).char_indices() {
        if at > 0 && c.is_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

fn text(code: Code, paint: Paint) -> String {
    let Meaning { when, remedy } = code.meaning();
    let publish = code.publish_outcome();
    let row = |label: &str, text: &str| {
        let label = paint.ink(Ink::Faint, &format!("{label:<12}"));
        format!("{label}{}", wrap(text, 12, WIDTH))
    };
    let numbers = [("HTTP", code.http()), ("WebSocket close", code.ws())]
        .into_iter()
        .filter_map(|(name, number)| Some(format!("{name} {}", number?)));
    let numbers: Vec<String> = numbers.chain([format!("gRPC {}", grpc(code))]).collect();
    let advice = match (code.advice(Outcome::None), code.advice(publish)) {
        (reader, publisher) if reader == publisher => reader.as_str().to_owned(),
        (reader, publisher) => format!(
            "{} to a publisher, else {}",
            publisher.as_str(),
            reader.as_str()
        ),
    };
    let title = paint.ink(Ink::Strong, code.as_str());
    [
        format!("{title}: {}", code.title()),
        String::new(),
        row("When", when),
        row("Do", remedy),
        row("Try again", code.retry()),
        row("A publish", placed(publish)),
        row("Advice", &advice),
        row("Numbers", &numbers.join(", ")),
    ]
    .join("\n")
}

fn placed(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::None => "is not answered with it",
        Outcome::NotPlaced => "was not placed and never will be (not_placed)",
        Outcome::Unknown => "may be placed, now or later (unknown)",
    }
}

fn as_json(code: Code) -> Value {
    let Meaning { when, remedy } = code.meaning();
    let publish = code.publish_outcome();
    json!({
        "code": code.as_str(),
        "title": code.title(),
        "when": when,
        "do": remedy,
        "try_again": code.retry(),
        "outcome": publish.as_str(),
        "advice": code.advice(Outcome::None).as_str(),
        "advice_to_publishers": code.advice(publish).as_str(),
        "http": code.http(),
        "ws": code.ws(),
        "grpc": grpc(code),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(asked: &str) -> String {
        match find(asked) {
            Err(Failure::Usage(text)) => text,
            other => panic!("{asked}: {other:?}"),
        }
    }

    #[test]
    fn a_code_is_found_however_it_is_written() {
        for asked in ["no_quorum", "NO_QUORUM", "no-quorum", " no_quorum "] {
            assert_eq!(find(asked).unwrap(), [Code::NoQuorum]);
        }
        assert_eq!(find("4501").unwrap(), [Code::TokenExpired]);
        assert_eq!(
            find("close_1013").unwrap(),
            [Code::Overloaded, Code::SlowConsumer]
        );
        assert!(find("http_503").unwrap().contains(&Code::NotReady));
    }

    #[test]
    fn what_is_no_code_is_told_the_nearest() {
        let text = refused("no_quorrum");
        assert!(text.contains("did you mean `no_quorum`"), "{text}");
        assert!(refused("zzz").contains("fanfare errors"));
        assert!(refused("502").contains("doctor"));
        assert!(refused("1006").contains("cut"));
    }

    #[test]
    fn each_code_has_a_page_and_an_object() {
        let paint = Paint::plain();
        for code in Code::ALL {
            let page = text(*code, paint);
            assert!(
                page.contains(code.retry().split(' ').next().unwrap()),
                "{page}"
            );
            assert!(
                page.lines().all(|line| line.chars().count() <= WIDTH + 20),
                "{page}"
            );
            let object = as_json(*code);
            assert_eq!(object["code"], code.as_str());
            assert!(object["do"].is_string() && object["grpc"].is_string());
        }
        assert_eq!(grpc(Code::InvalidArgument), "INVALID_ARGUMENT");
    }
}
