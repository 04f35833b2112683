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

/// The pixels of the largest picture that somebody would be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wish(u32);

/// What is wanted of one program.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Of the viewers here; none: there are no viewers.
    here: Option<Wish>,
    /// On the home shard: of those on other shards.
    there: Vec<(usize, Wish)>,
    /// The RIDs that the host was told; none: nothing, so it sends all.
    told: Option<Arc<[Arc<str>]>>,
    /// Since when fewer are wanted.
    fewer_since: Option<Instant>,
}

impl Wish {
    const ANY: Wish = Wish(u32::MAX);
    const NONE: Wish = Wish(0);

    /// Of a viewer that asked for this.
    fn of(asked: &LayerChoice, video: &[Layer], max_lines: Option<u16>) -> Wish {
        if asked.is_no_video() {
            return Wish::NONE;
        }
        let chosen = |layer: &&Layer| asked.rid.as_deref() == Some(&*layer.rid);
        if let Some(layer) = video.iter().find(chosen) {
            return Wish::for_layer(layer);
        }
        let is_bound = |max: Option<u16>, length: u16| max.is_none_or(|max| length <= max);
        let fits = |layer: &&Layer| {
            layer.size.is_none_or(|(width, height)| {
                is_bound(asked.max_width, width)
                    && is_bound(asked.max_height, height)
                    && is_bound(max_lines, width.min(height))
            })
        };
        let all = || video.iter().map(Wish::for_layer);
        let best = video.iter().filter(fits).map(Wish::for_layer).max();
        // Before there are layers, whatever comes.
        best.or(all().min()).unwrap_or(Wish::ANY)
    }

    /// Of a pod that takes these layers from here.
    fn of_pod<'a>(wants: impl Iterator<Item = &'a Arc<str>>, video: &[Layer]) -> Option<Wish> {
        let layers = wants.filter_map(|rid| video.iter().find(|layer| layer.rid == *rid));
        layers.map(Wish::for_layer).max()
    }

    fn for_layer(layer: &Layer) -> Wish {
        layer.size.map_or(Wish::ANY, |(width, height)| {
            Wish(u32::from(width) * u32::from(height))
        })
    }
}

impl Wishes {
    /// Another host begins, and sends all that it has.
    pub(super) fn restart(&mut self) {
        self.told = None;
        self.fewer_since = None;
    }

    /// Another pod begins to bring the room, and sends nothing that isn't asked for.
    pub(super) fn ask_anew(&mut self) {
        self.told = Some(Arc::default());
        self.fewer_since = None;
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
        let most = there.chain(self.here).max();
        let smallest = video.iter().map(Wish::for_layer).min()?;
        let most_of_all = most.unwrap_or(Wish::NONE).max(smallest);
        let is_wanted =
            |layer: &&Layer| Wish::for_layer(layer) <= most_of_all || layer.size.is_none();
        let wanted = || video.iter().filter(is_wanted);
        let brings_back = wanted().any(|layer| self.is_given_up(&layer.rid));
        let gives_up = video
            .iter()
            .any(|layer| !is_wanted(&layer) && !self.is_given_up(&layer.rid));
        if !gives_up {
            self.fewer_since = None;
        }
        let patience = if most.is_some() {
            PATIENCE
        } else {
            PATIENCE_ALONE
        };
        let since = gives_up.then(|| *self.fewer_since.get_or_insert(now));
        let is_over = since.is_some_and(|since| now.saturating_duration_since(since) >= patience);
        if !brings_back && !is_over {
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
        self.fewer_since = None;
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
                here = here.max(Some(Wish::of(&viewer.asked, video, *max_lines)));
            }
        }
        for key in feeds.iter() {
            if let Some(Role::Feed(feed)) = sessions.get_mut(*key).map(|s| &s.role) {
                here = here.max(Wish::of_pod(feed.wants(), video));
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

    fn names(rids: Option<Arc<[Arc<str>]>>) -> Option<String> {
        rids.map(|rids| rids.concat())
    }

    #[test]
    fn a_viewer_wants_the_best_that_its_window_and_choice_allow() {
        let video = layers(Instant::now());
        let pixels = |width: u32, height: u32| Wish(width * height);
        for (asked, lines, wish) in [
            (asked(None, None), None, pixels(1280, 720)),
            (asked(None, None), Some(360), pixels(640, 360)),
            (asked(None, Some((700, 400))), None, pixels(640, 360)),
            (asked(None, Some((100, 100))), None, pixels(320, 180)),
            (asked(None, Some((0, 0))), None, Wish::NONE),
            (asked(Some("f"), Some((100, 100))), None, pixels(1280, 720)),
            (asked(Some("x"), Some((700, 400))), None, pixels(640, 360)),
        ] {
            assert_eq!(Wish::of(&asked, &video, lines), wish, "{asked:?}");
        }
        assert_eq!(Wish::of(&asked(None, None), &[], None), Wish::ANY);
    }

    #[test]
    fn layers_are_given_up_with_patience_and_wanted_again_at_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let video = layers(start);
        let mut wishes = Wishes {
            here: Some(Wish(640 * 360)),
            ..Wishes::default()
        };
        assert_eq!(wishes.look(at(0), &video), None);
        assert_eq!(wishes.look(at(4), &video), None);
        assert_eq!(names(wishes.look(at(5), &video)).as_deref(), Some("qh"));
        assert!(wishes.is_given_up("f") && !wishes.is_given_up("h"));
        assert_eq!(wishes.look(at(60), &video), None);
        // Somebody on another shard has a large window.
        wishes.on_wish(1, Some(Wish::ANY));
        assert_eq!(names(wishes.look(at(61), &video)).as_deref(), Some("qhf"));
        assert_eq!(wishes.look(at(62), &video), None);
        // Who wants less for a moment takes nothing away.
        wishes.on_wish(1, None);
        assert_eq!(wishes.look(at(63), &video), None);
        wishes.on_wish(1, Some(Wish::ANY));
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
        wishes.here = Some(Wish(640 * 360));
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
            here: Some(Wish(320 * 180)),
            ..Wishes::default()
        };
        let later = start + PATIENCE;
        assert_eq!(wishes.look(start, &video), None);
        assert_eq!(names(wishes.look(later, &video)).as_deref(), Some("qf"));
    }
}
