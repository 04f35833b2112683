/** Watches a room by WHEP, and keeps watching: waits for the host, repairs, reconnects, moves. */

import { Backoff, sleep } from './backoff';
import { Emitter } from './emitter';
import { followEvents, type RoomEvent } from './events';
import { HttpError, isTemporary, request } from './http';
import type { Layer } from './layers';
import { findLink, REL_LAYER } from './link';
import { Session, type Health } from './session';
import { watchStats, type WatchStats } from './stats';

/** How long a move waits for the new picture before it goes ahead without. */
const MOVE_MS = 5_000;
/**
 * A new viewer begins at a key frame of the past and plays faster until it is in step. Shown
 * earlier, the picture would jump back and repeat the last moments.
 */
const CATCH_UP_MS = 1_000;

export type WatchState =
  /** First attempt under way. */
  | 'connecting'
  /** Nobody is on air; tries again until somebody is. */
  | 'waiting'
  | 'live'
  /** Was connected; the network or the server went away; tries again. */
  | 'reconnecting'
  /** `stop()` was called or the signal aborted. */
  | 'stopped'
  /** The server refuses for good; the error event says why. */
  | 'failed';

export interface WatchOptions {
  /** Sent as bearer token. */
  token?: string | undefined;
  /** Layer to begin with; undefined leaves the choice to the server. */
  rid?: string | undefined;
  /** Stops watching when it aborts. */
  signal?: AbortSignal;
}

interface WatchEvents {
  state: WatchState;
  /** The layers that `chooseLayer` can name now. */
  layers: Layer[];
  /** How many watch. */
  viewers: number;
  /** Playing continues on another connection; nothing was missed. */
  moved: string;
  /** Why the last attempt failed: for people to read, and to show when the state is `failed`. */
  error: Error;
}

/**
 * Plays a WHEP endpoint in `video`, which gets a stream of its own. Browsers start it without a
 * click only while it is muted.
 */
export function watch(endpoint: string, video: HTMLVideoElement, options: WatchOptions = {}): Watching {
  return new Watching(endpoint, video, options);
}

export class Watching extends Emitter<WatchEvents> {
  readonly #endpoint: string;
  readonly #video: HTMLVideoElement;
  readonly #token: string | undefined;
  readonly #stop = new AbortController();
  /** One stream for all connections: only its tracks change, so the player never starts over. */
  readonly #shown = new MediaStream();
  #current: Viewing | undefined;
  #rid: string | undefined;
  #isOnAir = false;
  #state: WatchState = 'connecting';
  #before: RTCStatsReport | undefined;

  constructor(endpoint: string, video: HTMLVideoElement, { token, rid, signal }: WatchOptions) {
    super();
    this.#endpoint = endpoint;
    this.#video = video;
    this.#token = token;
    this.#rid = rid;
    video.autoplay = true;
    signal?.addEventListener('abort', () => {
      this.stop();
    }, { signal: this.#stop.signal });
    if (signal?.aborted) this.stop();
    else void this.#run();
  }

  get state(): WatchState {
    return this.#state;
  }

  stop(): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    this.#video.srcObject = null;
    this.#enter('stopped');
  }

  /**
   * Asks for one layer, or with undefined leaves the choice to the server. Kept over reconnects.
   * Throws `HttpError` if the server has no such layer.
   */
  async chooseLayer(rid: string | undefined): Promise<void> {
    this.#rid = rid;
    await this.#current?.chooseLayer(rid);
  }

  /** Figures since the previous call; undefined while not connected. */
  async stats(): Promise<WatchStats | undefined> {
    if (!this.#current || this.#current.isOver) return undefined;
    const now = await this.#current.session.pc.getStats();
    const stats = watchStats(now, this.#before);
    this.#before = now;
    return stats;
  }

  async #run(): Promise<void> {
    const signal = this.#stop.signal;
    const backoff = new Backoff();
    let endpoint = this.#endpoint;
    for (;;) {
      try {
        const next = await Viewing.open(endpoint, this.#token, signal);
        await this.#adopt(next);
        const since = performance.now();
        endpoint = (await next.finished) ?? this.#endpoint;
        if (next.isOver) this.#enter('reconnecting');
        await sleep(backoff.nextAfter(performance.now() - since), signal);
      } catch (error) {
        if (signal.aborted) return;
        this.emit('error', error as Error);
        const isPlaying = this.#current?.isOver === false;
        if (!isTemporary(error) && !isPlaying) {
          this.#stop.abort();
          this.#enter('failed');
          return;
        }
        const refusal = error instanceof HttpError ? error : undefined;
        if (!isPlaying) this.#enter(refusal?.status === 409 ? 'waiting' : this.#current ? 'reconnecting' : 'connecting');
        // An address that we were sent to may be wrong; the one we began with finds the way.
        endpoint = this.#endpoint;
        await sleep(backoff.next(refusal?.retryAfterMs), signal).catch(() => undefined);
      }
    }
  }

  /** Shows the new connection; one that still plays ends only when the new one has a picture. */
  async #adopt(next: Viewing): Promise<void> {
    const old = this.#current;
    const isMove = old !== undefined && !old.isOver;
    if (isMove) await ready(next.tracks, AbortSignal.any([old.session.over, AbortSignal.timeout(MOVE_MS)]));
    this.#stop.signal.throwIfAborted();
    this.#current = next;
    this.#before = undefined;
    next.session.on('health', (health) => {
      if (next === this.#current) this.#show(health);
    });
    next.onEvent((event) => {
      if (next === this.#current) this.#onEvent(event);
    });
    if (this.#rid !== undefined) {
      next.chooseLayer(this.#rid).catch((error: unknown) => this.emit('error', error as Error));
    }
    for (const track of this.#shown.getTracks()) this.#shown.removeTrack(track);
    for (const track of next.tracks) this.#shown.addTrack(track);
    // Not before there is something to play: an empty stream would keep the page "loading".
    if (this.#video.srcObject !== this.#shown) this.#video.srcObject = this.#shown;
    old?.session.close();
    if (isMove) this.emit('moved', next.session.resource.url);
    // A server admits viewers only while a host is on air.
    this.#isOnAir = true;
    this.#show('connected');
  }

  #show(health: Health): void {
    this.#enter(health === 'interrupted' ? 'reconnecting' : this.#isOnAir ? 'live' : 'waiting');
  }

  #onEvent(event: RoomEvent): void {
    switch (event.type) {
      case 'active':
      case 'inactive':
        this.#isOnAir = event.type === 'active';
        return this.#show('connected');
      case 'layers':
        return this.emit('layers', event.layers);
      case 'viewercount':
        return this.emit('viewers', event.viewers);
      case 'reconnect':
        return this.#current?.finish(event.url);
    }
  }

  #enter(state: WatchState): void {
    if (this.#state === state || this.#state === 'failed') return;
    if (this.#stop.signal.aborted && state !== 'stopped' && state !== 'failed') return;
    this.#state = state;
    this.emit('state', state);
  }
}

/** One connection of a viewer. */
class Viewing {
  /** Resolves when another connection is due: with its endpoint, if the server named one. */
  readonly finished: Promise<string | undefined>;
  /** Makes `finished` resolve. */
  finish!: (endpoint: string | undefined) => void;

  private constructor(
    readonly session: Session,
    readonly tracks: MediaStreamTrack[],
  ) {
    this.finished = new Promise((resolve) => {
      this.finish = resolve;
    });
    session.over.addEventListener('abort', () => this.finish(undefined), { once: true });
  }

  static async open(endpoint: string, token: string | undefined, signal: AbortSignal): Promise<Viewing> {
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    const tracks: MediaStreamTrack[] = [];
    pc.addEventListener('track', ({ track }) => tracks.push(track));
    pc.addTransceiver('video', { direction: 'recvonly' });
    pc.addTransceiver('audio', { direction: 'recvonly' });
    return new Viewing(await Session.open(pc, { endpoint, token, signal }), tracks);
  }

  get isOver(): boolean {
    return this.session.over.aborted;
  }

  onEvent(listener: (event: RoomEvent) => void): void {
    void followEvents(this.session.resource, this.session.over, listener);
  }

  async chooseLayer(rid: string | undefined): Promise<void> {
    const { links, token } = this.session.resource;
    const link = findLink(links, REL_LAYER);
    if (!link) return;
    await request('POST', link.url, {
      token,
      headers: { 'Content-Type': 'application/json' },
      // Without a constraint the server chooses.
      body: JSON.stringify(rid === undefined ? {} : { rid }),
      signal: this.session.over,
    });
  }
}

/** Resolves when the tracks have a picture that runs in step, or when `signal` aborts. */
async function ready(tracks: MediaStreamTrack[], signal: AbortSignal): Promise<void> {
  await firstFrame(tracks, signal);
  await sleep(CATCH_UP_MS, signal).catch(() => undefined);
}

/** Resolves when the tracks have something to show, or when `signal` aborts. */
function firstFrame(tracks: MediaStreamTrack[], signal: AbortSignal): Promise<void> {
  const probe = document.createElement('video');
  probe.muted = true;
  probe.autoplay = true;
  probe.playsInline = true;
  probe.srcObject = new MediaStream(tracks);
  return new Promise((resolve) => {
    const done = () => {
      probe.srcObject = null;
      resolve();
    };
    probe.addEventListener('loadeddata', done, { once: true, signal });
    signal.addEventListener('abort', done, { once: true });
  });
}
