/** Watches a room by WHEP, and keeps watching: waits for the host, repairs, reconnects, moves. */

import { Backoff, sleep } from './backoff';
import { watchBound, type Bound } from './bound';
import { offerDependencies } from './dependencies';
import { Due, type Occasion } from './due';
import { Emitter } from './emitter';
import { followEvents, VIEWER_EVENTS, type Adaptation, type RoomEvent } from './events';
import { GapMeter } from './gap';
import { HttpError, isTemporary, request } from './http';
import type { Layer, LayerChoice } from './layers';
import { findLink, REL_LAYER } from './link';
import { Reporter } from './report';
import type { Resource } from './resource';
import { Session, type Health } from './session';
import { watchStats, type WatchStats } from './stats';

/** The first retry comes soon: with a pod that dies, a thousand others come with it, spread by the jitter. */
const FIRST_RETRY_MS = 100;
/** After a move, the picture is watched for so much longer. */
const AFTERWARDS_MS = 1_000;
/** How long a move waits for the new picture before it goes ahead without. */
const MOVE_MS = 5_000;
/**
 * A new viewer begins at a key frame of the past and plays faster until it is in step. Shown
 * earlier, the picture would jump back and repeat the last moments.
 */
const CATCH_UP_MS = 1_000;
/** How often it is then asked whether it is … */
const COMPARE_MS = 250;
/** … to less than a frame. */
const FRAME_MS = 25;

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
  layer?: LayerChoice | undefined;
  /** False asks for the best picture whatever the size of the element, and for one while nobody sees it. */
  fitsElement?: boolean;
  /** Stops watching when it aborts. */
  signal?: AbortSignal;
}

/** A move to another connection. */
export interface Moved {
  /** The new session. */
  url: string;
  /** The longest time between two pictures meanwhile, in milliseconds; undefined if there was nobody to see one. */
  gapMs: number | undefined;
}

interface WatchEvents {
  state: WatchState;
  /** The layers that `chooseLayer` can name now. */
  layers: Layer[];
  /** How many watch. */
  viewers: number;
  /** What the server sends, and why not more. */
  adaptation: Adaptation;
  /** Playing goes on over another connection. */
  moved: Moved;
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

/** A connection that `prepare` made, for whoever needs the next. */
let prepared: RTCPeerConnection | undefined;

/**
 * Makes the connection for the next `watch`, so that its first picture need not wait for what the browser has to start
 * for that: to be called when a page loads that may soon watch. Sends nothing. Resolves when it is ready, after some tens
 * of milliseconds; `watch` need not wait for that.
 */
export async function prepare(): Promise<void> {
  prepared ??= connection();
  // Whatever is wrong with the browser, `watch` will say so.
  await prepared.createOffer().catch(() => undefined);
}

/** A connection that has still to offer itself. */
function connection(): RTCPeerConnection {
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  offerDependencies(pc.addTransceiver('video', { direction: 'recvonly' }));
  pc.addTransceiver('audio', { direction: 'recvonly' });
  return pc;
}

export class Watching extends Emitter<WatchEvents> {
  readonly #endpoint: string;
  readonly #video: HTMLVideoElement;
  readonly #token: string | undefined;
  readonly #stop = new AbortController();
  /** One stream for all connections: only its tracks change, so the player never starts over. */
  readonly #shown = new MediaStream();
  #current: Viewing | undefined;
  /** The viewer's own pick … */
  #layer: LayerChoice | undefined;
  /** … and what makes sense in this window, which counts without one. */
  #bound: Bound | undefined;
  #isOnAir = false;
  #state: WatchState = 'connecting';
  #before: RTCStatsReport | undefined;

  constructor(endpoint: string, video: HTMLVideoElement, { token, layer, fitsElement = true, signal }: WatchOptions) {
    super();
    this.#endpoint = endpoint;
    this.#video = video;
    this.#token = token;
    this.#layer = layer;
    video.autoplay = true;
    signal?.addEventListener('abort', () => {
      this.stop();
    }, { signal: this.#stop.signal });
    if (signal?.aborted) {
      this.stop();
      return;
    }
    if (fitsElement) watchBound(video, this.#stop.signal, (bound) => this.#fit(bound));
    void this.#run();
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
  async chooseLayer(layer: LayerChoice | undefined): Promise<void> {
    this.#layer = layer;
    await this.#current?.select(layer, this.#bound);
  }

  #fit(bound: Bound | undefined): void {
    this.#bound = bound;
    this.#current?.fit(this.#layer, bound);
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
    const backoff = new Backoff({ firstMs: FIRST_RETRY_MS });
    let due: Occasion = { why: 'over', endpoint: undefined };
    for (;;) {
      try {
        const next = await Viewing.open(due.endpoint ?? this.#endpoint, this.#token, signal, {
          wishes: () => [this.#layer, this.#bound],
          // The first picture is to find a player that is ready. A later connection waits until it can take over.
          onTracks: (tracks) => {
            if (!this.#current) this.#play(tracks);
          },
        });
        await this.#adopt(next);
        const since = performance.now();
        due = await next.due.occasion();
        if (due.why !== 'told') this.#enter('reconnecting');
        await sleep(backoff.nextAfter(performance.now() - since), signal);
      } catch (error) {
        if (signal.aborted) return;
        this.emit('error', error as Error);
        if (!this.#current) this.#video.srcObject = null;
        const isPlaying = this.#current?.isOver === false;
        if (!isTemporary(error) && !isPlaying) {
          this.#stop.abort();
          this.#enter('failed');
          return;
        }
        const refusal = error instanceof HttpError ? error : undefined;
        // Where it is to go, nobody is on air, and neither here: there is nothing to hold on to.
        if (refusal?.status === 409 && !this.#isOnAir) this.#current?.session.close();
        if (this.#current?.isOver !== false) {
          this.#enter(refusal?.status === 409 ? 'waiting' : this.#current ? 'reconnecting' : 'connecting');
        }
        await sleep(backoff.next(refusal?.retryAfterMs), signal).catch(() => undefined);
        due = await this.#stillDue();
      }
    }
  }

  /** Why another attempt is to be made; one that plays again needs none. An address we were sent to may be wrong. */
  async #stillDue(): Promise<Occasion> {
    const current = this.#current;
    if (current?.due.isDue === false) this.#show('connected');
    const occasion = await current?.due.occasion();
    return { why: occasion?.why ?? 'over', endpoint: undefined };
  }

  /** Shows the new connection; one that still plays ends only when the new one has a picture. */
  async #adopt(next: Viewing): Promise<void> {
    const old = this.#current;
    const isMove = old !== undefined && !old.isOver;
    const saw = () => next.reporter.sawFrame();
    const gap = isMove ? new GapMeter(this.#video) : undefined;
    // One that fell silent has nothing more to show: there is nothing to be in step with.
    if (isMove && !old.session.flow.isLost) await ready(next, old, AbortSignal.any([old.session.over, AbortSignal.timeout(MOVE_MS)]), saw);
    this.#stop.signal.throwIfAborted();
    this.#current = next;
    this.#before = undefined;
    next.session.on('health', (health) => {
      if (next === this.#current) this.#show(health);
    });
    next.onEvent((event) => {
      if (next === this.#current) this.#onEvent(event);
    });
    // What changed while it was being made.
    next.fit(this.#layer, this.#bound);
    this.#play(next.tracks);
    if ('requestVideoFrameCallback' in this.#video) this.#video.requestVideoFrameCallback(saw);
    old?.session.close();
    if (gap) this.#tellMoved(next, gap);
    // A server admits viewers only while a host is on air.
    this.#isOnAir = true;
    this.#show('connected');
  }

  #play(tracks: MediaStreamTrack[]): void {
    for (const track of this.#shown.getTracks()) if (!tracks.includes(track)) this.#shown.removeTrack(track);
    for (const track of tracks) this.#shown.addTrack(track);
    // Not before there is something to play: an empty stream would keep the page "loading".
    if (this.#video.srcObject !== this.#shown) this.#video.srcObject = this.#shown;
  }

  #tellMoved({ session }: Viewing, gap: GapMeter): void {
    setTimeout(() => this.emit('moved', { url: session.resource.url, gapMs: gap.stop() }), AFTERWARDS_MS);
  }

  #show(health: Health): void {
    this.#enter(health === 'interrupted' ? 'reconnecting' : this.#isOnAir ? 'live' : 'waiting');
  }

  #onEvent(event: RoomEvent): void {
    switch (event.type) {
      case 'active':
      case 'inactive':
        this.#isOnAir = event.type === 'active';
        if (this.#current) this.#current.session.flow.isQuiet = !this.#isOnAir;
        return this.#show('connected');
      case 'layers':
        return this.emit('layers', event.layers);
      case 'viewercount':
        return this.emit('viewers', event.viewers);
      case 'adaptation':
        return this.emit('adaptation', event.adaptation);
      case 'reconnect':
        return this.#current?.due.tell(event.url);
      case 'wanted':
        return; // For hosts.
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
  /** Whether another connection is. */
  readonly due: Due;

  private constructor(
    readonly session: Session,
    readonly tracks: MediaStreamTrack[],
    readonly reporter: Reporter,
    /** What the server was asked for last. */
    private selected: string,
  ) {
    this.due = new Due(session);
  }

  static async open(
    endpoint: string,
    token: string | undefined,
    signal: AbortSignal,
    { wishes, onTracks }: {
      /** Which layer is wanted, by the time that the server can be asked for it. */
      wishes: () => [LayerChoice | undefined, Bound | undefined];
      /** Called with the tracks long before anything comes on them. */
      onTracks: (tracks: MediaStreamTrack[]) => void;
    },
  ): Promise<Viewing> {
    const since = performance.now();
    const pc = prepared ?? connection();
    prepared = undefined;
    const tracks: MediaStreamTrack[] = [];
    pc.addEventListener('track', ({ track }) => tracks.push(track));
    let selected = NOTHING;
    // Before the connection is up, so that the first picture has the right size.
    const onResource = (resource: Resource) => {
      const [layer, bound] = wishes();
      selected = selection(layer, bound);
      if (selected !== NOTHING) selectLeniently(resource, layer, bound, signal);
    };
    const onOffered = () => {
      onTracks(pc.getReceivers().map((receiver) => receiver.track));
    };
    const session = await Session.open(pc, { endpoint, token, signal, onResource, onOffered });
    return new Viewing(session, tracks, new Reporter(session, since), selected);
  }

  get isOver(): boolean {
    return this.session.over.aborted;
  }

  onEvent(listener: (event: RoomEvent) => void): void {
    void followEvents(this.session, VIEWER_EVENTS, listener);
  }

  /** Asks for a layer. Throws `HttpError` if the server has no such layer. */
  async select(layer: LayerChoice | undefined, bound: Bound | undefined): Promise<void> {
    this.selected = selection(layer, bound);
    await select(this.session.resource, this.selected, this.session.over);
  }

  /** Asks for what fits, if that is news. */
  fit(layer: LayerChoice | undefined, bound: Bound | undefined): void {
    const selected = selection(layer, bound);
    if (selected === this.selected) return;
    this.selected = selected;
    selectLeniently(this.session.resource, layer, bound, this.session.over);
  }
}

/** The object of the layer extension. Without a constraint the server chooses. */
function selection(layer: LayerChoice | undefined, bound: Bound | undefined): string {
  return JSON.stringify({ ...layer, ...bound });
}

const NOTHING = selection(undefined, undefined);

async function select({ links, token }: Resource, body: string, signal: AbortSignal): Promise<void> {
  const link = findLink(links, REL_LAYER);
  if (!link) return;
  await request('POST', link.url, { token, headers: { 'Content-Type': 'application/json' }, body, signal });
}

/** A layer that was picked before may be gone; what fits the window counts then. */
function selectLeniently(
  resource: Resource,
  layer: LayerChoice | undefined,
  bound: Bound | undefined,
  signal: AbortSignal,
): void {
  select(resource, selection(layer, bound), signal)
    .catch((error: unknown) => {
      const isGone = error instanceof HttpError && error.status === 422;
      if (isGone && layer !== undefined) return select(resource, selection(undefined, bound), signal);
      throw error;
    })
    // The picture is larger or smaller than it might be, and no worse.
    .catch(() => undefined);
}

/** Resolves when the picture of `next` runs in step with that of `old`, or when `signal` aborts. */
async function ready(next: Viewing, old: Viewing, signal: AbortSignal, onFrame: () => void): Promise<void> {
  await firstFrame(next.tracks, signal);
  if (!signal.aborted) onFrame();
  await sleep(CATCH_UP_MS, signal).catch(() => undefined);
  const both = [next, old];
  let before = await Promise.all(both.map((viewing) => viewing.session.pc.getStats()));
  while (!signal.aborted) {
    await sleep(COMPARE_MS, signal).catch(() => undefined);
    const now = await Promise.all(both.map((viewing) => viewing.session.pc.getStats()));
    const [ours, theirs] = now.map((reports, at) => watchStats(reports, before[at]).bufferMs);
    // A new connection waits longer at first, for it saw its stored beginning come in a burst. One whose picture
    // stands still is not in step, unless the old one's does as well.
    if (theirs === undefined || (ours !== undefined && ours < theirs + FRAME_MS)) return;
    before = now;
  }
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
