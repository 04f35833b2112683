//! A room whose viewers are on several shards: what its home tells the others, and they it.

use std::sync::Arc;
use std::time::Instant;

use super::core::{Core, mark};
use super::message::{ProgramId, Relay};
use super::program::{Place, Program};
use crate::media::ingest::Track;

impl Core {
    /// Takes what another shard says.
    pub(super) fn on_relay(&mut self, now: Instant, relay: Relay) {
        match relay {
            Relay::Subscribe { program, to } => self.on_subscribe(program, to),
            Relay::Unsubscribe { program: id, to } => {
                if let Some(program) = self.programs.get_mut(&id) {
                    program.replicas.retain(|r| *r != to);
                    program.wishes.on_wish(to, None);
                    self.drop_idle_program(id);
                }
            }
            Relay::Layer {
                program: id,
                track,
                source,
                rid,
                codec,
                size,
            } => {
                if let Some(program) = self.programs.get_mut(&id).filter(|p| !p.viewers.is_empty())
                {
                    program.add_layer(track, source, rid, codec, now);
                    if let Some(layer) = program.layer_of_mut(source) {
                        layer.size = size;
                    }
                }
            }
            Relay::Stored {
                program: id,
                source,
                packets,
            } => {
                if let Some(program) = self.programs.get_mut(&id) {
                    program.store(source, packets);
                }
            }
            Relay::Packet {
                program: id,
                source,
                packet,
            } => {
                if let Some(program) = self.programs.get_mut(&id)
                    && let Some(place) = program.place(source)
                    && program.push(place, packet, None)
                {
                    mark(&mut self.dirty, id);
                }
            }
            Relay::Padding {
                program,
                source,
                seq,
            } => self.skip(program, source, seq),
            Relay::LayerEnds { program, source } => self.end_layer(now, program, source),
            Relay::Size {
                program: id,
                source,
                size,
            } => {
                if let Some(layer) = self
                    .programs
                    .get_mut(&id)
                    .and_then(|p| p.layer_of_mut(source))
                {
                    layer.size = Some(size);
                }
            }
            Relay::Sync { program: id, sync } => {
                if let Some(program) = self.programs.get_mut(&id) {
                    program.sync = sync;
                }
                // Whoever waits here for what has come before it need not wait for the next look.
                self.look_on_air(now, id);
            }
            Relay::Wish {
                program: id,
                from,
                wish,
            } => {
                if let Some(program) = self.programs.get_mut(&id) {
                    program.wishes.on_wish(from, wish);
                }
            }
            Relay::OffAir { program } => self.clear_program(now, program),
            Relay::KeyframeWanted {
                program: id,
                source,
            } => {
                if let Some(layer) = self
                    .programs
                    .get_mut(&id)
                    .and_then(|p| p.layer_of_mut(source))
                {
                    layer.keyframes.want();
                }
            }
        }
    }

    /// Another shard has viewers: it gets every layer from its last keyframe on, and all to come;
    /// those that are silent now as well, since they may go on. Its viewers are aimed at what there
    /// is once the last word has come, since by then all layers have.
    fn on_subscribe(&mut self, id: ProgramId, to: usize) {
        let index = self.index;
        let program = self
            .programs
            .entry(id)
            .or_insert_with(|| Program::new(id, index));
        if !program.replicas.contains(&to) {
            program.replicas.push(to);
        }
        let mut relays = Vec::new();
        for place in program.places() {
            let Some(layer) = program.layer(place) else {
                continue;
            };
            let track = match place {
                Place::Audio => Track::Audio,
                Place::Video(_) => Track::Video,
            };
            relays.push(Relay::Layer {
                program: id,
                track,
                source: layer.source,
                rid: Arc::clone(&layer.rid),
                codec: layer.codec,
                size: layer.size,
            });
            if place != Place::Audio {
                relays.push(Relay::Stored {
                    program: id,
                    source: layer.source,
                    packets: layer.snapshot(),
                });
            }
        }
        relays.push(Relay::Sync {
            program: id,
            sync: program.sync,
        });
        for relay in relays {
            self.relay(to, relay);
        }
    }
}
