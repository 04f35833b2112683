import { expect, it } from 'vitest';
import { boundFor, isSameBound } from '../src/client/bound';

const shown = (width: number, height: number, more = {}) =>
  boundFor({ width, height, isReduced: false, hiddenMs: undefined, ...more });

/** The tallest of the usual layers that a bound allows. */
function tallest(bound: { maxWidth: number; maxHeight: number } | undefined): number | undefined {
  const layers = [[1920, 1080], [1280, 720], [640, 360], [320, 180]] as const;
  return layers.find(([w, h]) => !bound || (w <= bound.maxWidth && h <= bound.maxHeight))?.[1];
}

it('takes the layer that is scaled least', () => {
  expect(tallest(shown(1280, 720))).toBe(720);
  expect(tallest(shown(1279, 719))).toBe(720);
  expect(tallest(shown(1920, 1080))).toBe(1080);
  expect(tallest(shown(640, 360))).toBe(360);
  expect(tallest(shown(400, 225))).toBe(180);
  expect(tallest(shown(1000, 563))).toBe(720);
});

it('knows that a phone held upright shows a wide picture small', () => {
  expect(tallest(shown(1170, 2532))).toBe(720);
  expect(tallest(shown(390, 844))).toBe(180);
});

it('allows anything before it knows a size', () => {
  expect(shown(0, 0)).toBeUndefined();
});

it('saves data for those who want that', () => {
  expect(tallest(shown(1920, 1080, { isReduced: true }))).toBe(360);
  expect(tallest(shown(0, 0, { isReduced: true }))).toBe(360);
  expect(tallest(shown(320, 180, { isReduced: true }))).toBe(180);
});

it('shows less and then nothing to a page that nobody sees', () => {
  expect(shown(1280, 720, { hiddenMs: 5_000 })).toEqual(shown(1280, 720));
  expect(shown(1280, 720, { hiddenMs: 10_000 })).toEqual({ maxWidth: 1, maxHeight: 1 });
  expect(shown(1280, 720, { hiddenMs: 60_000 })).toEqual({ maxWidth: 0, maxHeight: 0 });
});

it('tells news from what was told', () => {
  expect(isSameBound(undefined, undefined)).toBe(true);
  expect(isSameBound(shown(1280, 720), shown(1279, 719))).toBe(true);
  expect(isSameBound(shown(1280, 720), undefined)).toBe(false);
});
