/**
 * Has a host's browser find out anew what its upload carries.
 *
 * Browsers find that out from bursts of packets in their first half second. Where something was in the way just then
 * (a processor that is busy with starting three encoders is enough), Chromium believes in what little it measured and
 * goes up from it by 8 % a second: a host whose upload carries everything would be seen small for a quarter of a
 * minute. The same goes for an upload that was narrow and no longer is. Chromium sends such a burst again, of 15 ms,
 * when the answer's bandwidth (`b=AS`, RFC 8866 §5.8) is raised.
 */

import type { Session } from './session';
import { publishStats, type PublishStats } from './stats';

/** How often is looked. */
const LOOK_MS = 500;
/** The wait between two attempts, at first and at most. Where the upload is narrow they are in vain, and each makes a
 * queue of a few packets. */
const FIRST_WAIT_MS = 1_500;
const LONGEST_WAIT_MS = 60_000;
/** A path that loses more than this, or has a queue of more, is as narrow as the browser believes. */
const LOSS = 0.02;
const QUEUE_MS = 50;
/** More than a host's layers take together, in kbit/s. */
const BANDWIDTH_KBPS = 10_000;

/** When to try. */
export class HeldBack {
  #leastRoundTripMs = Infinity;
  #since: number | undefined;
  #waitMs = FIRST_WAIT_MS;

  /** Takes a look at a time in milliseconds. True if the upload seems to carry more than the browser sends. */
  look(now: number, { limitedBy, layers }: Pick<PublishStats, 'limitedBy' | 'layers'>): boolean {
    const roundTripMs = Math.max(...layers.map((layer) => layer.roundTripMs ?? 0));
    if (roundTripMs > 0) this.#leastRoundTripMs = Math.min(this.#leastRoundTripMs, roundTripMs);
    if (limitedBy !== 'network') {
      this.#since = undefined;
      this.#waitMs = FIRST_WAIT_MS;
      return false;
    }
    this.#since ??= now;
    const isFull = layers.some((layer) => layer.loss > LOSS) || roundTripMs > this.#leastRoundTripMs + QUEUE_MS;
    if (isFull || now - this.#since < this.#waitMs) return false;
    this.#since = now;
    this.#waitMs = Math.min(2 * this.#waitMs, LONGEST_WAIT_MS);
    return true;
  }
}

/** Looks after a host's session until it is over. */
export function watchUpload(session: Session): void {
  const heldBack = new HeldBack();
  const look = async () => {
    const stats = publishStats(await session.pc.getStats());
    if (!heldBack.look(performance.now(), stats)) return;
    await session.stateBandwidth(BANDWIDTH_KBPS);
    await session.stateBandwidth(BANDWIDTH_KBPS + 1);
  };
  // It is tried again in any case, and what fails here leaves all as it was.
  const looking = setInterval(() => void look().catch(() => undefined), LOOK_MS);
  session.over.addEventListener('abort', () => {
    clearInterval(looking);
  }, { once: true });
}
