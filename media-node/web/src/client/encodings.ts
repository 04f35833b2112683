/** Which simulcast layers to send for a capture size. */

/** Target bitrates by the short side of a layer, largest first: pixels and bit/s at 30 frames/s. */
const BITRATES: readonly (readonly [number, number])[] = [
  [1080, 4_000_000],
  [720, 2_000_000],
  [540, 1_200_000],
  [360, 600_000],
  [270, 350_000],
  [0, 180_000],
];

const RIDS = ['q', 'h', 'f'] as const;

/**
 * The encodings for a capture: a quarter, a half and the full size, named `q`, `h` and `f`.
 *
 * Each layer keeps the capture's shape at a simple fraction, so that the encoder can make one
 * from the other. Layers that would be too small to watch are left out: a 360-line capture has
 * two, a 240-line one has one.
 */
export function chooseEncodings(width: number, height: number): RTCRtpEncodingParameters[] {
  const shortSide = Math.min(width, height);
  const count = shortSide >= 540 ? 3 : shortSide >= 270 ? 2 : 1;
  return RIDS.slice(RIDS.length - count).map((rid, index) => {
    const scale = 2 ** (count - 1 - index);
    return { rid, scaleResolutionDownBy: scale, maxBitrate: bitrateFor(shortSide / scale) };
  });
}

function bitrateFor(shortSide: number): number {
  return BITRATES.find(([atLeast]) => shortSide >= atLeast)?.[1] ?? 0;
}
