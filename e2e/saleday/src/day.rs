//! The day: which shows there are, who comes, and how long they stay.
//!
//! All of it follows from the seed, and from nothing that a site does: whoever simulates the day with other pods meets
//! the same viewers at the same seconds.

use crate::random::Random;

/// Seconds of a day.
pub const DAY: u32 = 86_400;
/// How long before its start a room is opened, for its host to rehearse, in seconds.
const REHEARSAL: u32 = 600;

/// What is assumed of a day.
#[derive(Clone, Debug)]
pub struct Model {
    /// Of everything that is left to chance.
    pub seed: u64,
    /// Shows.
    pub rooms: u32,
    /// Joins over the day.
    pub viewers: f64,
    /// The share of them who come to the main show, at eight in the evening.
    pub main_share: f64,
    /// The share of a show's viewers who come in the rush of its beginning.
    pub rush_share: f64,
    /// When such a rush is at its peak, in seconds after its beginning; nine of ten have come after four times that.
    pub rush_seconds: f64,
    /// The share of a show's viewers who come in rushes that nobody announced: a price drops, a star comes on.
    pub surprise_share: f64,
    /// The share of viewers who only look in.
    pub brief_share: f64,
    /// How long those stay on average, in seconds.
    pub brief_seconds: f64,
    /// How long the others stay on average, in seconds.
    pub long_seconds: f64,
    /// Announced numbers of viewers are wrong by up to this factor, either way.
    pub announced_error: f64,
    /// The share of the smaller shows that announce no number at all.
    pub unannounced_share: f64,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            seed: 1,
            rooms: 2000,
            viewers: 10_000_000.0,
            main_share: 0.05,
            rush_share: 0.35,
            rush_seconds: 40.0,
            surprise_share: 0.1,
            brief_share: 0.6,
            brief_seconds: 120.0,
            long_seconds: 1200.0,
            announced_error: 2.0,
            unannounced_share: 0.25,
        }
    }
}

/// A show.
#[derive(Clone, Debug)]
pub struct Show {
    /// When its room is made.
    pub opens: u32,
    /// When it is announced to begin.
    pub start: u32,
    /// When it does: hosts are late, seldom early.
    begins: u32,
    /// When it is over.
    pub ends: u32,
    /// How many viewers at once are announced; 0: none.
    pub announced: u32,
    rushes: Vec<Rush>,
    /// Viewers a second who come for no special reason.
    steady: f64,
    number: u64,
}

/// Many who come at once.
#[derive(Clone, Debug)]
struct Rush {
    at: u32,
    viewers: f64,
    seconds: f64,
}

/// A day.
#[derive(Clone, Debug)]
pub struct Day {
    /// What was assumed.
    pub model: Model,
    /// By the time at which they open.
    pub shows: Vec<Show>,
    /// Viewers at each second, if all who come find a place.
    pub viewers: Vec<u32>,
    /// Rooms at each second.
    pub rooms: Vec<u32>,
}

/// Viewers of a room on a pod, or waiting to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crowd {
    /// Who only look in.
    pub brief: u32,
    /// Who stay.
    pub long: u32,
}

impl Crowd {
    /// All of them.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.brief + self.long
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// More of them.
    pub fn add(&mut self, other: Crowd) {
        self.brief += other.brief;
        self.long += other.long;
    }

    /// Takes so many out, of both kinds alike.
    pub fn take(&mut self, count: u32) -> Crowd {
        let all = self.len();
        let count = count.min(all);
        if count == 0 {
            return Crowd::default();
        }
        let share = u64::from(self.brief) * u64::from(count) / u64::from(all);
        let brief = u32::try_from(share)
            .unwrap_or(count)
            .max(count.saturating_sub(self.long));
        let taken = Crowd {
            brief,
            long: count - brief,
        };
        self.brief -= taken.brief;
        self.long -= taken.long;
        taken
    }

    /// Lets a second pass. Returns how many leave.
    pub fn leave(&mut self, model: &Model, is_over: bool, random: &mut Random) -> u32 {
        // When the show is over all go, most within half a minute.
        let (brief, long) = if is_over {
            (1.0 / 10.0, 1.0 / 10.0)
        } else {
            (1.0 / model.brief_seconds, 1.0 / model.long_seconds)
        };
        let brief = random.of(self.brief, brief);
        let long = random.of(self.long, long);
        self.brief -= brief;
        self.long -= long;
        brief + long
    }
}

/// Who come to a show, second by second. Each second has to be asked for once, in order.
#[derive(Clone, Debug)]
pub struct Arrivals {
    random: Random,
    brief_share: f64,
}

impl Show {
    /// Its viewers, from the first.
    #[must_use]
    pub fn arrivals(&self, model: &Model) -> Arrivals {
        Arrivals {
            random: Random::new(model.seed, 1 << 32 | self.number),
            brief_share: model.brief_share,
        }
    }

    /// When its host is on air.
    #[must_use]
    pub fn on_air(&self) -> u32 {
        self.begins
    }

    /// Whether it has ended by this second.
    #[must_use]
    pub fn is_over(&self, second: u32) -> bool {
        second >= self.ends
    }

    fn rate(&self, second: u32) -> f64 {
        if second < self.begins || self.is_over(second) {
            return 0.0;
        }
        let rushes = self.rushes.iter().map(|rush| rush.rate(second));
        self.steady + rushes.sum::<f64>()
    }
}

impl Rush {
    /// Viewers a second: it swells to a peak and ebbs away (the gamma distribution of shape 2).
    fn rate(&self, second: u32) -> f64 {
        let Some(since) = second.checked_sub(self.at) else {
            return 0.0;
        };
        let age = f64::from(since) / self.seconds;
        if age > 15.0 {
            return 0.0;
        }
        self.viewers / self.seconds * age * (-age).exp()
    }
}

impl Arrivals {
    /// Who come in this second.
    pub fn next(&mut self, show: &Show, second: u32) -> Crowd {
        let all = self.random.count(show.rate(second));
        let brief = (0..all)
            .filter(|_| self.random.happens(self.brief_share))
            .count();
        let brief = u32::try_from(brief).unwrap_or(all);
        Crowd {
            brief,
            long: all - brief,
        }
    }
}

impl Day {
    /// Makes the day of a model.
    #[must_use]
    pub fn new(model: &Model) -> Day {
        let mut random = Random::new(model.seed, 0);
        let weights = weights(model, &mut random);
        let mut shows: Vec<Show> = (0..)
            .zip(&weights)
            .map(|(number, weight)| show(model, number, weight * model.viewers, &mut random))
            .collect();
        let mut viewers = vec![0; DAY as usize];
        let mut rooms = vec![0; DAY as usize];
        for show in &mut shows {
            let peak = watch(model, show, &mut viewers, &mut rooms);
            show.announced = announced(model, peak, &mut random);
        }
        shows.sort_by_key(|show| (show.opens, show.number));
        Day {
            model: model.clone(),
            shows,
            viewers,
            rooms,
        }
    }
}

/// How the viewers of the day are shared among the shows: a few have very many, most have few (Pareto).
fn weights(model: &Model, random: &mut Random) -> Vec<f64> {
    let mut others: Vec<f64> = (1..model.rooms)
        .map(|_| (1.0 - random.unit()).powf(-1.0 / 1.2).min(150.0))
        .collect();
    let sum: f64 = others.iter().sum();
    for other in &mut others {
        *other *= (1.0 - model.main_share) / sum;
    }
    let mut all = vec![model.main_share];
    all.extend(others);
    all
}

fn show(model: &Model, number: u64, viewers: f64, random: &mut Random) -> Show {
    let hour = |from: f64, to: f64, random: &mut Random| (random.between(from, to) * 3600.0) as u32;
    let half_hours = |second: u32| second / 1800 * 1800;
    let start = match (number, random.unit()) {
        (0, _) => 20 * 3600,
        (_, ..0.25) => half_hours(hour(19.0, 22.0, random)),
        (_, ..0.45) => hour(19.0, 22.0, random),
        (_, ..0.65) => half_hours(hour(11.5, 13.5, random)),
        _ => hour(8.0, 22.5, random),
    };
    let late = random.between(-30.0, 180.0) as i32;
    let begins = start.saturating_add_signed(late);
    let lasts = random.between(2700.0, 9000.0) as u32;
    let lasts = if number == 0 { 9000 } else { lasts };
    let ends = (begins + lasts).min(DAY - 120);
    let open = f64::from(ends - begins);
    let mut rushes = vec![Rush {
        at: begins,
        viewers: viewers * model.rush_share,
        seconds: model.rush_seconds,
    }];
    let surprises = 1 + (random.unit() * 4.0) as u32;
    for _ in 0..surprises {
        rushes.push(Rush {
            at: begins + random.between(0.1 * open, 0.9 * open) as u32,
            viewers: viewers * model.surprise_share / f64::from(surprises),
            seconds: model.rush_seconds * random.between(0.5, 2.0),
        });
    }
    let steady = 1.0 - model.rush_share - model.surprise_share;
    Show {
        opens: start.saturating_sub(REHEARSAL),
        start,
        begins,
        ends,
        announced: 0,
        rushes,
        steady: viewers * steady / open,
        number,
    }
}

/// Plays a show to all who come, and adds them to the day. Returns the most who were there at once.
fn watch(model: &Model, show: &Show, viewers: &mut [u32], rooms: &mut [u32]) -> u32 {
    let mut arrivals = show.arrivals(model);
    let mut leaving = Random::new(model.seed, 2 << 32 | show.number);
    let (mut crowd, mut peak) = (Crowd::default(), 0);
    for second in show.opens..DAY {
        crowd.leave(model, show.is_over(second), &mut leaving);
        crowd.add(arrivals.next(show, second));
        peak = peak.max(crowd.len());
        if show.is_over(second) && crowd.is_empty() {
            break;
        }
        viewers[second as usize] += crowd.len();
        rooms[second as usize] += 1;
    }
    peak
}

/// What the owner of a show says of its size: wrong, as guesses are.
fn announced(model: &Model, peak: u32, random: &mut Random) -> u32 {
    let error = model.announced_error.powf(random.between(-1.0, 1.0));
    let says_nothing = random.happens(model.unannounced_share) && peak < 2000;
    if says_nothing {
        0
    } else {
        (f64::from(peak) * error) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Model {
        Model {
            rooms: 20,
            viewers: 20_000.0,
            ..Model::default()
        }
    }

    #[test]
    fn a_day_follows_from_its_seed() {
        let (one, same) = (Day::new(&small()), Day::new(&small()));
        assert_eq!(one.viewers, same.viewers);
        let other = Day::new(&Model { seed: 2, ..small() });
        assert_ne!(one.viewers, other.viewers);
    }

    #[test]
    fn as_many_come_as_are_meant_to() {
        let day = Day::new(&small());
        let all: u32 = day
            .shows
            .iter()
            .map(|show| {
                let mut arrivals = show.arrivals(&day.model);
                (show.opens..DAY)
                    .map(|second| arrivals.next(show, second).len())
                    .sum::<u32>()
            })
            .sum();
        // Some rushes are cut off by the end of their show.
        assert!((18_500..20_500).contains(&all), "{all}");
        assert_eq!(day.viewers[DAY as usize - 1], 0, "all have gone home");
    }

    #[test]
    fn a_crowd_is_neither_made_nor_lost() {
        let mut crowd = Crowd { brief: 7, long: 4 };
        let taken = crowd.take(5);
        assert_eq!((taken.len(), crowd.len()), (5, 6));
        assert_eq!(crowd.take(100).len(), 6);
        assert!(crowd.is_empty());
        let mut random = Random::new(1, 1);
        let mut crowd = Crowd {
            brief: 900,
            long: 100,
        };
        let left: u32 = (0..100)
            .map(|_| crowd.leave(&small(), false, &mut random))
            .sum();
        assert_eq!(left + crowd.len(), 1000);
    }
}
