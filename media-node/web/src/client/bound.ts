/** The largest picture that makes sense here: no larger than it is shown, and none that nobody sees. */

const DEBOUNCE_MS = 300;
/** A page out of sight gets the smallest layer after this long … */
const HIDDEN_SMALL_MS = 10_000;
/** … and the sound alone after this. */
const HIDDEN_NONE_MS = 60_000;
/**
 * Layers are a factor of two apart, mostly. Taking one up to this much larger than the element, and else the next
 * smaller one, means that a picture is never scaled by more than this, up or down.
 */
const TOLERANCE = Math.SQRT2;
/** Sizes are told in steps, so that a window that is dragged does not make a request for each pixel. */
const STEP = 32;
/** The longest side for those who want to save data. */
const REDUCED = 640;

/** As the layer extension has it: in pixels. Of 0 pixels there is no picture: sound only. */
export interface Bound {
  maxWidth: number;
  maxHeight: number;
}

export interface Circumstances {
  /** Size of the element in device pixels; 0 before it is laid out. */
  width: number;
  height: number;
  /** The viewer asked the browser to save data. */
  isReduced: boolean;
  /** For how long the page has been out of sight, in milliseconds; undefined while it is not. */
  hiddenMs: number | undefined;
}

/** Undefined if any picture is fine. */
export function boundFor({ width, height, isReduced, hiddenMs = 0 }: Circumstances): Bound | undefined {
  if (hiddenMs >= HIDDEN_NONE_MS) return { maxWidth: 0, maxHeight: 0 };
  // The server takes the smallest layer if none is small enough.
  if (hiddenMs >= HIDDEN_SMALL_MS) return { maxWidth: 1, maxHeight: 1 };
  const most = isReduced ? REDUCED : Infinity;
  const bound = (size: number) => Math.min(most, size > 0 ? Math.ceil((size * TOLERANCE) / STEP) * STEP : Infinity);
  const [maxWidth, maxHeight] = [bound(width), bound(height)];
  return Number.isFinite(maxWidth) && Number.isFinite(maxHeight) ? { maxWidth, maxHeight } : undefined;
}

export function isSameBound(a: Bound | undefined, b: Bound | undefined): boolean {
  return a?.maxWidth === b?.maxWidth && a?.maxHeight === b?.maxHeight;
}

interface NetworkInformation extends EventTarget {
  saveData?: boolean;
}

/** Calls `listener` with every new bound for what `video` shows, until `signal` aborts. */
export function watchBound(video: HTMLVideoElement, signal: AbortSignal, listener: (bound: Bound | undefined) => void): void {
  const connection = (navigator as { connection?: NetworkInformation }).connection;
  const reduced = matchMedia('(prefers-reduced-data: reduce)');
  let size = { width: 0, height: 0 };
  let hiddenSince: number | undefined;
  let told: Bound | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const look = () => {
    const bound = boundFor({
      ...size,
      isReduced: connection?.saveData === true || reduced.matches,
      hiddenMs: hiddenSince === undefined ? undefined : performance.now() - hiddenSince,
    });
    if (isSameBound(bound, told)) return;
    told = bound;
    listener(bound);
  };
  const lookIn = (ms: number) => {
    clearTimeout(timer);
    timer = setTimeout(look, ms);
  };
  const onVisibility = () => {
    // A picture in a picture is seen all the same.
    const isHidden = document.visibilityState === 'hidden' && document.pictureInPictureElement !== video;
    if (!isHidden) {
      hiddenSince = undefined;
      clearTimeout(timer);
      look();
    } else if (hiddenSince === undefined) {
      hiddenSince = performance.now();
      for (const ms of [HIDDEN_SMALL_MS, HIDDEN_NONE_MS]) hiddenTimers.push(setTimeout(look, ms));
    }
    if (!isHidden) for (const each of hiddenTimers.splice(0)) clearTimeout(each);
  };
  const hiddenTimers: ReturnType<typeof setTimeout>[] = [];

  const observer = new ResizeObserver(([entry]) => {
    const isFirst = size.width === 0;
    const [box] = entry?.devicePixelContentBoxSize ?? [];
    const { width = 0, height = 0 } = entry?.contentRect ?? {};
    size = box
      ? { width: box.inlineSize, height: box.blockSize }
      : { width: width * devicePixelRatio, height: height * devicePixelRatio };
    if (isFirst) look();
    else lookIn(DEBOUNCE_MS);
  });
  observer.observe(video);
  document.addEventListener('visibilitychange', onVisibility, { signal });
  video.addEventListener('enterpictureinpicture', onVisibility, { signal });
  video.addEventListener('leavepictureinpicture', onVisibility, { signal });
  connection?.addEventListener('change', look, { signal });
  reduced.addEventListener('change', look, { signal });
  signal.addEventListener('abort', () => {
    observer.disconnect();
    for (const each of [timer, ...hiddenTimers]) clearTimeout(each);
  }, { once: true });
  onVisibility();
}
