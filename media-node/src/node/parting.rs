//! Sessions that have ended, for the moment in which their pages may still tell how it was.
//!
//! A page that goes away sends its last report and the end of its session at once, and either may come first.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Node;
use super::session::{EndReason, Role, SessionError, SessionId};
use super::state::State;
use crate::lived::Lived;
use crate::lived::record::{Record, Times, Who};
use crate::lived::report::{self, InvalidReport, Report};
use crate::metrics::{self, ReportResult};
use crate::room::RoomName;

/// How long a last report is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most sessions that are waited for.
const MOST: usize = 4096;

/// A session that has ended.
pub(super) struct Parting {
    pub(super) who: Who,
    pub(super) joined: Instant,
    pub(super) times: Times,
    pub(super) reason: EndReason,
    pub(super) lived: Box<Lived>,
    pub(super) report: Option<Report>,
    pub(super) reports: u32,
    pub(super) since: Instant,
}

/// Those that are waited for.
pub(super) type Partings = HashMap<SessionId, Parting>;

/// Why a report was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It says what can't be.
    #[error(transparent)]
    Invalid(#[from] InvalidReport),
    /// Nobody may report on this session, or not now.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl Node {
    /// Which way the media of a session goes or went, and in which room, for those that ended a moment ago as well.
    pub fn place_of_late(&self, id: &SessionId) -> Option<(Role, RoomName)> {
        let state = self.state();
        let who = state.sessions.get(id).map(|s| &s.who);
        let who = who.or_else(|| state.partings.get(id).map(|p| &p.who))?;
        Some((who.role, who.room.clone()))
    }

    /// Takes what a viewer's page says of its session.
    ///
    /// # Errors
    /// If there is no such session, or the report can't be true or comes too soon after others.
    pub fn report(&self, id: &SessionId, json: &str) -> Result<(), ReportError> {
        let taken = self.take_report(id, json);
        metrics::client_report(match &taken {
            Ok(()) => ReportResult::Taken,
            Err(ReportError::Invalid(_)) => ReportResult::Invalid,
            Err(ReportError::Session(SessionError::TooManyReports)) => ReportResult::Limited,
            Err(ReportError::Session(_)) => ReportResult::Late,
        });
        taken
    }

    fn take_report(&self, id: &SessionId, json: &str) -> Result<(), ReportError> {
        let mut state = self.state();
        let State {
            sessions, partings, ..
        } = &mut *state;
        let (joined, reports, report) = match (sessions.get_mut(id), partings.get_mut(id)) {
            (Some(s), _) => (s.joined, &mut s.reports, &mut s.report),
            (None, Some(p)) => (p.joined, &mut p.reports, &mut p.report),
            (None, None) => return Err(SessionError::NotFound.into()),
        };
        let age = joined.elapsed();
        if !report::may_come(*reports, age) {
            return Err(SessionError::TooManyReports.into());
        }
        *reports += 1;
        let newer = Report::parse(json, age)?;
        if report.is_none_or(|before| before.after_ms <= newer.after_ms) {
            *report = Some(newer);
        }
        Ok(())
    }
}

impl State {
    /// A session has ended. Its record waits for a last report, if it has a page that sends some.
    pub(super) fn part_with(&mut self, parting: Parting) {
        let is_waited_for = parting.report.is_some() && self.partings.len() < MOST;
        if is_waited_for {
            self.partings.insert(parting.who.id.clone(), parting);
        } else {
            self.write_record(&parting);
        }
    }

    /// Writes the records that have waited long enough.
    pub(super) fn part(&mut self, now: Instant) {
        let is_due = |p: &Parting| now.saturating_duration_since(p.since) >= PATIENCE;
        let due: Vec<Parting> = self
            .partings
            .extract_if(|_, parting| is_due(parting))
            .map(|(_, parting)| parting)
            .collect();
        for parting in due {
            self.write_record(&parting);
        }
    }

    /// Writes all that wait.
    pub(super) fn part_with_all(&mut self) {
        for parting in std::mem::take(&mut self.partings).into_values() {
            self.write_record(&parting);
        }
    }

    fn write_record(&self, parting: &Parting) {
        let Parting {
            who,
            times,
            reason,
            lived,
            report,
            ..
        } = parting;
        if who.role == Role::Viewer {
            metrics::viewer_left(lived, report.as_ref());
        }
        if let Some(records) = &self.records {
            records.write(Record::new(who, *times, *reason, lived, *report));
        }
    }
}
