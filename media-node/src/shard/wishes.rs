//! Which layers of a room somebody wants. A host that learns of it need not send the others.
//!
//! A layer is wanted if a viewer's window and choice allow it, whatever the viewer's path carries: a path may get better
//! at any time, and layers below the best one are what a viewer falls back to at once. So only layers that are larger
//! than anybody would be sent are not wanted. They are wanted again at once, and given up with patience.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::message::{ProgramId, Relay, ShardEvent};
use super::program::Program;
use super::session::Role;
use crate::media::layer::Layer;
use crate::node::LayerChoice;

/// How long nobody must want a layer before its host is told.
const PATIENCE: Duration = Duration::from_secs(5);
/// … if there is no viewer at all: the next one should find the best picture.
const PATIENCE_ALONE: Duration = Duration::from_secs(30);

/// What somebody would be sent: the pixels of the largest picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Of anybody.
    any: u32,
    /// Of those who don't encode it anew for others; none: there are none. What transcoders make is for these alone.
    people: Option<u32>,
}

/// What is wanted of one program.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Of the viewers here; none: there are no viewers.
    here: Option<Wish>,
    /// On the home shard: of those on other shards.
    there: Vec<(usize, Wish)>,
    /// The RIDs that the host was told; none: nothing, so it sends all.
    told: Option<Arc<[Arc<str>]>>,
    /// There are layers among them that the transcoder who sends them wasn't told.
    is_untold: bool,
    /// Since when fewer are wanted.
    fewer_since: Option<Instant>,
}

impl Wish {
    /// Of a viewer that asked for this.
    fn of(asked: &LayerChoice, video: &[Layer], max_lines: Option<u16>) -> Wish {
        let largest = largest(asked, video.iter(), max_lines);
        Wish {
            any: largest,
            people: Some(largest),
        }
    }

    /// Of a viewer that encodes the host's picture anew.
    fn of_transcoder(asked: &LayerChoice, video: &[Layer], max_lines: Option<u16>) -> Wish {
        let own = video.iter().filter(|layer| !layer.is_transcoded());
        Wish {
            any: largest(asked, own, max_lines),
            people: None,
        }
    }

    /// Of a pod that takes these layers from here.
    fn of_pod<'a>(wants: impl Iterator<Item = &'a Arc<str>>, video: &[Layer]) -> Option<Wish> {
        let layers = wants.filter_map(|rid| video.iter().find(|layer| layer.rid == *rid));
        let wishes = layers.map(|layer| Wish {
            any: pixels(layer),
            people: Some(if layer.is_transcoded() {
                pixels(layer)
            } else {
                0
            }),
        });
        wishes.reduce(Wish::and)
    }

    /// Of two together.
    fn and(self, other: Wish) -> Wish {
        Wish {
            any: self.any.max(other.any),
            people: self.people.max(other.people),
        }
    }

    /// Up to which size it wants layers such as this one.
    fn up_to(self, layer: &Layer) -> u32 {
        match layer.is_transcoded() {
            true => self.people.unwrap_or(0),
            false => self.any,
        }
    }
}

/// The pixels of the largest of these layers that a viewer would be sent who asked for this.
fn largest<'a>(
    asked: &LayerChoice,
    video: impl Iterator<Item = &'a Layer> + Clone,
    max_lines: Option<u16>,
) -> u32 {
    if asked.is_no_video() {
        return 0;
    }
    let chosen = |layer: &&Layer| asked.rid.as_deref() == Some(&*layer.rid);
    if let Some(layer) = video.clone().find(chosen) {
        return pixels(layer);
    }
    let is_bound = |max: Option<u16>, length: u16| max.is_none_or(|max| length <= max);
    let fits = |layer: &&Layer| {
        layer.size.is_none_or(|(width, height)| {
            is_bound(asked.max_width, width)
                && is_bound(asked.max_height, height)
                && is_bound(max_lines, width.min(height))
        })
    };
    let best = video.clone().filter(fits).map(pixels).max();
    // Before there are layers, whatever comes.
    best.or(video.map(pixels).min()).unwrap_or(ANY)
}

/// A layer of unknown size may be of any.
const ANY: u32 = u32::MAX;

fn pixels(layer: &Layer) -> u32 {
    let pixels = |(width, height)| u32::from(width) * u32::from(height);
    layer.size.map_or(ANY, pixels)
}

impl Wishes {
    /// Another host begins, and sends all that it has.
    pub(super) fn restart(&mut self) {
        self.told = None;
        self.is_untold = false;
        self.fewer_since = None;
    }

    /// Another pod begins to bring the room, and sends nothing that isn't asked for.
    pub(super) fn ask_anew(&mut self) {
        self.told = Some(Arc::default());
        self.fewer_since = None;
    }

    /// A transcoder begins with a layer: it counts as wanted until nobody has wanted it for a while.
    pub(super) fn welcome(&mut self, rid: &Arc<str>) {
        if self.is_given_up(rid) {
            let told = self.told.iter().flat_map(|told| told.iter());
            self.told = Some(told.chain([rid]).cloned().collect());
            self.is_untold = true;
        }
    }

    /// The viewers on another shard want this; none: there are none.
    pub(super) fn on_wish(&mut self, shard: usize, wish: Option<Wish>) {
        self.there.retain(|(known, _)| *known != shard);
        self.there.extend(wish.map(|wish| (shard, wish)));
    }

    /// Whether the host was told that this layer is not wanted.
    pub(super) fn is_given_up(&self, rid: &str) -> bool {
        let told = self.told.as_ref();
        told.is_some_and(|told| !told.iter().any(|known| **known == *rid))
    }

    /// What the host is to be told, if that is news.
    fn look(&mut self, now: Instant, video: &[Layer]) -> Option<Arc<[Arc<str>]>> {
        let there = self.there.iter().map(|(_, wish)| *wish);
        let most = there.chain(self.here).reduce(Wish::and);
        let smallest = video.iter().map(pixels).min()?;
        let is_wanted = |layer: &&Layer| {
            let up_to = most.map_or(0, |most| most.up_to(layer));
            pixels(layer) <= up_to.max(smallest) || layer.size.is_none()
        };
        let wanted = || video.iter().filter(is_wanted);
        let brings_back = wanted().any(|layer| self.is_given_up(&layer.rid));
        let gives_up = video
            .iter()
            .any(|layer| !is_wanted(&layer) && !self.is_given_up(&layer.rid));
        if !gives_up {
            self.fewer_since = None;
        }
        let patience = if most.is_some_and(|most| most.people.is_some()) {
            PATIENCE
        } else {
            PATIENCE_ALONE
        };
        let since = gives_up.then(|| *self.fewer_since.get_or_insert(now));
        let is_over = since.is_some_and(|since| now.saturating_duration_since(since) >= patience);
        let is_untold = std::mem::take(&mut self.is_untold);
        if !brings_back && !is_over && !is_untold {
            return None;
        }
        let goes_on =
            |layer: &&Layer| is_wanted(layer) || (!is_over && !self.is_given_up(&layer.rid));
        let told: Arc<[Arc<str>]> = video
            .iter()
            .filter(goes_on)
            .map(|layer| Arc::clone(&layer.rid))
            .collect();
        self.told = Some(Arc::clone(&told));
        if brings_back || is_over {
            self.fewer_since = None;
        }
        Some(told)
    }
}

impl Core {
    /// Looks what a program's viewers want; tells its home shard, or there the control plane.
    pub(super) fn look_at_wishes(&mut self, now: Instant, id: ProgramId) {
        let Self {
            programs, sessions, ..
        } = self;
        let Some(program) = programs.get_mut(&id) else {
            return;
        };
        let Program {
            viewers,
            video,
            max_lines,
            wishes,
            feeds,
            ..
        } = program;
        let mut here = None;
        for key in viewers.iter() {
            if let Some(Role::Viewer(viewer)) = sessions.get_mut(*key).map(|s| &s.role) {
                let wish = match viewer.transcodes {
                    true => Wish::of_transcoder(&viewer.asked, video, *max_lines),
                    false => Wish::of(&viewer.asked, video, *max_lines),
                };
                add(&mut here, Some(wish));
            }
        }
        for key in feeds.iter() {
            if let Some(Role::Feed(feed)) = sessions.get_mut(*key).map(|s| &s.role) {
                add(&mut here, Wish::of_pod(feed.wants(), video));
            }
        }
        let is_news = std::mem::replace(&mut wishes.here, here) != here;
        if program.home != self.index {
            if is_news {
                let (home, from) = (program.home, self.index);
                let wish = Relay::Wish {
                    program: id,
                    from,
                    wish: here,
                };
                self.relay(home, wish);
            }
        } else if program.publisher.is_some()
            && let Some(rids) = program.wishes.look(now, &program.video)
        {
            self.tell(ShardEvent::Wanted { program: id, rids });
        }
    }
}

fn add(wish: &mut Option<Wish>, other: Option<Wish>) {
    *wish = wish.iter().copied().chain(other).reduce(Wish::and);
}

#[cfg(test)]
mod tests {
    use showrunner_rtp::codec::Codec;

    use super::*;
    use crate::media::packet::SourceId;

    fn layers(now: Instant) -> Vec<Layer> {
        let sizes = [("q", (320, 180)), ("h", (640, 360)), ("f", (1280, 720))];
        let make = |(at, (rid, size)): (usize, (&str, _))| {
            let mut layer = Layer::new(SourceId(at as u64), rid.into(), Codec::Vp8, now);
            layer.size = Some(size);
            layer
        };
        sizes.into_iter().enumerate().map(make).collect()
    }

    fn asked(rid: Option<&str>, max: Option<(u16, u16)>) -> LayerChoice {
        LayerChoice {
            rid: rid.map(str::to_owned),
            max_width: max.map(|(width, _)| width),
            max_height: max.map(|(_, height)| height),
            ..LayerChoice::default()
        }
    }

    fn of(pixels: u32) -> Wish {
        Wish {
            any: pixels,
            people: Some(pixels),
        }
    }

    fn names(rids: Option<Arc<[Arc<str>]>>) -> Option<String> {
        rids.map(|rids| rids.concat())
    }

    #[test]
    fn a_viewer_wants_the_best_that_its_window_and_choice_allow() {
        let video = layers(Instant::now());
        let pixels = |width: u32, height: u32| of(width * height);
        for (asked, lines, wish) in [
            (asked(None, None), None, pixels(1280, 720)),
            (asked(None, None), Some(360), pixels(640, 360)),
            (asked(None, Some((700, 400))), None, pixels(640, 360)),
            (asked(None, Some((100, 100))), None, pixels(320, 180)),
            (asked(None, Some((0, 0))), None, pixels(0, 0)),
            (asked(Some("f"), Some((100, 100))), None, pixels(1280, 720)),
            (asked(Some("x"), Some((700, 400))), None, pixels(640, 360)),
        ] {
            assert_eq!(Wish::of(&asked, &video, lines), wish, "{asked:?}");
        }
        assert_eq!(Wish::of(&asked(None, None), &[], None), of(ANY));
    }

    #[test]
    fn layers_are_given_up_with_patience_and_wanted_again_at_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let video = layers(start);
        let mut wishes = Wishes {
            here: Some(of(640 * 360)),
            ..Wishes::default()
        };
        assert_eq!(wishes.look(at(0), &video), None);
        assert_eq!(wishes.look(at(4), &video), None);
        assert_eq!(names(wishes.look(at(5), &video)).as_deref(), Some("qh"));
        assert!(wishes.is_given_up("f") && !wishes.is_given_up("h"));
        assert_eq!(wishes.look(at(60), &video), None);
        // Somebody on another shard has a large window.
        wishes.on_wish(1, Some(of(ANY)));
        assert_eq!(names(wishes.look(at(61), &video)).as_deref(), Some("qhf"));
        assert_eq!(wishes.look(at(62), &video), None);
        // Who wants less for a moment takes nothing away.
        wishes.on_wish(1, None);
        assert_eq!(wishes.look(at(63), &video), None);
        wishes.on_wish(1, Some(of(ANY)));
        assert_eq!(wishes.look(at(67), &video), None);
        wishes.on_wish(1, None);
        assert_eq!(wishes.look(at(69), &video), None);
    }

    #[test]
    fn a_host_alone_goes_on_for_a_while_and_then_with_the_smallest_layer() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let video = layers(start);
        let mut wishes = Wishes::default();
        assert_eq!(wishes.look(at(0), &[]), None);
        assert_eq!(wishes.look(at(0), &video), None);
        assert_eq!(wishes.look(at(29), &video), None);
        assert_eq!(names(wishes.look(at(30), &video)).as_deref(), Some("q"));
        wishes.here = Some(of(640 * 360));
        assert_eq!(names(wishes.look(at(31), &video)).as_deref(), Some("qh"));
        wishes.restart();
        assert!(!wishes.is_given_up("f"));
    }

    #[test]
    fn a_layer_of_unknown_size_is_wanted() {
        let start = Instant::now();
        let mut video = layers(start);
        video[2].size = None;
        let mut wishes = Wishes {
            here: Some(of(320 * 180)),
            ..Wishes::default()
        };
        let later = start + PATIENCE;
        assert_eq!(wishes.look(start, &video), None);
        assert_eq!(names(wishes.look(later, &video)).as_deref(), Some("qf"));
    }

    /// A host of one layer, and two that a transcoder makes of it.
    fn ladder(now: Instant) -> Vec<Layer> {
        let mut video = layers(now);
        for (layer, rid) in video.iter_mut().zip(["t.1.q", "t.1.h", ""]) {
            layer.rid = rid.into();
        }
        video
    }

    #[test]
    fn what_a_transcoder_makes_is_wanted_by_others_than_transcoders() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let video = ladder(start);
        let its = Wish::of_transcoder(&asked(None, None), &video, None);
        assert_eq!((its.any, its.people), (1280 * 720, None));
        let told = |wishes: &mut Wishes, seconds| {
            let told = wishes.look(at(seconds), &video)?;
            Some(told.join(","))
        };
        let mut wishes = Wishes {
            here: Some(its),
            ..Wishes::default()
        };
        assert_eq!(told(&mut wishes, 0), None);
        assert_eq!(told(&mut wishes, 29), None, "a viewer may come");
        assert_eq!(told(&mut wishes, 30).as_deref(), Some("t.1.q,"));
        wishes.here = Some(its.and(of(640 * 360)));
        assert_eq!(told(&mut wishes, 31).as_deref(), Some("t.1.q,t.1.h,"));
        // A pod whose viewers have small windows.
        let wants = [Arc::from("t.1.q")];
        let pod = Wish::of_pod(wants.iter(), &video);
        wishes.here = pod.map(|pod| pod.and(its));
        assert_eq!(told(&mut wishes, 40), None);
        assert_eq!(told(&mut wishes, 45).as_deref(), Some("t.1.q,"));
    }

    #[test]
    fn a_new_layer_of_a_transcoder_is_wanted_until_nobody_has_wanted_it_for_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let video = ladder(start);
        let mut wishes = Wishes {
            here: Some(of(320 * 180)),
            told: Some([Arc::from("t.1.q")].into()),
            ..Wishes::default()
        };
        wishes.welcome(&"t.1.h".into());
        let told = |wishes: &mut Wishes, seconds| wishes.look(at(seconds), &video).map(|t| t.len());
        assert_eq!(told(&mut wishes, 0), Some(2), "it is told so");
        assert_eq!(told(&mut wishes, 4), None);
        assert_eq!(told(&mut wishes, 5), Some(1));
        assert!(wishes.is_given_up("t.1.h"));
    }
}
