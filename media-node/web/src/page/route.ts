/** Which room the address names, and what to do there. */

export interface Route {
  namespace: string;
  room: string;
  isHost: boolean;
}

const LABEL = '[a-z0-9](?:[-a-z0-9]*[a-z0-9])?';
const PATH = new RegExp(`^/rooms/(${LABEL})/(${LABEL}(?:\\.${LABEL})*)(/host)?/?$`);

/** Reads `/rooms/{namespace}/{room}` or `…/host`; undefined for any other address. */
export function parseRoute(path: string): Route | undefined {
  const [, namespace, room, host] = PATH.exec(path) ?? [];
  if (namespace === undefined || room === undefined) return undefined;
  return { namespace, room, isHost: host !== undefined };
}

/** The token of `#token=…`. A fragment never leaves the browser, and it is stored nowhere. */
export function tokenIn(fragment: string): string | undefined {
  return new URLSearchParams(fragment.replace(/^#/, '')).get('token') ?? undefined;
}
