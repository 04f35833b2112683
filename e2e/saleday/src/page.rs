//! The figures: printed, and as a page of the docs.

use std::fmt::Write;

use crate::chart::{Line, Panel, draw};
use crate::day::{DAY, Day};
use crate::scale::{PODS, PassTimes, ROOMS};
use crate::world::{Outcome, SiteModel};

/// What came of a day.
pub struct Figures<'a> {
    /// The day.
    pub day: &'a Day,
    /// Pods of one who knew it, at each second.
    pub oracle: &'a [u32],
    /// What Showrunner's placement and autoscaling made of it.
    pub ours: &'a Outcome,
    /// What a HorizontalPodAutoscaler made of it, with the same placement.
    pub hpa: &'a Outcome,
    /// How long a pass of placement takes at full size.
    pub placement: PassTimes,
    /// Other days, that the defaults were not chosen by.
    pub others: &'a [OtherDay],
}

/// What Showrunner's placement and autoscaling made of another day.
pub struct OtherDay {
    /// Its seed.
    pub seed: u64,
    /// Per cent of joins that were refused.
    pub refused_percent: f64,
    /// Pod hours, as a multiple of the oracle's.
    pub pod_hours_ratio: f64,
}

impl OtherDay {
    /// Of what came of it.
    #[must_use]
    pub fn new(seed: u64, outcome: &Outcome, oracle: &[u32]) -> OtherDay {
        OtherDay {
            seed,
            refused_percent: refused_percent(outcome),
            pod_hours_ratio: ratio(outcome, oracle),
        }
    }
}

fn refused_percent(outcome: &Outcome) -> f64 {
    100.0 * outcome.refused as f64 / outcome.joins.max(1) as f64
}

fn ratio(outcome: &Outcome, oracle: &[u32]) -> f64 {
    let oracle: u64 = oracle.iter().copied().map(u64::from).sum();
    outcome.pod_seconds as f64 / oracle.max(1) as f64
}

const NEED: &str = "#c2410c";
const OURS: &str = "#1d4ed8";
const HPA: &str = "#6b7280";
const ORACLE: &str = "#15803d";

impl Figures<'_> {
    /// `name: value`, line by line.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        let values = [
            ("refused_percent", refused_percent(self.ours), 4),
            ("pod_hours_ratio", ratio(self.ours, self.oracle), 3),
            ("hpa_refused_percent", refused_percent(self.hpa), 4),
            ("hpa_pod_hours_ratio", ratio(self.hpa, self.oracle), 3),
            ("placement_ms", self.placement.most(), 1),
        ];
        for (name, value, digits) in values {
            // Writing to a String can't fail.
            let _ = writeln!(lines, "{name}: {value:.digits$}");
        }
        lines
    }

    /// The day as an SVG.
    #[must_use]
    pub fn picture(&self) -> String {
        let panel = |title, is_sum, lines| Panel {
            title,
            span: (0, DAY),
            step: 120,
            is_sum,
            marks: 2 * 3600,
            height: 170.0,
            lines,
        };
        let line = |name, colour, values| Line {
            name,
            colour,
            values,
        };
        let panels = [
            panel(
                "Viewers who want to be there",
                false,
                vec![line("viewers", NEED, &self.day.viewers)],
            ),
            panel(
                "Pods",
                false,
                vec![
                    line("Showrunner", OURS, &self.ours.pods),
                    line("HorizontalPodAutoscaler", HPA, &self.hpa.pods),
                    line("who knew the day", ORACLE, self.oracle),
                ],
            ),
            panel(
                "Refused joins, in two minutes each",
                true,
                vec![
                    line("Showrunner", OURS, &self.ours.refusals),
                    line("HorizontalPodAutoscaler", HPA, &self.hpa.refusals),
                ],
            ),
        ];
        draw("A day of a sale", &panels)
    }

    /// The page: figures, and what they stand on.
    #[must_use]
    pub fn page(&self, site: &SiteModel) -> String {
        let (model, pods) = (&self.day.model, &site.pods);
        let figures = self.lines();
        let others: String = self
            .others
            .iter()
            .map(|day| {
                let OtherDay {
                    seed,
                    refused_percent,
                    pod_hours_ratio,
                } = day;
                format!("; with seed {seed} it is {refused_percent:.4} % at {pod_hours_ratio:.3}")
            })
            .collect();
        let share = |share: f64| format!("{:.0} %", 100.0 * share);
        let PassTimes {
            all_new,
            steady,
            zone_lost,
        } = self.placement;
        format!(
            "# Benchmarks of scale

`make bench-sale-day` made this page: a day of a sale, simulated second by second (`e2e/saleday`) through the placement and autoscaling of `operator/capacity`. The operator runs the same code, but the figures are of it alone, not of a cluster.

```
{figures}```

Goals: `refused_percent` ≤ 0.01, `pod_hours_ratio` ≤ 1.25, `placement_ms` ≤ 50.

![Viewers, pods and refused joins over the day](sale-day.svg)

- `refused_percent`: viewers for whom there was no place within the gateway's patience of four seconds, of all who wanted to join; `pod_hours_ratio`: pod hours, as a multiple of the oracle's.
- `hpa_*`: the same day with an `autoscaling/v2` HorizontalPodAutoscaler at 60 % of a core (asks each 15 s, tolerance 0.1, 300 s of stabilisation, at most doubles in 15 s). It hears the mean of the last 15 s without delay, and gives up the emptiest pods first: both are in its favour. Placement is Showrunner's for both.
- The oracle has at each second the fewest pods that viewers and rooms of the time fill to the last place, made ahead by the time that pods take to get ready.
- `placement_ms`: the longest of the medians of one pass over {ROOMS} rooms on {PODS} pods: all are new {all_new:.1}, all are placed and a little changed {steady:.1}, a third of the pods has died {zone_lost:.1}.

## What is assumed

- **The day** (seed {seed}): {rooms} shows, {viewers:.0} joins, {main} of them to the main show at eight in the evening. Of a show's viewers {rush} come in the rush of its beginning, which is at its peak after {rush_seconds:.0} s, and {surprise} in rushes that nobody announced.
- **Viewers**: {brief} only look in, for {brief_seconds:.0} s on average; the others stay {long_seconds:.0} s on average. Both are exponential.
- **Announcements**: numbers of viewers are wrong by up to a factor of {error:.0} either way, and {unannounced} of the smaller shows announce none. Hosts are late, seldom early.
- **Pods** take {capacity} viewers. They are ready after {ready_from:.0} to {ready_to:.0} s, and {slow} of them, for which a machine must be had first, after {slow_from:.0} to {slow_to:.0} s. One dies every {failure:.0} hours of its running, and its viewers join again: {cut} did on this day, of {died} pods.
- **Joins** go to the room's pod with the fewest sessions, as the gateway sends them, whatever placement wants where. A pod lets in as many as it takes, though placement plans with less; in earnest it lets in as many more as it may have rooms. Placement knows of viewers what pods say: nobody tells it who waits.
- **Left out**: regions (it is one site), networks, and the time that a decision takes to reach a pod: decisions are made each second by what pods said a second ago. A viewer who is refused goes away and does not try again.

{moved} viewers were moved from pods that drained, none of them cut off.

The policy and the rules are the defaults (90 % of a pod's viewers, no further buffer). They were chosen by this day and the next{others}.
",
            seed = model.seed,
            rooms = model.rooms,
            viewers = model.viewers,
            main = share(model.main_share),
            rush = share(model.rush_share),
            rush_seconds = model.rush_seconds,
            surprise = share(model.surprise_share),
            brief = share(model.brief_share),
            brief_seconds = model.brief_seconds,
            long_seconds = model.long_seconds,
            error = model.announced_error,
            unannounced = share(model.unannounced_share),
            capacity = pods.capacity.viewers,
            ready_from = pods.ready_seconds.0,
            ready_to = pods.ready_seconds.1,
            slow = share(pods.slow_share),
            slow_from = pods.slow_seconds.0,
            slow_to = pods.slow_seconds.1,
            failure = pods.hours_to_failure,
            cut = self.ours.cut_off,
            died = self.ours.died,
            moved = self.ours.moved,
        )
    }
}
