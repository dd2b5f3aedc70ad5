//! Fault plans: which primitives are to fail, to fall short or to be late, and how often. Made from text on the caller's thread.

use crate::driver::Primitive;
use crate::driver::dice::Dice;
use crate::error::{Error, Result};
use crate::sys;
use std::io;

/// The kinds of primitives, as plans name them, and the errors that each may give.
const KINDS: [(&str, &[&str]); 20] = [
    ("open", &["EACCES", "EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "EROFS", "EIO"]),
    ("read", &["EIO", "ENOMEM"]),
    ("write", &["EIO", "ENOSPC", "EDQUOT", "EFBIG"]),
    ("sync", &["EIO", "ENOSPC"]),
    ("stat", &["EIO", "EACCES", "ENOMEM"]),
    ("truncate", &["EIO", "EFBIG"]),
    ("close", &["EIO", "ENOSPC", "EDQUOT"]),
    ("accept", &["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]),
    ("connect", &["ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH", "ENOBUFS"]),
    ("receive", &["ECONNRESET", "ETIMEDOUT", "ENOBUFS"]),
    ("send", &["EPIPE", "ECONNRESET", "ENOBUFS"]),
    ("shutdown", &["ENOTCONN"]),
    ("work", &[]),
    ("copy", &["EIO", "ENOSPC", "EDQUOT", "EFBIG"]),
    ("remove", &["EACCES", "EPERM", "EROFS", "EIO"]),
    ("rename", &["EACCES", "EPERM", "ENOSPC", "EDQUOT", "EROFS", "EIO"]),
    ("make_directory", &["EACCES", "ENOSPC", "EDQUOT", "EROFS", "EIO"]),
    ("link", &["EACCES", "EPERM", "ENOSPC", "EDQUOT", "EROFS", "EIO"]),
    ("read_link", &["EACCES", "EIO"]),
    ("list", &["EACCES", "EMFILE", "ENFILE", "ENOMEM", "EIO"]),
];

/// The place of a primitive's kind in the table above.
fn kind_of(primitive: &Primitive) -> usize {
    match primitive {
        Primitive::Open { .. } | Primitive::OpenReplacement { .. } => 0,
        Primitive::Read { .. } | Primitive::ReadPath { .. } => 1,
        Primitive::Write { .. } | Primitive::WritePath { .. } => 2,
        Primitive::Sync { .. } => 3,
        Primitive::Stat { .. } | Primitive::StatPath { .. } => 4,
        Primitive::Truncate { .. } => 5,
        Primitive::Close { .. } => 6,
        Primitive::Accept { .. } => 7,
        Primitive::Connect { .. } => 8,
        Primitive::Receive { .. } => 9,
        Primitive::Send { .. } => 10,
        Primitive::Shutdown { .. } => 11,
        Primitive::Work { .. } => 12,
        Primitive::Copy { .. } => 13,
        Primitive::Remove { .. } => 14,
        Primitive::Rename { .. } => 15,
        Primitive::MakeDirectory { .. } => 16,
        Primitive::Link { .. } => 17,
        Primitive::ReadLink { .. } => 18,
        Primitive::ListPath { .. } => 19,
    }
}

/// What is to go wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    /// The system's error with this code.
    Error(i32),
    /// Any of the errors that the kind may give.
    AnyError,
    /// Fewer bytes than there could be.
    Short,
    /// So many nanoseconds later, at most.
    Delay(u64),
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    Probability(f64),
    /// Once: at the primitive with this number, counted from 1.
    Number(u64),
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    /// One bit for each kind.
    kinds: u32,
    what: What,
    when: When,
    /// How many primitives this rule has been asked for.
    asked: u64,
}

/// A fault plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan(Vec<Rule>);

/// What is to become of one primitive.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) error: Option<Error>,
    pub(super) short: bool,
    pub(super) delay_ns: u64,
}

impl Plan {
    /// Reads a plan: `kinds: faults; kinds: faults ...`, see sl_loop_options.
    pub(crate) fn parse(text: &str) -> Result<Plan> {
        let mut rules = Vec::new();
        for part in text.split(';').filter(|part| !part.trim().is_empty()) {
            let (kinds, faults) =
                part.split_once(':').ok_or_else(|| bad(format!("{:?} has no colon behind the kinds", part.trim())))?;
            let kinds = parse_kinds(kinds)?;
            let mut words = faults.split([' ', ',', '\t', '\n']).filter(|word| !word.is_empty()).peekable();
            if words.peek().is_none() {
                return Err(bad(format!("{:?} names no fault", part.trim())));
            }
            for word in words {
                rules.push(parse_fault(kinds, word)?);
            }
        }
        Ok(Plan(rules))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Decides what is to become of a primitive.
    pub(super) fn judge(&mut self, primitive: &Primitive, dice: &mut Dice) -> Verdict {
        let kind = kind_of(primitive);
        let mut verdict = Verdict::default();
        for rule in self.0.iter_mut().filter(|rule| rule.kinds & 1 << kind != 0) {
            rule.asked += 1;
            let hits = match rule.when {
                When::Probability(probability) => dice.hits(probability),
                When::Number(number) => number == rule.asked,
            };
            if !hits {
                continue;
            }
            match rule.what {
                // The first one counts.
                What::Error(_) | What::AnyError if verdict.error.is_some() => {}
                What::Error(code) => verdict.error = Some(system_error(code)),
                What::AnyError => verdict.error = any_error(kind, dice),
                What::Short => verdict.short = true,
                What::Delay(most) => verdict.delay_ns += dice.below(most) + 1,
            }
        }
        verdict
    }
}

fn system_error(code: i32) -> Error {
    io::Error::from_raw_os_error(code).into()
}

fn any_error(kind: usize, dice: &mut Dice) -> Option<Error> {
    let names = KINDS[kind].1;
    let name = names.get(dice.below(names.len() as u64) as usize)?;
    sys::error_code(name).map(system_error)
}

fn bad(what: impl AsRef<str>) -> Error {
    Error::invalid(format!("faults: {}", what.as_ref()))
}

fn parse_kinds(text: &str) -> Result<u32> {
    let mut kinds = 0;
    for name in text.split([' ', ',', '\t', '\n']).filter(|name| !name.is_empty()) {
        kinds |= match KINDS.iter().position(|(known, _)| *known == name) {
            Some(kind) => 1 << kind,
            None if name == "all" => (1 << KINDS.len()) - 1,
            None => {
                let known: Vec<_> = KINDS.iter().map(|(known, _)| *known).collect();
                return Err(bad(format!("{name:?} is no kind of operation: all, {}", known.join(", "))));
            }
        };
    }
    if kinds == 0 { Err(bad("a rule names no kind of operation")) } else { Ok(kinds) }
}

fn parse_fault(kinds: u32, word: &str) -> Result<Rule> {
    let (name, when) = if let Some((name, number)) = word.split_once('#') {
        let number = number.parse().ok().filter(|number| *number > 0);
        (name, number.map(When::Number))
    } else if let Some((name, probability)) = word.split_once('@') {
        let probability = probability.parse().ok().filter(|probability| (0.0..=1.0).contains(probability));
        (name, probability.map(When::Probability))
    } else {
        (word, Some(When::Probability(1.0)))
    };
    let when =
        when.ok_or_else(|| bad(format!("{word:?}: behind @ stands a probability, 0 to 1; behind #, a number from 1")))?;
    let what = match name.split_once('=') {
        Some(("delay", duration)) => What::Delay(parse_duration(duration).ok_or_else(|| {
            bad(format!("{word:?}: a delay is a whole number with ns, us, ms or s behind it, up to a day"))
        })?),
        None if name == "short" => What::Short,
        None if name == "error" => What::AnyError,
        _ => What::Error(sys::error_code(name).ok_or_else(|| {
            bad(format!("{word:?} is no fault: short, delay=..., error, or the name of an error like EIO"))
        })?),
    };
    Ok(Rule { kinds, what, when, asked: 0 })
}

fn parse_duration(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|duration| (1..=86_400_000_000_000).contains(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_what_how_often_and_of_which_kind() {
        let eio = sys::error_code("EIO").unwrap();
        let plan = Plan::parse("read, write: EIO@0.25 short; all: delay=5ms#3 error").unwrap();
        let rule = |kinds, what, when| Rule { kinds, what, when, asked: 0 };
        assert_eq!(
            plan.0,
            [
                rule(0b110, What::Error(eio), When::Probability(0.25)),
                rule(0b110, What::Short, When::Probability(1.0)),
                rule(0xfffff, What::Delay(5_000_000), When::Number(3)),
                rule(0xfffff, What::AnyError, When::Probability(1.0)),
            ]
        );
        assert!(Plan::parse(" ; ").unwrap().is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, named) in [
            ("reed: EIO", "\"reed\""),
            ("read EIO", "colon"),
            ("read:", "no fault"),
            (": EIO", "no kind"),
            ("read: EWHAT", "EWHAT"),
            ("read: EIO@1.5", "EIO@1.5"),
            ("read: EIO@", "EIO@"),
            ("read: EIO#0", "EIO#0"),
            ("read: delay=5", "delay=5"),
            ("read: delay=0ms", "delay=0ms"),
            ("read: delay=99999999999999999999s", "delay="),
        ] {
            let error = Plan::parse(text).unwrap_err();
            assert_eq!(error.status, crate::error::SL_ERR_INVALID, "{text}");
            assert!(error.detail.contains(named), "{text}: {}", error.detail);
        }
    }

    #[test]
    fn every_error_in_the_table_is_known_here() {
        for (kind, names) in KINDS {
            for name in names {
                assert!(sys::error_code(name).is_some(), "{kind}: {name}");
            }
        }
    }

    #[test]
    fn a_number_hits_once() {
        let mut plan = Plan::parse("shutdown: short; work: delay=1ns#2").unwrap();
        let mut dice = Dice::new(1);
        extern "C" fn unused(_: *mut std::ffi::c_void) -> i64 {
            0
        }
        // SAFETY: a region of length 0 promises nothing.
        let argument = unsafe { sys::Region::new(std::ptr::null_mut(), 0) };
        let work = Primitive::Work { function: unused, argument };
        let delays: Vec<u64> = (0..4).map(|_| plan.judge(&work, &mut dice).delay_ns).collect();
        assert_eq!(delays, [0, 1, 0, 0]);
    }
}
