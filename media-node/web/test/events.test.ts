import { describe, expect, it } from 'vitest';
import { parseEvent } from '../src/client/events';
import { EventParser, readEvents } from '../src/client/sse';

describe('an event stream', () => {
  it('reads the same however it is cut into chunks', () => {
    const text = ': hello\r\nevent: active\r\ndata: {}\r\n\r\nevent:viewercount\rdata:{"viewercount":3}\r\rdata: a\ndata: b\n\n';
    const whole = new EventParser().push(text);
    const parser = new EventParser();
    const bytewise = text.split('').flatMap((character) => parser.push(character));
    expect(whole).toEqual([
      { type: 'active', data: '{}' },
      { type: 'viewercount', data: '{"viewercount":3}' },
      { type: 'message', data: 'a\nb' },
    ]);
    expect(bytewise).toEqual(whole);
  });

  it('drops an event without data', () => {
    expect(new EventParser().push('event: active\n\n')).toEqual([]);
  });

  it('does not collect a line without end', () => {
    expect(() => new EventParser().push('x'.repeat(300_000))).toThrow('line without end');
  });

  it('counts as dead when it falls silent', async () => {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new TextEncoder().encode('data: 1\n\n')),
    });
    const events = readEvents(body, 1);
    expect((await events.next()).value).toEqual({ type: 'message', data: '1' });
    await expect(events.next()).rejects.toThrow('silent');
  });
});

describe('an event', () => {
  const base = 'https://node.example/sessions/a';

  it('lists layers of all media sections and skips what makes no sense', () => {
    const data = JSON.stringify({
      '0': [
        { rid: 'f', width: 1280, height: 720, bitrate: 2_000_000, targetBitrate: 1 },
        { rid: 's', spatialLayerId: 1, temporalLayerId: 0, bitrate: 1 },
        { rid: 's', spatialLayerId: 1, temporalLayerId: 1, bitrate: 2 },
        { rid: 's', spatialLayerId: 0, temporalLayerId: 1, bitrate: 1 },
        { rid: 'q' },
        { spatialLayerId: 1 },
        null,
      ],
      extra: 'ignored',
    });
    expect(parseEvent({ type: 'layers', data }, base)).toEqual({
      type: 'layers',
      layers: [
        { rid: 'f', spatialLayerId: undefined, width: 1280, height: 720, bitrate: 2_000_000 },
        { rid: 's', spatialLayerId: 1, width: undefined, height: undefined, bitrate: 2 },
        { rid: 's', spatialLayerId: 0, width: undefined, height: undefined, bitrate: 1 },
        { rid: 'q', spatialLayerId: undefined, width: undefined, height: undefined, bitrate: 0 },
      ],
    });
  });

  it('sends to another address, or back to where one came from', () => {
    expect(parseEvent({ type: 'reconnect', data: '{"url":"/whep/x/y"}' }, base)).toEqual({
      type: 'reconnect',
      url: 'https://node.example/whep/x/y',
    });
    expect(parseEvent({ type: 'reconnect', data: '{}' }, base)).toEqual({ type: 'reconnect', url: undefined });
  });

  it('tells what is sent and why not more', () => {
    const data = '{"state":"paused","reason":"network","estimateBps":90000}';
    expect(parseEvent({ type: 'adaptation', data }, base)).toEqual({
      type: 'adaptation',
      adaptation: { state: 'paused', reason: 'network', rid: undefined, width: undefined, height: undefined, estimate: 90_000 },
    });
    expect(parseEvent({ type: 'adaptation', data: '{"state":"?"}' }, base)).toMatchObject({
      adaptation: { state: 'playing', reason: 'none' },
    });
  });

  it('tells a host which layers are wanted', () => {
    expect(parseEvent({ type: 'wanted', data: '{"rids":["q",7,"f"]}' }, base)).toEqual({ type: 'wanted', rids: ['q', 'f'] });
    expect(parseEvent({ type: 'wanted', data: '{}' }, base)).toBeUndefined();
  });

  it('is ignored when unknown or broken', () => {
    expect(parseEvent({ type: 'scte35', data: '/DA8' }, base)).toBeUndefined();
    expect(parseEvent({ type: 'viewercount', data: 'three' }, base)).toBeUndefined();
  });
});
