/** What the server tells a viewer or a host beside the media (WHEP server-sent events extension). */

import { Backoff, sleep } from './backoff';
import { isGone, request } from './http';
import { parseLayers, positive, type Layer } from './layers';
import { findLink, REL_EVENTS } from './link';
import type { Session } from './session';
import { readEvents, type ServerEvent } from './sse';

/** Servers send a comment at least every 15 s or so; two missed ones mean a dead connection. */
const IDLE_MS = 40_000;
/** What viewers, and what hosts, act upon. */
export const VIEWER_EVENTS = ['active', 'inactive', 'adaptation', 'layers', 'reconnect', 'viewercount'] as const;
export const HOST_EVENTS = ['wanted', 'reconnect', 'viewercount'] as const;

/** What the server sends a viewer now, and why not more. */
export interface Adaptation {
  /** Whether there is a picture. Sound goes on without. */
  state: 'playing' | 'paused';
  /** What keeps it from being better. */
  reason: 'network' | 'choice' | 'none';
  /** The layer, while there is one. */
  rid: string | undefined;
  width: number | undefined;
  height: number | undefined;
  /** What the viewer's network is thought to carry, bit/s. */
  estimate: number | undefined;
}

export type RoomEvent =
  | { type: 'active' }
  | { type: 'inactive' }
  | { type: 'layers'; layers: Layer[] }
  | { type: 'viewercount'; viewers: number }
  | { type: 'adaptation'; adaptation: Adaptation }
  /** The layers that somebody watches; a host may stop to send the others. */
  | { type: 'wanted'; rids: string[] }
  /** Start anew, at this address or, without one, where the session came from. */
  | { type: 'reconnect'; url: string | undefined };

/**
 * Calls `listener` with every event until the session is over. A broken stream is taken up again; the
 * server then begins with the present state. That it broke may be the first sign of a server that died.
 */
export async function followEvents(
  { resource, over: signal, flow }: Session,
  names: readonly string[],
  listener: (event: RoomEvent) => void,
): Promise<void> {
  const link = findLink(resource.links, REL_EVENTS);
  if (!link) return;
  const offered = link.params['events']?.split(',').map((name) => name.trim());
  const wanted = names.filter((name) => offered?.includes(name) ?? true);
  if (wanted.length === 0) return;
  const backoff = new Backoff();
  let stream: string | undefined;
  while (!signal.aborted) {
    try {
      // The same stream again: the server keeps for it what must not be missed.
      stream ??= await subscribe(link.url, wanted, resource.token, signal);
      for await (const event of follow(stream, resource.token, signal)) {
        backoff.reset();
        const parsed = parseEvent(event, resource.url);
        if (parsed) listener(parsed);
      }
    } catch (error) {
      if (isGone(error)) {
        if (stream === undefined) return;
        stream = undefined;
      }
    }
    flow.check();
    await sleep(backoff.next(), signal).catch(() => undefined);
  }
}

/** Understands one event; undefined for those that this client does not know. */
export function parseEvent({ type, data }: ServerEvent, base: string): RoomEvent | undefined {
  const value = parseObject(data);
  switch (type) {
    case 'active':
    case 'inactive':
      return { type };
    case 'layers':
      return { type, layers: parseLayers(value) };
    case 'viewercount': {
      const viewers = value['viewercount'];
      return typeof viewers === 'number' ? { type, viewers } : undefined;
    }
    case 'adaptation':
      return { type, adaptation: parseAdaptation(value) };
    case 'wanted': {
      const rids = value['rids'];
      return Array.isArray(rids) ? { type, rids: rids.filter((rid) => typeof rid === 'string') } : undefined;
    }
    case 'reconnect': {
      const url = value['url'];
      const isAddress = typeof url === 'string' && URL.canParse(url, base);
      return { type, url: isAddress ? new URL(url, base).href : undefined };
    }
    default:
      return undefined;
  }
}

function parseAdaptation(value: Record<string, unknown>): Adaptation {
  const { state, reason, rid, width, height, estimateBps } = value;
  return {
    state: state === 'paused' ? state : 'playing',
    reason: reason === 'network' || reason === 'choice' ? reason : 'none',
    rid: typeof rid === 'string' ? rid : undefined,
    width: positive(width),
    height: positive(height),
    estimate: positive(estimateBps),
  };
}

/** Makes a stream of these events; returns its address. */
async function subscribe(
  url: string,
  events: readonly string[],
  token: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const response = await request('POST', url, {
    token,
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(events),
    signal,
  });
  return new URL(response.headers.get('Location') ?? '', response.url).href;
}

async function* follow(
  stream: string,
  token: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<ServerEvent, void, undefined> {
  const headers = { Accept: 'text/event-stream' };
  const response = await request('GET', stream, { token, headers, signal, timeoutMs: 0 });
  if (response.body) yield* readEvents(response.body, IDLE_MS);
}

function parseObject(json: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
