//! Scenario files: what each direction of a link is like, and how that changes.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::capacity::Capacity;
use crate::cellular::{self, Bounds};
use crate::direction::{Plan, Traits};
use crate::loss::{self, Loss};
use crate::queue::Discipline;
use crate::units::{Rate, Share, Size, Span};

/// Why a scenario can't be used. Says where, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file can't be read.
    #[error("can't read {0}: {1}")]
    Read(String, std::io::Error),
    /// It is no YAML, or has fields that there are not, or values that are no such quantity.
    #[error("{0}: {1}")]
    Format(String, String),
    /// It contradicts itself.
    #[error("{0}: {1}: {2}")]
    Meaning(String, String, String),
}

/// A link.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Where all that is random comes from.
    pub seed: u64,
    /// From the client to the server.
    pub up: Plan,
    /// From the server to the client.
    pub down: Plan,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    up: Section,
    #[serde(default)]
    down: Section,
}

/// A direction, or a change of it. What a change doesn't name stays as it was.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    at: Option<Span>,
    delay: Option<Span>,
    jitter: Option<Span>,
    jitter_reorders: Option<bool>,
    loss: Option<Share>,
    burst: Option<f64>,
    reorder: Option<Share>,
    reorder_by: Option<Span>,
    duplicate: Option<Share>,
    rate: Option<Rate>,
    cellular: Option<Cellular>,
    queue: Option<Size>,
    discipline: Option<Discipline>,
    #[serde(default)]
    changes: Vec<Section>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cellular {
    lowest: Rate,
    typical: Rate,
    highest: Rate,
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let name = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|e| ScenarioError::Read(name.clone(), e))?;
        Self::parse(&name, &text)
    }

    /// Reads the text of a file of this name.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        let file: File = serde_saphyr::from_str(text)
            .map_err(|e| ScenarioError::Format(name.into(), e.to_string()))?;
        let plan = |direction: &str, section: &Section, salt: u64| {
            plan(section, file.seed ^ salt).map_err(|(place, what)| {
                ScenarioError::Meaning(name.into(), format!("{direction}{place}"), what)
            })
        };
        // What is random in one direction is independent of the other.
        Ok(Self {
            seed: file.seed,
            up: plan("up", &file.up, UP)?,
            down: plan("down", &file.down, DOWN)?,
        })
    }

    /// Seeds of the two directions, up and down.
    pub fn seeds(&self) -> (u64, u64) {
        (self.seed ^ UP, self.seed ^ DOWN)
    }
}

const UP: u64 = 0x7570_0000_0000_0001;
const DOWN: u64 = 0x646f_776e_0000_0002;

/// Where in the section, and what is wrong.
type Wrong = (String, String);

fn plan(section: &Section, seed: u64) -> Result<Plan, Wrong> {
    let here = |what: &str| Err((String::new(), what.to_owned()));
    if section.at.is_some() {
        return here("'at' belongs into an entry of 'changes'");
    }
    let mut capacity = match (section.rate, section.cellular) {
        (Some(_), Some(_)) => return here("'rate' and 'cellular' exclude one another: remove one"),
        (rate, None) => Capacity::new(rate.and_then(|rate| rate.0)),
        (None, Some(wish)) => cellular::capacity(bounds(wish)?, seed),
    };
    let first = traits(section).map_err(|what| (String::new(), what))?;
    let mut steps = vec![(Duration::ZERO, first)];
    let mut merged = section.clone();
    for (n, change) in section.changes.iter().enumerate() {
        let wrong = |what: &str| (format!(".changes[{n}]"), what.to_owned());
        let Some(Span(at)) = change.at else {
            return Err(wrong("it needs a time, like 'at: 20s'"));
        };
        if steps.last().is_some_and(|(last, _)| at <= *last) {
            return Err(wrong("its time must be after the one before, and after 0s"));
        }
        if change.cellular.is_some() || !change.changes.is_empty() {
            return Err(wrong(
                "'cellular' and 'changes' belong to the direction itself",
            ));
        }
        if change.rate.is_some() && section.cellular.is_some() {
            return Err(wrong("the rate comes from 'cellular': remove 'rate'"));
        }
        if let Some(Rate(rate)) = change.rate {
            capacity.then(at, rate);
        }
        merged = merge(&merged, change);
        steps.push((at, traits(&merged).map_err(|what| wrong(&what))?));
    }
    Ok(Plan {
        traits: steps,
        capacity,
    })
}

fn merge(before: &Section, change: &Section) -> Section {
    Section {
        at: None,
        delay: change.delay.or(before.delay),
        jitter: change.jitter.or(before.jitter),
        jitter_reorders: change.jitter_reorders.or(before.jitter_reorders),
        loss: change.loss.or(before.loss),
        // A new share without a length is no burst any more.
        burst: change
            .burst
            .or(before.burst.filter(|_| change.loss.is_none())),
        reorder: change.reorder.or(before.reorder),
        reorder_by: change.reorder_by.or(before.reorder_by),
        duplicate: change.duplicate.or(before.duplicate),
        rate: change.rate.or(before.rate),
        cellular: None,
        queue: change.queue.or(before.queue),
        discipline: change.discipline.or(before.discipline),
        changes: Vec::new(),
    }
}

fn traits(section: &Section) -> Result<Traits, String> {
    let share = |share: Option<Share>| share.map_or(0.0, |share| share.0);
    let span = |span: Option<Span>| span.map_or(Duration::ZERO, |span| span.0);
    let defaults = Traits::default();
    let lost = share(section.loss);
    let loss = match section.burst {
        None if lost == 0.0 => Loss::None,
        None => Loss::Random(lost),
        Some(_) if section.loss.is_none() => {
            return Err("'burst' says how long losses are: add 'loss', like 'loss: 5%'".into());
        }
        Some(mean_length) if !(mean_length >= 1.0 && mean_length.is_finite()) => {
            return Err(format!("'burst: {mean_length}' must be 1 packet or more"));
        }
        Some(mean_length) if lost > loss::max_share(mean_length) => {
            return Err(format!(
                "bursts of {mean_length} can't lose more than {:.1}%: lower 'loss' or raise 'burst'",
                loss::max_share(mean_length) * 100.0
            ));
        }
        Some(_) if lost == 0.0 => Loss::None,
        Some(mean_length) => Loss::Bursts {
            share: lost,
            mean_length,
        },
    };
    if section.reorder.is_some() != section.reorder_by.is_some() {
        return Err(
            "'reorder' (a share) and 'reorder_by' (a time) go together: add the other".into(),
        );
    }
    Ok(Traits {
        delay: span(section.delay),
        jitter: span(section.jitter),
        jitter_reorders: section.jitter_reorders.unwrap_or_default(),
        loss,
        reorder: share(section.reorder),
        reorder_by: span(section.reorder_by),
        duplicate: share(section.duplicate),
        queue: section.queue.unwrap_or(defaults.queue),
        discipline: section.discipline.unwrap_or_default(),
    })
}

fn bounds(wish: Cellular) -> Result<Bounds, Wrong> {
    match (wish.lowest.0, wish.typical.0, wish.highest.0) {
        (Some(lowest), Some(typical), Some(highest))
            if 0 < lowest && lowest <= typical && typical <= highest =>
        {
            Ok(Bounds {
                lowest,
                typical,
                highest,
            })
        }
        _ => Err((
            ".cellular".into(),
            "it needs rates with 0 < lowest ≤ typical ≤ highest".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, String> {
        Scenario::parse("x.yaml", text).map_err(|e| e.to_string())
    }

    #[test]
    fn each_direction_is_as_the_file_says_and_changes_at_its_times() {
        let scenario = parse(
            "
            seed: 7
            up: { delay: 50ms }
            down:
              delay: 50ms
              loss: 5%
              burst: 5
              rate: 4 Mbit/s
              queue: 60 kB
              discipline: codel
              changes:
                - { at: 20s, rate: 1 Mbit/s }
                - { at: 40s, loss: 1%, delay: 80ms }
            ",
        )
        .unwrap();
        let ms = Duration::from_millis;
        assert_eq!(scenario.up.traits[0].1.delay, ms(50));
        assert_eq!(scenario.up.capacity.at(ms(0)), None);
        let down = scenario.down;
        let steps =
            [(0, Some(4_000_000)), (20_000, Some(1_000_000))].map(|(at, rate)| (ms(at), rate));
        assert_eq!(down.capacity.steps(), steps);
        let bursts = Loss::Bursts {
            share: 0.05,
            mean_length: 5.0,
        };
        assert_eq!(down.traits[1].1.loss, bursts);
        assert_eq!(down.traits[1].1, down.traits[0].1);
        assert_eq!(
            (down.traits[2].1.loss, down.traits[2].1.delay),
            (Loss::Random(0.01), ms(80))
        );
        assert_eq!(down.traits[2].1.queue, Size::Bytes(60_000));
        assert_eq!(down.traits[2].1.discipline, Discipline::Codel);
    }

    #[test]
    fn nothing_said_is_a_perfect_link() {
        let scenario = parse("{}").unwrap();
        assert_eq!(
            (scenario.up, scenario.down),
            (Plan::default(), Plan::default())
        );
    }

    #[test]
    fn the_directions_of_a_mobile_network_are_different_ones() {
        let cellular = "{ cellular: { lowest: 300 kbit/s, typical: 2 Mbit/s, highest: 8 Mbit/s } }";
        let scenario = parse(&format!("seed: 1\nup: {cellular}\ndown: {cellular}")).unwrap();
        assert_ne!(scenario.up.capacity, scenario.down.capacity);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_the_way_out() {
        for (text, expected) in [
            ("dwn: {}", "dwn"),
            ("down: { loss: 0.1 }", "write it like 10%"),
            ("down: { rate: 4 }", "write it like 4 Mbit/s"),
            (
                "down: { burst: 5 }",
                "down: 'burst' says how long losses are: add 'loss'",
            ),
            (
                "down: { loss: 90%, burst: 2 }",
                "can't lose more than 66.7%",
            ),
            ("down: { loss: 9%, burst: 0 }", "must be 1 packet or more"),
            (
                "up: { reorder: 1% }",
                "up: 'reorder' (a share) and 'reorder_by'",
            ),
            (
                "up: { at: 3s }",
                "up: 'at' belongs into an entry of 'changes'",
            ),
            (
                "up: { changes: [{ delay: 3ms }] }",
                "up.changes[0]: it needs a time",
            ),
            (
                "up: { changes: [{ at: 3s }, { at: 3s }] }",
                "up.changes[1]: its time must be after",
            ),
            (
                "up: { changes: [{ at: 3s, changes: [] , cellular: { lowest: 1 bit/s, typical: 1 bit/s, highest: 1 bit/s }}] }",
                "belong to the direction",
            ),
            (
                "up: { rate: 1 Mbit/s, cellular: { lowest: 1 bit/s, typical: 1 bit/s, highest: 1 bit/s } }",
                "exclude one another",
            ),
            (
                "up: { cellular: { lowest: 2 bit/s, typical: 1 bit/s, highest: 1 bit/s } }",
                "up.cellular: it needs rates",
            ),
            ("[", "x.yaml"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
