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

/** What somebody who was asked for a token pasted: the token, or the link that has it. */
export function tokenOf(pasted: string): string | undefined {
  const text = pasted.trim();
  if (/^https?:\/\//i.test(text) && URL.canParse(text)) return tokenIn(new URL(text).hash);
  return text === '' ? undefined : text;
}

/** The token of `#token=…`. A fragment never leaves the browser, and it is stored nowhere. */
export function tokenIn(fragment: string): string | undefined {
  return new URLSearchParams(fragment.replace(/^#/, '')).get('token') ?? undefined;
}
