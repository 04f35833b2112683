/** Goes live in a room by WHIP (RFC 9725), and stays live until told to stop. */

import { Backoff, sleep } from './backoff';
import { Due, type Occasion } from './due';
import { Emitter } from './emitter';
import { chooseEncodings } from './encodings';
import { followEvents, HOST_EVENTS, type RoomEvent } from './events';
import { HttpError, isTemporary } from './http';
import { Session } from './session';
import { publishStats, type PublishStats } from './stats';
import { watchUpload } from './upload';
import { WantedLayers } from './wanted';

/** The first retry comes soon: viewers wait for it. */
const FIRST_RETRY_MS = 100;
/** Who moves goes on sending to where viewers still are for as long as this. */
const OVERLAP_MS = 30_000;

/** Video codecs that a server of this project can forward. */
export type VideoCodec = 'VP8' | 'H264' | 'VP9' | 'AV1';

export type PublishState =
  /** First attempt under way. */
  | 'connecting'
  /** Somebody else is on air; tries again. */
  | 'occupied'
  | 'live'
  /** Was live; the network or the server went away; tries again. */
  | 'reconnecting'
  /** `stop()` was called or the signal aborted. */
  | 'stopped'
  /** The server refuses for good; the error event says why. */
  | 'failed';

export interface PublishOptions {
  /** Sent as bearer token. */
  token?: string | undefined;
  /** Offered first; the server takes the first that it can forward. */
  codec?: VideoCodec | undefined;
  /** False sends one layer only. */
  simulcast?: boolean;
  /** Stops publishing when it aborts. */
  signal?: AbortSignal;
}

interface PublishEvents {
  state: PublishState;
  /** Sends by another connection now, whose address it is. */
  moved: string;
  /** Why the last attempt failed: for people to read, and to show when the state is `failed`. */
  error: Error;
}

/** Sends `stream` to a WHIP endpoint. Its tracks stay the caller's: they are never stopped here. */
export function publish(endpoint: string, stream: MediaStream, options: PublishOptions = {}): Publication {
  return new Publication(endpoint, stream, options);
}

export class Publication extends Emitter<PublishEvents> {
  readonly #endpoint: string;
  readonly #stream: MediaStream;
  readonly #tracks: Map<string, MediaStreamTrack>;
  readonly #options: PublishOptions;
  readonly #stop = new AbortController();
  #current: Sending | undefined;
  /** Those that viewers have not left yet. */
  readonly #retiring = new Set<Sending>();
  #state: PublishState = 'connecting';
  #before: RTCStatsReport | undefined;

  constructor(endpoint: string, stream: MediaStream, options: PublishOptions) {
    super();
    this.#endpoint = endpoint;
    this.#stream = stream;
    this.#tracks = new Map(stream.getTracks().map((track) => [track.kind, track]));
    this.#options = options;
    options.signal?.addEventListener('abort', () => {
      this.stop();
    }, { signal: this.#stop.signal });
    if (options.signal?.aborted) this.stop();
    else void this.#run();
  }

  get state(): PublishState {
    return this.#state;
  }

  /** Goes off air. */
  stop(): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    this.#enter('stopped');
  }

  /** Sends another camera or microphone in place of the present one, without a break. */
  async replaceTrack(track: MediaStreamTrack): Promise<void> {
    this.#tracks.set(track.kind, track);
    const sendings = [...this.#retiring, this.#current].filter((each) => each !== undefined);
    await Promise.all(sendings.map((each) => each.replaceTrack(track)));
  }

  /** Figures since the previous call; undefined while not connected. */
  async stats(): Promise<PublishStats | undefined> {
    if (!this.#current || this.#current.isOver) return undefined;
    const now = await this.#current.session.pc.getStats();
    const stats = publishStats(now, this.#before);
    this.#before = now;
    return stats;
  }

  async #run(): Promise<void> {
    const signal = this.#stop.signal;
    const backoff = new Backoff({ firstMs: FIRST_RETRY_MS });
    let due: Occasion = { why: 'over', endpoint: undefined };
    for (;;) {
      try {
        const next = new Sending(await this.#open(due.endpoint ?? this.#endpoint, signal));
        this.#adopt(next);
        const since = performance.now();
        due = await next.due.occasion();
        if (due.why !== 'told') this.#enter('reconnecting');
        await sleep(backoff.nextAfter(performance.now() - since), signal);
      } catch (error) {
        if (signal.aborted) return;
        this.emit('error', error as Error);
        const isSending = this.#current?.isOver === false;
        if (!isTemporary(error) && !isSending) {
          this.#stop.abort();
          this.#enter('failed');
          return;
        }
        const refusal = error instanceof HttpError ? error : undefined;
        if (!isSending) this.#enter(refusal?.status === 409 ? 'occupied' : this.#current ? 'reconnecting' : 'connecting');
        await sleep(backoff.next(refusal?.retryAfterMs), signal).catch(() => undefined);
        due = await this.#stillDue();
      }
    }
  }

  /** Why another attempt is to be made; one that sends again needs none. An address we were sent to may be wrong. */
  async #stillDue(): Promise<Occasion> {
    const current = this.#current;
    if (current?.due.isDue === false) this.#enter('live');
    const occasion = await current?.due.occasion();
    return { why: occasion?.why ?? 'over', endpoint: undefined };
  }

  /** Sends by this connection from now on; by the one before as well, as long as somebody watches there. */
  #adopt(next: Sending): void {
    const old = this.#current;
    this.#current = next;
    this.#before = undefined;
    next.follow();
    next.session.on('health', (health) => {
      if (next === this.#current) this.#enter(health === 'connected' ? 'live' : 'reconnecting');
    });
    this.#enter('live');
    if (!old || old.isOver) return;
    this.#retiring.add(old);
    void old.retire().then(() => this.#retiring.delete(old));
    this.emit('moved', next.session.resource.url);
  }

  #open(endpoint: string, signal: AbortSignal): Promise<Session> {
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    const { token, codec, simulcast = true } = this.#options;
    for (const track of this.#tracks.values()) {
      const init: RTCRtpTransceiverInit = { direction: 'sendonly', streams: [this.#stream] };
      const isLayered = track.kind === 'video' && simulcast;
      const transceiver = pc.addTransceiver(
        track,
        isLayered ? { ...init, sendEncodings: encodingsFor(track, codec) } : init,
      );
      if (track.kind === 'video' && codec) preferCodec(transceiver, codec);
    }
    return Session.open(pc, { endpoint, token, signal });
  }

  #enter(state: PublishState): void {
    if (this.#state === state || this.#state === 'failed') return;
    if (this.#stop.signal.aborted && state !== 'stopped' && state !== 'failed') return;
    this.#state = state;
    this.emit('state', state);
  }
}

/** One connection of a host. */
class Sending {
  /** Whether another connection is. */
  readonly due: Due;
  #viewers: number | undefined;
  #isRetiring = false;

  constructor(readonly session: Session) {
    this.due = new Due(session);
    session.flow.on('lost', () => this.#look());
  }

  get isOver(): boolean {
    return this.session.over.aborted;
  }

  sender(kind: string): RTCRtpSender | undefined {
    return this.session.pc.getSenders().find((each) => each.track?.kind === kind);
  }

  async replaceTrack(track: MediaStreamTrack): Promise<void> {
    await this.sender(track.kind)?.replaceTrack(track);
  }

  /** Does what the server says (layers that nobody watches are not sent), and sends what the upload carries. */
  follow(): void {
    const video = this.sender('video');
    const layers = video && new WantedLayers(video);
    const onEvent = (event: RoomEvent) => {
      switch (event.type) {
        case 'wanted':
          // A sender that does not take the change goes on with what it sent before.
          layers?.want(event.rids).catch(() => undefined);
          return;
        case 'viewercount':
          this.#viewers = event.viewers;
          this.#look();
          return;
        case 'reconnect':
          this.due.tell(event.url);
          return;
        default:
          return; // For viewers.
      }
    };
    void followEvents(this.session, HOST_EVENTS, onEvent);
    watchUpload(this.session);
  }

  /** Ends once nobody watches here any more, or has for too long. Resolves then. */
  retire(): Promise<void> {
    this.#isRetiring = true;
    const timer = setTimeout(() => this.session.close(), OVERLAP_MS);
    return new Promise((resolve) => {
      const over = () => {
        clearTimeout(timer);
        resolve();
      };
      this.session.over.addEventListener('abort', over, { once: true });
      this.#look();
      if (this.isOver) over();
    });
  }

  #look(): void {
    if (this.#isRetiring && (this.#viewers === 0 || this.session.flow.isLost)) this.session.close();
  }
}

function encodingsFor(track: MediaStreamTrack, codec: VideoCodec | undefined): RTCRtpEncodingParameters[] {
  const { width = 1280, height = 720 } = track.getSettings();
  const encodings = chooseEncodings(width, height);
  // Without a mode, Chromium takes several VP9 or AV1 encodings for one scalable stream.
  const isScalable = codec === 'VP9' || codec === 'AV1';
  return isScalable ? encodings.map((each) => ({ ...each, scalabilityMode: 'L1T1' })) : encodings;
}

/** Moves the codec to the front of the offer and leaves the others as alternatives. */
function preferCodec(transceiver: RTCRtpTransceiver, codec: VideoCodec): void {
  const all = RTCRtpReceiver.getCapabilities('video')?.codecs ?? [];
  const isPreferred = ({ mimeType }: { mimeType: string }) =>
    mimeType.toLowerCase() === `video/${codec}`.toLowerCase();
  transceiver.setCodecPreferences([...all.filter(isPreferred), ...all.filter((each) => !isPreferred(each))]);
}
