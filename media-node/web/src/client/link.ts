/** Link header fields (RFC 8288): how a server names its extensions and ICE servers. */

export interface Link {
  /** Absolute address of the target. */
  url: string;
  /** Relation types, in lower case as far as they are registered names; URNs unchanged. */
  rel: string[];
  /** The other parameters, by lower-case name. */
  params: Record<string, string>;
}

export const REL_ICE_SERVER = 'ice-server';
export const REL_EVENTS = 'urn:ietf:params:whep:ext:core:server-sent-events';
/** Of this project. */
export const REL_REPORT = 'urn:showrunner:whep:report';
export const REL_LAYER = 'urn:ietf:params:whep:ext:core:layer';

// One parameter: `; name=token`, `; name="quoted \" string"` or `; name`. Drafts of WHEP show
// parameters without the semicolon between them, so white space separates them as well.
const PARAM = /[;\s]\s*([!#$%&'*+\-.^_`|~\w]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s";,]+)))?/gy;

/** Parses a Link header. Fields that make no sense are left out; nothing is thrown. */
export function parseLinks(header: string | null, base: string): Link[] {
  const links: Link[] = [];
  let rest = header ?? '';
  for (;;) {
    const target = /^[\s,]*<([^>]*)>/.exec(rest);
    if (!target) return links;
    PARAM.lastIndex = target[0].length;
    const params: Record<string, string> = {};
    let end = PARAM.lastIndex;
    for (let match; (match = PARAM.exec(rest)); end = PARAM.lastIndex) {
      const name = match[1]?.toLowerCase() ?? '';
      // Only the first occurrence of a parameter counts (RFC 8288 §3.3).
      params[name] ??= match[2]?.replace(/\\(.)/g, '$1') ?? match[3] ?? '';
    }
    rest = rest.slice(end);
    const url = resolve(target[1] ?? '', base);
    if (url !== undefined) {
      const { rel = '', ...others } = params;
      links.push({ url, rel: rel.split(/\s+/).filter(Boolean), params: others });
    }
  }
}

/** The first link with this relation. */
export function findLink(links: Link[], rel: string): Link | undefined {
  return links.find((link) => link.rel.includes(rel));
}

/** The ICE servers that the links offer (RFC 9725 §4.6). */
export function iceServers(links: Link[]): RTCIceServer[] {
  return links
    .filter((link) => link.rel.includes(REL_ICE_SERVER))
    .map(({ url, params }) =>
      params['username'] === undefined
        ? { urls: url }
        : { urls: url, username: params['username'], credential: params['credential'] ?? '' },
    );
}

function resolve(target: string, base: string): string | undefined {
  // `turn:` and `stun:` addresses are opaque to URL resolution and stay as they are.
  if (/^(stun|turn)s?:/i.test(target)) return target;
  return URL.canParse(target, base) ? new URL(target, base).href : undefined;
}
