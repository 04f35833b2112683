import { expect, it } from 'vitest';
import { chooseEncodings } from '../src/client/encodings';

const layers = (width: number, height: number) =>
  chooseEncodings(width, height).map(({ rid, scaleResolutionDownBy = 1 }) => [
    rid,
    width / scaleResolutionDownBy,
    height / scaleResolutionDownBy,
  ]);

it('sends a quarter, a half and the full size', () => {
  expect(layers(1280, 720)).toEqual([['q', 320, 180], ['h', 640, 360], ['f', 1280, 720]]);
  expect(layers(1920, 1080)).toEqual([['q', 480, 270], ['h', 960, 540], ['f', 1920, 1080]]);
});

it('treats a phone held upright like one held sideways', () => {
  expect(chooseEncodings(720, 1280)).toEqual(chooseEncodings(1280, 720));
});

it('leaves out layers too small to watch', () => {
  expect(layers(640, 360)).toEqual([['h', 320, 180], ['f', 640, 360]]);
  expect(layers(320, 240)).toEqual([['f', 320, 240]]);
});

it('gives a larger layer more bits, and 1080p more than 720p', () => {
  const bitrates = [...chooseEncodings(1280, 720), ...chooseEncodings(1920, 1080).slice(-1)].map(
    (encoding) => encoding.maxBitrate ?? 0,
  );
  expect(bitrates).toEqual([...bitrates].sort((a, b) => a - b));
  expect(new Set(bitrates).size).toBe(4);
});
