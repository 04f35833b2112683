//! Links to other pods: what both ends have to do with the rooms on this shard. They are on the home shard of their room.

use std::sync::Arc;
use std::time::Instant;

use showrunner_transport::srtp::MAX_OVERHEAD;

use super::core::Core;
use super::feed::Wants;
use super::message::{Announced, ProgramId, Relay, SessionNumber, ShardEvent};
use super::outbox::Links;
use super::path::Path;
use super::program::{Place, Program};
use super::reach::Reached;
use super::session::Role;
use super::sessions::Key;
use crate::media::ingest::{FEEDBACK_SSRC, Track};
use crate::media::link;
use crate::media::notes::{MAX_NOTE, Notes};
use crate::media::packet::{SourceId, StoredPacket};
use crate::node::EndReason;
use showrunner_rtp::rtcp::Writer;

/// Room for a connectivity check: both user names of it may have 256 characters.
const MAX_CHECK: usize = 768;

impl Core {
    /// What may be an answer to a check of ours.
    pub(super) fn on_stun_answer(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        let answered = self.callers.iter().copied().find(|key| {
            let session = self.sessions.get_mut(*key);
            let caller = session.and_then(|session| session.caller.as_mut());
            caller.is_some_and(|caller| caller.on_answer(now, datagram))
        });
        let Some(key) = answered else {
            self.metrics.dropped.unknown_path += 1;
            return;
        };
        self.sessions.bind_path(path, key);
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.ice.answered(now, path);
        self.greet(now, key, path);
    }

    /// A link is up that brings this pod a room.
    pub(super) fn attach_intake(&mut self, now: Instant, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if let Some(intake) = session.role.intake_mut() {
            intake.notes.on_packet(now);
        }
        let id = session.program;
        self.publishers.push(key);
        let Some(program) = self.programs.get_mut(&id) else {
            return;
        };
        program.intakes.push(key);
        if program.publisher.is_none() {
            program.publisher = Some(key);
            program.wishes.ask_anew();
        }
    }

    /// A link is up by which another pod takes a room from here.
    pub(super) fn attach_feed(&mut self, now: Instant, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if let Role::Feed(feed) = &mut session.role {
            feed.notes.on_packet(now);
        }
        if let Some(program) = self.programs.get_mut(&session.program) {
            program.feeds.push(key);
        }
    }

    /// A link is over. What it brought stays for as long as it is fresh: the next link may go on with it.
    pub(super) fn detach_link(&mut self, key: Key) {
        self.links.retain(|k| *k != key);
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let Some(program) = self.programs.get_mut(&session.program) else {
            return;
        };
        program.feeds.retain(|k| *k != key);
        let before = program.intakes.len();
        program.intakes.retain(|k| *k != key);
        if before > program.intakes.len() && program.publisher == Some(key) {
            program.publisher = program.intakes.last().copied();
        }
    }

    /// The host of a room is gone: what a link brings is next.
    pub(super) fn fall_back_to_intake(&mut self, id: ProgramId) {
        if let Some(program) = self.programs.get_mut(&id)
            && program.publisher.is_none()
            && let Some(key) = program.intakes.last()
        {
            program.publisher = Some(*key);
            program.wishes.ask_anew();
        }
    }

    /// What another pod wants of a room from now on.
    pub(super) fn want(&mut self, now: Instant, number: SessionNumber, wants: Option<Wants>) {
        let Some(key) = self.sessions.by_number(number) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let (id, Role::Feed(feed)) = (session.program, &mut session.role) else {
            return;
        };
        feed.want(wants);
        let places: Vec<Place> = self
            .programs
            .get(&id)
            .into_iter()
            .flat_map(Program::places)
            .collect();
        for place in places {
            // What waits to be sent is stored already: let it go out first, so that nothing is sent twice.
            self.flush(id, place, now);
            if let Some(Reached {
                peer: feed,
                program,
                mut to,
                metrics,
                ..
            }) = self.reach_feed(now, key)
                && let Some(layer) = program.layer(place)
            {
                metrics.linked.sent += feed.send(layer, &[], &mut to);
            }
        }
        self.look_at_wishes(now, id);
    }

    /// Has a note for the other end of a link.
    pub(super) fn say(&mut self, now: Instant, number: SessionNumber, note: Arc<[u8]>) {
        let key = self.sessions.by_number(number);
        let session = key.and_then(|key| self.sessions.get_mut(key));
        if let Some(notes) = session.and_then(|session| session.role.notes_mut()) {
            notes.say(now, note);
        }
        if let Some(key) = key {
            self.pulse(now, key);
        }
    }

    /// The other end of a link says something.
    pub(super) fn on_note(&mut self, now: Instant, key: Key, data: &[u8]) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let number = session.number;
        let notes = session.role.notes_mut();
        let note: Option<Box<[u8]>> = notes
            .and_then(|notes| notes.read(now, data))
            .map(Into::into);
        if let Some(note) = note {
            self.tell(ShardEvent::Note { number, note });
        }
    }

    /// What the pod that a room comes from has of it. Layers of which nothing has come yet are known by that, so that
    /// viewers can be told of them and want them.
    pub(super) fn announce(&mut self, now: Instant, id: ProgramId, layers: Arc<[Announced]>) {
        let Some(program) = self.programs.get_mut(&id) else {
            return;
        };
        // A host of this pod's own knows better.
        if program
            .publisher
            .is_some_and(|key| !program.intakes.contains(&key))
        {
            return;
        }
        let is_news = program.announced != layers;
        program.announced = Arc::clone(&layers);
        if layers.is_empty() && !program.video.is_empty() {
            self.clear_everywhere(now, id);
            self.fall_back_to_intake(id);
            return;
        }
        let is_there = |ssrc: u32| layers.iter().any(|l| l.ssrc == ssrc);
        program
            .video
            .retain(|l| l.on_air(now) || is_there(l.source.on_links(0)));
        let mut relays = Vec::new();
        for layer in layers.iter() {
            let source = SourceId::relayed(layer.ssrc);
            if let Some(known) = program.layer_of_mut(source) {
                known.size = known.size.or(layer.size);
                continue;
            }
            let rid = Arc::clone(&layer.rid);
            program.add_layer(Track::Video, source, Arc::clone(&rid), layer.codec, now);
            if let Some(added) = program.layer_of_mut(source) {
                added.size = layer.size;
            }
            relays.extend(program.replicas.iter().map(|to| {
                let relay = Relay::Layer {
                    program: id,
                    track: Track::Video,
                    source,
                    rid: Arc::clone(&rid),
                    codec: layer.codec,
                    size: layer.size,
                };
                (*to, relay)
            }));
        }
        for (to, relay) in relays {
            self.relay(to, relay);
        }
        if is_news {
            self.look_at_wishes(now, id);
            self.tell_on_air(now, id);
        }
    }

    /// Everything about links that goes by the clock.
    pub(super) fn look_after_links(&mut self, now: Instant, has_round: bool) {
        for at in (0..self.links.len()).rev() {
            let key = self.links[at];
            let Some(session) = self.sessions.get_mut(key) else {
                continue;
            };
            let is_up = session.srtp.is_some();
            let over = match &mut session.role {
                Role::Feed(feed) if feed.is_worn_out() => Some(EndReason::Replaced),
                role => {
                    let notes = role.notes_mut().filter(|_| is_up);
                    notes
                        .is_some_and(|notes| notes.is_silent(now))
                        .then_some(EndReason::ConsentExpired)
                }
            };
            if let Some(reason) = over {
                self.end(now, key, reason);
                continue;
            }
            self.pulse(now, key);
            self.catch_up_feed(now, key, has_round);
        }
    }

    /// Looks after the sessions that this end begins.
    pub(super) fn look_after_callers(&mut self, now: Instant) {
        for at in (0..self.callers.len()).rev() {
            let key = self.callers[at];
            let Some(session) = self.sessions.get_mut(key) else {
                continue;
            };
            let is_up = session.srtp.is_some();
            let caller = session.caller.as_ref();
            if caller.is_some_and(|caller| caller.has_failed(now, is_up)) {
                self.end(now, key, EndReason::TransportFailed);
                continue;
            }
            self.check(now, key);
        }
    }

    /// Knocks at the other end, and keeps its consent fresh.
    fn check(&mut self, now: Instant, key: Key) {
        let Self {
            sessions,
            outbox,
            sockets,
            connections,
            ..
        } = self;
        let Some(session) = sessions.get_mut(key) else {
            return;
        };
        let selected = session.ice.selected();
        let Some(caller) = &mut session.caller else {
            return;
        };
        let mut check = [0; MAX_CHECK];
        let Some(len) = caller.poll_check(now, &mut check) else {
            return;
        };
        for path in caller.paths(selected) {
            let mut links = Links {
                sockets,
                connections,
            };
            outbox.put(&check[..len], path, &mut links);
        }
    }

    /// Shows the other end that this one is there, with what is to be said.
    fn pulse(&mut self, now: Instant, key: Key) {
        let session = self.sessions.get_mut(key);
        let Some(session) = session.filter(|s| s.srtp.is_some()) else {
            return;
        };
        let mut buffer = [0; MAX_NOTE + 40 + MAX_OVERHEAD];
        let mut writer = Writer::new(&mut buffer[..MAX_NOTE + 40]);
        if let Some(notes) = session.role.notes_mut() {
            // There is room for any note.
            let _fits = notes.write(now, FEEDBACK_SSRC, &mut writer);
        }
        let len = writer.finish();
        self.send_rtcp(key, &mut buffer, len);
    }

    fn catch_up_feed(&mut self, now: Instant, key: Key, has_round: bool) {
        if let Some(Reached {
            peer: feed,
            mut to,
            metrics,
            ..
        }) = self.reach_feed(now, key)
        {
            if has_round {
                feed.on_tick(now);
            }
            metrics.linked.sent += feed.catch_up(&mut to);
        }
    }

    /// Sends the pods that take a room from here what came in of a layer.
    pub(super) fn send_to_feeds(
        &mut self,
        now: Instant,
        id: ProgramId,
        place: Place,
        pending: &[Arc<StoredPacket>],
    ) {
        let count = self
            .programs
            .get(&id)
            .map_or(0, |program| program.feeds.len());
        for at in 0..count {
            let feed = self
                .programs
                .get(&id)
                .and_then(|p| p.feeds.get(at).copied());
            if let Some(key) = feed
                && let Some(Reached {
                    peer: feed,
                    program,
                    mut to,
                    metrics,
                    ..
                }) = self.reach_feed(now, key)
                && let Some(layer) = program.layer(place)
            {
                metrics.linked.sent += feed.send(layer, pending, &mut to);
            }
        }
    }

    /// Tells them that a number of a layer carries no media.
    pub(super) fn skip_for_feeds(&mut self, now: Instant, id: ProgramId, place: Place, seq: u64) {
        let feeds = self.programs.get(&id).map(|program| program.feeds.clone());
        for key in feeds.into_iter().flatten() {
            if let Some(Reached {
                peer: feed,
                program,
                mut to,
                ..
            }) = self.reach_feed(now, key)
                && let Some(layer) = program.layer(place)
            {
                feed.skip(layer, seq, &mut to);
            }
        }
    }

    /// Sends another pod again what it misses.
    pub(super) fn send_again_to_feed(
        &mut self,
        now: Instant,
        key: Key,
        ssrc: u32,
        seqs: impl Iterator<Item = u16>,
    ) {
        /// The most that one NACK is answered with: a burst of loss, not a flood.
        const MAX_AT_ONCE: usize = 256;
        let Some(Reached {
            peer: feed,
            program,
            mut to,
            metrics,
            ..
        }) = self.reach_feed(now, key)
        else {
            return;
        };
        for seq in seqs.take(MAX_AT_ONCE) {
            metrics.nacks_received += 1;
            let found = feed.sent(ssrc, seq).and_then(|(source, number)| {
                let packet = program.layer_of(source)?.find(number)?;
                Some(Arc::clone(packet))
            });
            match found {
                Some(packet) if feed.send_again(ssrc, seq, &packet, &mut to) => {
                    metrics.retransmissions += 1;
                }
                _ => metrics.retransmissions_missed += 1,
            }
        }
    }

    /// Another pod needs a keyframe of a layer: it is asked for with those that others need.
    pub(super) fn refresh_feed(&mut self, now: Instant, key: Key, ssrc: u32) {
        if let Some(Reached {
            peer: feed,
            program,
            ..
        }) = self.reach_feed(now, key)
            && let Some(source) = feed.source_of(ssrc)
            && let Some(layer) = program.layer_of_mut(source)
        {
            layer.keyframes.want();
        }
    }

    /// Writes what a link's sender reports say.
    pub(super) fn report_to_feed(&mut self, now: Instant, key: Key) {
        let ntp = self.clock.ntp(now);
        let mut buffer = [0; link::MAX_PACKET];
        let Some(Reached {
            peer: feed,
            program,
            ..
        }) = self.reach_feed(now, key)
        else {
            return;
        };
        let sync = program.sync;
        let (audio, video) = sync.timestamps_at(ntp);
        let room = buffer.len() - MAX_OVERHEAD;
        let mut writer = Writer::new(&mut buffer[..room]);
        // Streams of hosts that went are not on any more, so all that are on fit.
        let _fits = feed.write_sender_reports(ntp, audio, video, &mut writer);
        let len = writer.finish();
        self.send_rtcp(key, &mut buffer, len);
    }
}

impl Role {
    /// The notes of a link's end.
    pub(super) fn notes_mut(&mut self) -> Option<&mut Notes> {
        match self {
            Role::Feed(feed) => Some(&mut feed.notes),
            Role::Publisher(publisher) => Some(&mut publisher.intake.as_mut()?.notes),
            Role::Viewer(_) => None,
        }
    }
}
