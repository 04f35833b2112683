/** Goes live in a room by WHIP (RFC 9725), and stays live until told to stop. */

import { Backoff, sleep } from './backoff';
import { Emitter } from './emitter';
import { chooseEncodings } from './encodings';
import { followEvents, HOST_EVENTS } from './events';
import { HttpError, isTemporary } from './http';
import { Session } from './session';
import { publishStats, type PublishStats } from './stats';
import { WantedLayers } from './wanted';

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
  #session: Session | undefined;
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
    const sender = this.#session?.pc.getSenders().find((each) => each.track?.kind === track.kind);
    await sender?.replaceTrack(track);
  }

  /** Figures since the previous call; undefined while not connected. */
  async stats(): Promise<PublishStats | undefined> {
    if (!this.#session || this.#session.over.aborted) return undefined;
    const now = await this.#session.pc.getStats();
    const stats = publishStats(now, this.#before);
    this.#before = now;
    return stats;
  }

  async #run(): Promise<void> {
    const signal = this.#stop.signal;
    const backoff = new Backoff();
    let hasBeenLive = false;
    for (;;) {
      try {
        const session = await this.#open(signal);
        this.#session = session;
        const since = performance.now();
        hasBeenLive = true;
        this.#enter('live');
        this.#followWishes(session);
        session.on('health', (health) => {
          this.#enter(health === 'connected' ? 'live' : 'reconnecting');
        });
        await aborted(session.over);
        this.#enter('reconnecting');
        await sleep(backoff.nextAfter(performance.now() - since), signal);
      } catch (error) {
        if (signal.aborted) return;
        this.emit('error', error as Error);
        if (!isTemporary(error)) {
          this.#stop.abort();
          this.#enter('failed');
          return;
        }
        const refusal = error instanceof HttpError ? error : undefined;
        this.#enter(refusal?.status === 409 ? 'occupied' : hasBeenLive ? 'reconnecting' : 'connecting');
        await sleep(backoff.next(refusal?.retryAfterMs), signal).catch(() => undefined);
      }
    }
  }

  #open(signal: AbortSignal): Promise<Session> {
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
    return Session.open(pc, { endpoint: this.#endpoint, token, signal });
  }

  /** Layers that nobody watches are not sent, for as long as the server says so. */
  #followWishes(session: Session): void {
    const sender = session.pc.getSenders().find((each) => each.track?.kind === 'video');
    if (!sender) return;
    const layers = new WantedLayers(sender);
    void followEvents(session.resource, HOST_EVENTS, session.over, (event) => {
      // A sender that does not take the change goes on with what it sent before.
      if (event.type === 'wanted') layers.want(event.rids).catch(() => undefined);
    });
  }

  #enter(state: PublishState): void {
    if (this.#state === state || this.#state === 'failed') return;
    if (this.#stop.signal.aborted && state !== 'stopped' && state !== 'failed') return;
    this.#state = state;
    this.emit('state', state);
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

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
