/** What a viewer's page tells the server of its session, from `getStats()`: sums since the session began. */

import { request } from './http';
import { findLink, REL_REPORT } from './link';
import type { Session } from './session';

const SAMPLE_MS = 2_000;
/** The server takes one every few seconds. */
const REPORT_MS = 10_000;

/** What the report has beside the statistics. */
export interface Ages {
  /** Age of the session, in milliseconds. */
  afterMs: number;
  /** From the request to the first frame on the screen; undefined before it. */
  firstFrameMs: number | undefined;
  /** Time that the page was out of sight, in milliseconds. */
  hiddenMs: number;
}

/** As the server reads it. What is undefined is left out of the JSON. */
export interface ViewReport {
  afterMs: number;
  firstFrameMs: number | undefined;
  freezeCount: number;
  freezeSeconds: number;
  framesDecoded: number;
  framesDropped: number;
  width: number | undefined;
  height: number | undefined;
  jitterBufferMs: number | undefined;
  concealedSamples: number;
  totalSamples: number;
  hiddenSeconds: number;
}

type Reports = Pick<ReadonlyMap<string, unknown>, 'values'>;

export function viewReport(stats: Reports, { afterMs, firstFrameMs, hiddenMs }: Ages): ViewReport {
  const received = ([...stats.values()] as Record<string, unknown>[]).filter((each) => each['type'] === 'inbound-rtp');
  const video = received.find((each) => each['kind'] === 'video');
  const audio = received.find((each) => each['kind'] === 'audio');
  const emitted = count(video, 'jitterBufferEmittedCount');
  // Silence that the sender left out is concealed as well, and nobody misses it.
  const concealed = count(audio, 'concealedSamples') - count(audio, 'silentConcealedSamples');
  return {
    afterMs: Math.round(afterMs),
    firstFrameMs: firstFrameMs === undefined ? undefined : Math.round(firstFrameMs),
    freezeCount: count(video, 'freezeCount'),
    freezeSeconds: amount(video, 'totalFreezesDuration'),
    framesDecoded: count(video, 'framesDecoded'),
    framesDropped: count(video, 'framesDropped'),
    width: count(video, 'frameWidth') || undefined,
    height: count(video, 'frameHeight') || undefined,
    jitterBufferMs: emitted > 0 ? (amount(video, 'jitterBufferDelay') / emitted) * 1_000 : undefined,
    concealedSamples: Math.max(0, concealed),
    totalSamples: count(audio, 'totalSamplesReceived'),
    hiddenSeconds: Math.round(hiddenMs) / 1_000,
  };
}

/** Samples a session, and reports on it until it is over. Does nothing for a server that takes no reports. */
export class Reporter {
  readonly #session: Session;
  readonly #since: number;
  #latest: ViewReport | undefined;
  #firstFrameMs: number | undefined;
  #hiddenMs = 0;
  #hiddenSince: number | undefined;

  /** `since` is when the session was asked for, by `performance.now()`. */
  constructor(session: Session, since: number) {
    this.#session = session;
    this.#since = since;
    const url = findLink(session.links, REL_REPORT)?.url;
    if (url === undefined) return;
    const signal = session.over;
    const sampling = setInterval(() => void this.#sample(), SAMPLE_MS);
    const reporting = setInterval(() => void this.#send(url, false), REPORT_MS);
    signal.addEventListener('abort', () => {
      clearInterval(sampling);
      clearInterval(reporting);
    }, { once: true });
    document.addEventListener('visibilitychange', this.#onVisibility, { signal });
    this.#onVisibility();
    void this.#sample();
    // The page may be gone before it could ask for newer figures.
    session.goodbye = () => this.#send(url, true);
  }

  /** The first frame is on the screen. */
  sawFrame(at = performance.now()): void {
    this.#firstFrameMs ??= at - this.#since;
  }

  async #sample(): Promise<void> {
    const stats = await this.#session.pc.getStats().catch(() => undefined);
    if (stats) this.#latest = viewReport(stats, this.#ages());
  }

  #ages(): Ages {
    const now = performance.now();
    return {
      afterMs: now - this.#since,
      firstFrameMs: this.#firstFrameMs,
      hiddenMs: this.#hiddenMs + (this.#hiddenSince === undefined ? 0 : now - this.#hiddenSince),
    };
  }

  async #send(url: string, isLast: boolean): Promise<void> {
    if (!this.#latest) return;
    const { afterMs, firstFrameMs, hiddenMs } = this.#ages();
    // The last one counts even where no sample is newer than the report before.
    const report = { ...this.#latest, afterMs: Math.round(afterMs), hiddenSeconds: Math.round(hiddenMs) / 1_000 };
    if (firstFrameMs !== undefined) report.firstFrameMs = Math.round(firstFrameMs);
    await request('POST', url, {
      token: this.#session.resource.token,
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(report),
      keepalive: isLast,
    }).catch(() => undefined); // The next one tells the same and more.
  }

  readonly #onVisibility = () => {
    const now = performance.now();
    if (document.visibilityState === 'hidden') {
      this.#hiddenSince ??= now;
    } else if (this.#hiddenSince !== undefined) {
      this.#hiddenMs += now - this.#hiddenSince;
      this.#hiddenSince = undefined;
    }
  };
}

function amount(report: Record<string, unknown> | undefined, field: string): number {
  const value = report?.[field];
  return typeof value === 'number' && value > 0 ? value : 0;
}

function count(report: Record<string, unknown> | undefined, field: string): number {
  return Math.round(amount(report, field));
}
