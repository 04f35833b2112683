/** Sending only those layers that somebody watches (event "wanted"). */

/**
 * Switches the layers on that are wanted and the others off; undefined if nothing changes. The first, which is the
 * smallest, stays on: it is what a new viewer can begin with, and what keeps the network's measure of the path.
 */
export function withWanted<E extends RTCRtpEncodingParameters>(encodings: E[], rids: readonly string[]): E[] | undefined {
  const changed = encodings.map((each, index) => ({
    ...each,
    active: index === 0 || each.rid === undefined || rids.includes(each.rid),
  }));
  const isSame = changed.every((each, index) => each.active === (encodings[index]?.active ?? true));
  return isSame ? undefined : changed;
}

/** Has a sender do so, one change after another. */
export class WantedLayers {
  readonly #sender: RTCRtpSender;
  #rids: readonly string[] | undefined;
  #isBusy = false;

  constructor(sender: RTCRtpSender) {
    this.#sender = sender;
  }

  async want(rids: readonly string[]): Promise<void> {
    this.#rids = rids;
    if (this.#isBusy) return;
    this.#isBusy = true;
    try {
      // What comes while a change is under way is done after it; only the last counts.
      for (let next = this.#take(); next; next = this.#take()) {
        const parameters = this.#sender.getParameters();
        const encodings = withWanted(parameters.encodings, next);
        if (encodings) await this.#sender.setParameters({ ...parameters, encodings });
      }
    } finally {
      this.#isBusy = false;
    }
  }

  #take(): readonly string[] | undefined {
    const rids = this.#rids;
    this.#rids = undefined;
    return rids;
  }
}
