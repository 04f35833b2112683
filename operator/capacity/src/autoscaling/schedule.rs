//! Times at which it is known how much is needed.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Something to have ready at given times.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// What people call it.
    pub name: String,
    cron: Cron,
    zone: TimeZone,
    seconds: u32,
    from: Option<i64>,
    until: Option<i64>,
    floor: Floor,
}

/// What is to be there while a schedule is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// At least so many pods.
    Pods(u32),
    /// Pods for so many viewers.
    Viewers(u32),
}

/// What the next schedule will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// Which.
    pub name: String,
    /// Seconds since 1970 when it begins.
    pub at: i64,
    /// What will be there then.
    pub floor: Floor,
}

/// Why a schedule can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// The times are no cron expression.
    #[error("{0:?} is no cron expression of five fields, as in 0 20 * * FRI: {1}")]
    Cron(String, String),
    /// There is no such time zone.
    #[error("there is no time zone {0:?}: name it as in Europe/Berlin")]
    Zone(String),
}

impl Schedule {
    /// Begins at the times of a cron expression (minute, hour, day of the month, month, day of the week) in a time
    /// zone, and is on for so many seconds each time.
    ///
    /// Clocks that are put forward or back are minded as cron minds them: a time that a day doesn't have begins right
    /// after the gap, and one that a day has twice begins once. The database of zones comes with the program, so that
    /// the answer is the same wherever it runs.
    ///
    /// # Errors
    /// If the expression or the zone can't be read.
    pub fn new(
        name: &str,
        (cron, zone): (&str, &str),
        seconds: u32,
        floor: Floor,
    ) -> Result<Schedule, InvalidSchedule> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let parsed = parser
            .parse(cron)
            .map_err(|error| InvalidSchedule::Cron(cron.to_owned(), error.to_string()))?;
        let zone =
            TimeZone::get(zone).map_err(|_unknown| InvalidSchedule::Zone(zone.to_owned()))?;
        Ok(Schedule {
            name: name.to_owned(),
            cron: parsed,
            zone,
            seconds,
            from: None,
            until: None,
            floor,
        })
    }

    /// Only from one moment on, and until another (seconds since 1970).
    #[must_use]
    pub fn between(mut self, from: Option<i64>, until: Option<i64>) -> Schedule {
        (self.from, self.until) = (from, until);
        self
    }

    /// What is to be there, if it is on or begins within so many seconds.
    pub(super) fn floor(&self, now: i64, lead: u32) -> Option<Floor> {
        let soon = now.saturating_add(lead.into());
        // The last time that it began: an earlier one is over before that.
        let latest = self.until.map_or(soon, |until| soon.min(until - 1));
        let began = self
            .cron
            .find_previous_occurrence(&self.zoned(latest)?, true);
        let began = began.ok()?.timestamp().as_second();
        let is_on = self.from.is_none_or(|from| began >= from)
            && now < began.saturating_add(self.seconds.into())
            && self.until.is_none_or(|until| now < until);
        is_on.then_some(self.floor)
    }

    /// When it begins next.
    fn next(&self, now: i64) -> Option<i64> {
        let (after, is_at) = match self.from {
            Some(from) if from > now => (from, true),
            _ => (now, false),
        };
        let next = self
            .cron
            .find_next_occurrence(&self.zoned(after)?, is_at)
            .ok()?;
        let at = next.timestamp().as_second();
        self.until.is_none_or(|until| at < until).then_some(at)
    }

    fn zoned(&self, at: i64) -> Option<Zoned> {
        let at = Timestamp::from_second(at).ok()?;
        Some(at.to_zoned(self.zone.clone()))
    }
}

/// What begins next.
pub(super) fn next(schedules: &[Schedule], now: i64) -> Option<Next> {
    let upcoming = schedules
        .iter()
        .filter_map(|schedule| Some((schedule.next(now)?, schedule)));
    let (at, schedule) = upcoming.min_by_key(|(at, _)| *at)?;
    Some(Next {
        name: schedule.name.clone(),
        at,
        floor: schedule.floor,
    })
}
