/**
 * Showrunner's client: go live in a room by WHIP, watch it by WHEP.
 *
 * `publish` and `watch` return at once; what happens then arrives as typed events.
 */

export { publish, type Publication, type PublishOptions, type PublishState, type VideoCodec } from './publish';
export { prepare, watch, type Moved, type Watching, type WatchOptions, type WatchState } from './watch';
export { HttpError, ConnectionError } from './http';
export type { Adaptation } from './events';
export type { Layer, LayerChoice } from './layers';
export type { PublishStats, SentLayer, WatchStats } from './stats';
