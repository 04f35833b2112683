/**
 * One media session: a peer connection and its resource on the server, from the offer to the end.
 *
 * It repairs the path by ICE restarts as long as the server knows the session, and says when
 * that is over. Whoever owns it then opens a new one.
 */

import { Backoff, sleep } from './backoff';
import { withBandwidth } from './bandwidth';
import { Emitter } from './emitter';
import { bytesReceived, Flow } from './flow';
import { ConnectionError, HttpError, isTemporary } from './http';
import { iceServers, type Link } from './link';
import { Resource } from './resource';
import { withIceParameters, writeFragment } from './sdpfrag';
import { withSrtpProfiles } from './srtp';

/** An ICE-lite server learns our addresses from our checks, so waiting a little costs nothing. */
const TRICKLE_MS = 100;
const CONNECT_TIMEOUT_MS = 15_000;
/** A path may lose a second's checks to a busy radio without being broken. */
const GRACE_MS = 1_000;
/** After 30 s without consent the server drops the session as well (RFC 7675 §5.1). */
const RECOVERY_MS = 30_000;
/** How long to wait for the server's word at the end. */
const GOODBYE_MS = 500;
/** How long a restarted path may take to carry a check. */
const RESTART_MS = 4_000;

/** Whether media can flow now. */
export type Health = 'connected' | 'interrupted';

export interface SessionOptions {
  endpoint: string;
  token: string | undefined;
  signal: AbortSignal;
  /** Called when the server has agreed, before media can flow. */
  onResource?: (resource: Resource) => void;
  /** Called while the server's answer is waited for: a round trip in which nothing else is to be done. */
  onOffered?: () => void;
}

interface SessionEvents {
  health: Health;
}

/** Not after a connection that failed: whatever the reason was, the next one is to have it easier. */
let statesSrtpProfiles = true;

export class Session extends Emitter<SessionEvents> {
  readonly #life = new AbortController();
  /** Whether anything still comes. */
  readonly flow: Flow;
  #candidates: string[] = [];
  #isGathered = false;
  #flushTimer: ReturnType<typeof setTimeout> | undefined;
  #isRecovering = false;
  /** The description that is being changed on this side alone. */
  #restating: Promise<void> = Promise.resolve();
  /** Called once when this side ends the session, to say a last word by a request that outlives the page. */
  goodbye: (() => Promise<void>) | undefined;

  private constructor(
    readonly pc: RTCPeerConnection,
    readonly resource: Resource,
  ) {
    super();
    this.flow = new Flow({
      received: () => bytesReceived(pc),
      ask: (signal) => resource.ask(signal),
      signal: this.over,
    });
    this.flow.on('gone', () => this.#end());
  }

  /**
   * Offers what `pc` was set up for and resolves when media can flow. On any failure, and when
   * `signal` aborts at any time, `pc` is closed and the server's resource deleted.
   */
  static async open(pc: RTCPeerConnection, options: SessionOptions): Promise<Session> {
    let session: Session | undefined;
    try {
      const offer = await pc.createOffer();
      const sdp = offer.sdp ?? '';
      const creation = Resource.create(
        options.endpoint,
        statesSrtpProfiles ? withSrtpProfiles(sdp) : sdp,
        options.token,
        options.signal,
      );
      options.onOffered?.();
      const resource = await creation;
      session = new Session(pc, resource);
      options.onResource?.(resource);
      options.signal.addEventListener('abort', session.#close, { signal: session.#life.signal });
      await session.#start(offer);
      options.signal.throwIfAborted();
      return session;
    } catch (error) {
      if (session && error instanceof ConnectionError) statesSrtpProfiles = false;
      if (session) session.close();
      else pc.close();
      throw error;
    }
  }

  /** Extensions that the server offers for this session. */
  get links(): Link[] {
    return this.resource.links;
  }

  /** Aborts when the session is over, whoever ended it. */
  get over(): AbortSignal {
    return this.#life.signal;
  }

  /** States to the browser what bandwidth the server takes video with. Does nothing while the path is being repaired. */
  async stateBandwidth(kbps: number): Promise<void> {
    if (this.#isRecovering || this.over.aborted || this.pc.signalingState !== 'stable') return;
    const restate = async () => {
      const answer = this.pc.remoteDescription?.sdp ?? this.resource.answer;
      await this.pc.setLocalDescription();
      await this.pc.setRemoteDescription({ type: 'answer', sdp: withBandwidth(answer, kbps) });
    };
    const restated = restate();
    this.#restating = restated.catch(() => undefined);
    await restated;
  }

  /** Ends the session, here and on the server. */
  close(): void {
    this.#leave(false);
  }

  #leave(isLastMoment: boolean): void {
    if (this.#life.signal.aborted) return;
    const told = this.goodbye?.() ?? Promise.resolve();
    this.#finish();
    // What is told of the session comes before its end; a page that goes can't wait for that.
    const ended = isLastMoment ? this.resource.delete() : told.then(() => this.resource.delete());
    // The server hears of the end by DELETE before it does by DTLS, or the session would be gone
    // already when DELETE arrives. With nobody to answer, the connection closes all the same.
    const patience = new Promise((resolve) => setTimeout(resolve, GOODBYE_MS));
    void Promise.race([ended, patience]).then(() => this.pc.close());
  }

  readonly #close = () => {
    this.close();
  };

  readonly #onPageHide = () => {
    this.#leave(true);
  };

  async #start(offer: RTCSessionDescriptionInit): Promise<void> {
    const { pc, resource } = this;
    const signal = this.#life.signal;
    const servers = iceServers(resource.links);
    // Gathering begins with the local description, so the servers named in the answer count.
    if (servers.length > 0) pc.setConfiguration({ ...pc.getConfiguration(), iceServers: servers });
    pc.addEventListener('icecandidate', this.#onCandidate, { signal });
    await pc.setLocalDescription(offer);
    await pc.setRemoteDescription({ type: 'answer', sdp: resource.answer });

    pc.addEventListener('connectionstatechange', this.#onState, { signal });
    for (const { sender, receiver } of pc.getTransceivers()) {
      // A server's goodbye shows here at once; the connection state follows seconds later.
      for (const transport of new Set([sender.transport, receiver.transport])) {
        transport?.addEventListener('statechange', this.#onDtls, { signal });
      }
    }
    // Leaving the page ends the session now, not when the server's patience does.
    addEventListener('pagehide', this.#onPageHide, { signal });
    addEventListener('online', this.#onOnline, { signal });
    await this.#connected(CONNECT_TIMEOUT_MS);
  }

  readonly #onState = () => {
    const state = this.pc.connectionState;
    if (state === 'connected') this.emit('health', 'connected');
    if (state !== 'disconnected' && state !== 'failed') return;
    this.emit('health', 'interrupted');
    setTimeout(() => {
      if (this.pc.connectionState !== 'connected') void this.#recover();
    }, state === 'failed' ? 0 : GRACE_MS);
  };

  readonly #onDtls = (event: Event) => {
    const { state } = event.target as RTCDtlsTransport;
    if (state === 'closed' || state === 'failed') this.#end();
  };

  readonly #onOnline = () => {
    // The address may be another one now; a restart finds out and disturbs nothing if it is not.
    void this.#recover();
  };

  /** Restarts ICE until media flows again or the session is beyond repair. */
  async #recover(): Promise<void> {
    if (this.#isRecovering || this.over.aborted) return;
    this.#isRecovering = true;
    await this.#restating;
    const signal = AbortSignal.any([this.over, AbortSignal.timeout(RECOVERY_MS)]);
    const backoff = new Backoff({ firstMs: 500, capMs: 2_000 });
    try {
      do {
        try {
          await this.#restart(signal);
          await this.#connected(RESTART_MS);
        } catch (error) {
          signal.throwIfAborted();
          // The session is gone, or the server cannot restart it: only a new one helps.
          if (error instanceof HttpError && !isTemporary(error)) throw error;
          await sleep(backoff.next(), signal);
        }
      } while (this.pc.connectionState !== 'connected');
    } catch {
      this.#end();
    } finally {
      this.#isRecovering = false;
    }
  }

  async #restart(signal: AbortSignal): Promise<void> {
    // The offer is applied only once the server agreed, so that a failure leaves all as it was.
    const offer = await this.pc.createOffer({ iceRestart: true });
    const remote = await this.resource.restart(writeFragment(offer.sdp ?? '', [], false), signal);
    this.#candidates = [];
    this.#isGathered = false;
    await this.pc.setLocalDescription(offer);
    await this.pc.setRemoteDescription({
      type: 'answer',
      sdp: withIceParameters(this.resource.answer, remote),
    });
  }

  #connected(timeoutMs: number): Promise<void> {
    const { pc } = this;
    return new Promise((resolve, reject) => {
      const settled = new AbortController();
      const fail = (message: string) => {
        settled.abort();
        reject(new ConnectionError(message));
      };
      const check = () => {
        if (pc.connectionState !== 'connected') return;
        settled.abort();
        resolve();
      };
      const timer = setTimeout(() => {
        fail('no media path to the server: a firewall may block it');
      }, timeoutMs);
      settled.signal.addEventListener('abort', () => {
        clearTimeout(timer);
      });
      pc.addEventListener('connectionstatechange', check, { signal: settled.signal });
      this.over.addEventListener('abort', () => fail('the session ended'), { signal: settled.signal });
      if (this.over.aborted) fail('the session ended');
      else check();
    });
  }

  readonly #onCandidate = ({ candidate }: RTCPeerConnectionIceEvent) => {
    // Browsers mark the end by no candidate or by an empty one.
    if (candidate?.candidate) this.#candidates.push(candidate.candidate);
    else this.#isGathered = true;
    // Candidates come in bursts: those of one burst share a request.
    this.#flushTimer ??= setTimeout(() => {
      this.#flushTimer = undefined;
      this.#flush();
    }, TRICKLE_MS);
  };

  #flush(): void {
    const sdp = this.pc.localDescription?.sdp;
    if (sdp === undefined || this.over.aborted) return;
    const fragment = writeFragment(sdp, this.#candidates.splice(0), this.#isGathered);
    // A lost candidate costs at most this one path; the server also learns ours from our checks.
    this.resource.trickle(fragment, this.over).catch(() => undefined);
  }

  /** For a session that the server or the network ended. */
  #end(): void {
    this.#finish();
    this.pc.close();
  }

  #finish(): void {
    clearTimeout(this.#flushTimer);
    this.#life.abort();
  }
}
