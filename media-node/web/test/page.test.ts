import { expect, it } from 'vitest';
import { HttpError } from '../src/client/http';
import { parseRoute, tokenIn, tokenOf } from '../src/page/route';
import { bitrate, layerLabel, serverProblem } from '../src/page/words';

it('reads the room from the address', () => {
  expect(parseRoute('/rooms/default/my-show')).toEqual({ namespace: 'default', room: 'my-show', isHost: false });
  expect(parseRoute('/rooms/shop/a.b/host/')).toEqual({ namespace: 'shop', room: 'a.b', isHost: true });
  for (const path of ['/', '/rooms/default', '/rooms/Default/x', '/rooms/-a/x', '/rooms/a/b/c', '/rooms/a/b..c']) {
    expect(parseRoute(path)).toBeUndefined();
  }
});

it('reads the token from the fragment', () => {
  expect(tokenIn('#token=a%2Bb')).toBe('a+b');
  expect(tokenIn('')).toBeUndefined();
});

it('takes a pasted token, and one in a pasted link', () => {
  expect(tokenOf(' eyJh.eyJz.c2ln\n')).toBe('eyJh.eyJz.c2ln');
  expect(tokenOf('https://live.example/rooms/shop/sale/host#token=a%2Bb')).toBe('a+b');
  expect(tokenOf('a node’s own, with spaces')).toBe('a node’s own, with spaces');
  for (const text of ['', ' ', 'https://live.example/rooms/shop/sale', 'https://live.example/#x']) {
    expect(tokenOf(text)).toBeUndefined();
  }
});

it('names layers by their lines, also upright', () => {
  expect(layerLabel({ rid: 'f', width: 1280, height: 720 })).toBe('720p (1280×720)');
  expect(layerLabel({ rid: 'f', width: 720, height: 1280 })).toBe('720p (720×1280)');
  expect(layerLabel({ rid: '', width: undefined, height: undefined })).toBe('Original');
});

it('says what to do about a refusal', () => {
  expect(serverProblem(new HttpError(401, 'no token', undefined))).toContain('new link');
  expect(serverProblem(new HttpError(404, 'no room', undefined))).toContain('over');
  expect(serverProblem(new HttpError(422, 'two video tracks', undefined))).toContain('two video tracks');
  expect(serverProblem(new TypeError('Failed to fetch'))).toContain('network');
});

it('writes bitrates in the unit that fits', () => {
  expect(bitrate(180_400)).toBe('180 kbit/s');
  expect(bitrate(2_040_000)).toBe('2.0 Mbit/s');
});
