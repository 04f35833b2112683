/** Whether anything still comes from the server: a pod that dies says no goodbye. */

import { sleep } from './backoff';
import { Emitter } from './emitter';

/** How often it is looked whether something came. */
const LOOK_MS = 200;
/** Media and feedback come many times a second: nothing for this long is a reason to ask. */
const SILENCE_MS = 600;
/** After a hint: with sound alone something comes every 20 ms. */
const LISTEN_MS = 150;
/** How long the server may take to say that the session is still there. */
const ANSWER_MS = 500;
/** A server that says so is not asked again for this long, however silent. */
const REST_MS = 5_000;

/** What the server says of a session. */
export type Answer = 'there' | 'gone' | 'none';

interface FlowEvents {
  /** Nothing comes, and the server does not say that the session is there. It may come back. */
  lost: undefined;
  /** Something comes again. */
  back: undefined;
  /** The server says that there is no such session. */
  gone: undefined;
}

export interface FlowOptions {
  /** Bytes received so far. */
  received: () => Promise<number>;
  /** Asks the server for the session. */
  ask: (signal: AbortSignal) => Promise<Answer>;
  /** Ends the watch. */
  signal: AbortSignal;
}

/** Watches one session. */
export class Flow extends Emitter<FlowEvents> {
  readonly #options: FlowOptions;
  #received = -1;
  #cameAt = performance.now();
  #restUntil = 0;
  #isAsking = false;
  #isLost = false;
  /** While nothing is to be expected (no host is on air), silence means nothing. */
  isQuiet = false;

  constructor(options: FlowOptions) {
    super();
    this.#options = options;
    const looking = setInterval(() => void this.#look(), LOOK_MS);
    options.signal.addEventListener('abort', () => clearInterval(looking), { once: true });
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Something hints that the server is gone: asks it now. What answers for it may be gone alone, so it also listens. */
  check(): void {
    const now = performance.now();
    void this.#options.received().then((received) => this.#ask(now, received), () => undefined);
  }

  async #look(): Promise<void> {
    const received = await this.#options.received().catch(() => undefined);
    if (received === undefined || this.#isOver()) return;
    const now = performance.now();
    if (received > this.#received) {
      this.#received = received;
      this.#cameAt = now;
      if (this.#isLost) {
        this.#isLost = false;
        this.emit('back', undefined);
      }
      return;
    }
    const isSilent = now - this.#cameAt >= SILENCE_MS;
    if (isSilent && !this.isQuiet && !this.#isLost && now >= this.#restUntil) await this.#ask(this.#cameAt, received);
  }

  #isOver(): boolean {
    return this.#options.signal.aborted;
  }

  /** Asks, for nothing has come since then, or may not have. */
  async #ask(since: number, before: number): Promise<void> {
    const { ask, signal } = this.#options;
    if (this.#isAsking || this.#isLost || this.#isOver()) return;
    this.#isAsking = true;
    const answer = await ask(AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)])).catch((): Answer => 'none');
    const isSilent = answer === 'none' && (await this.#isSilent(since, before));
    this.#isAsking = false;
    if (this.#isOver()) return;
    if (answer !== 'none') this.#restUntil = performance.now() + REST_MS;
    if (answer === 'gone') this.emit('gone', undefined);
    if (!isSilent) return;
    this.#isLost = true;
    this.emit('lost', undefined);
  }

  /** Whether nothing has come since then, for long enough to mean something. */
  async #isSilent(since: number, before: number): Promise<boolean> {
    const { received, signal } = this.#options;
    await sleep(since + LISTEN_MS - performance.now(), signal).catch(() => undefined);
    return (await received().catch(() => before)) <= before;
  }
}

/** Bytes that came by a connection, of whatever kind: only that they grow matters. */
export async function bytesReceived(pc: RTCPeerConnection): Promise<number> {
  let sum = 0;
  for (const report of (await pc.getStats()).values() as Iterable<Record<string, unknown>>) {
    const bytes = report['bytesReceived'];
    if (typeof bytes === 'number') sum += bytes;
  }
  return sum;
}
