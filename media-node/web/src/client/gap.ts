/** How long the picture stood still while a player went from one connection to another. */

/** The longest time between two pictures on the screen, from its making until it is read. */
export class GapMeter {
  readonly #video: HTMLVideoElement;
  #callback: number | undefined;
  #last: number | undefined;
  #longest: number | undefined;

  constructor(video: HTMLVideoElement) {
    this.#video = video;
    if ('requestVideoFrameCallback' in video) this.#next();
  }

  /** Ends the measure. In milliseconds; undefined if nobody could see a picture: no browser shows one out of sight. */
  stop(): number | undefined {
    if (this.#callback !== undefined) this.#video.cancelVideoFrameCallback(this.#callback);
    return this.#longest;
  }

  #next(): void {
    this.#callback = this.#video.requestVideoFrameCallback((_, { presentationTime }) => {
      if (this.#last !== undefined) this.#longest = Math.max(this.#longest ?? 0, presentationTime - this.#last);
      this.#last = presentationTime;
      this.#next();
    });
  }
}
