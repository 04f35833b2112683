import { expect, it } from 'vitest';
import { findLink, iceServers, parseLinks, REL_EVENTS, REL_LAYER } from '../src/client/link';

const BASE = 'https://node.example/whep/default/show';

it('finds extensions, whatever the number of header lines they came in', () => {
  const links = parseLinks(
    `</sessions/a/layer>; rel="${REL_LAYER}", </sessions/a/events>;rel=${REL_EVENTS};events="active, layers"`,
    BASE,
  );
  expect(findLink(links, REL_LAYER)?.url).toBe('https://node.example/sessions/a/layer');
  expect(findLink(links, REL_EVENTS)?.params).toEqual({ events: 'active, layers' });
});

it('reads ICE servers with credentials that contain separators', () => {
  const links = parseLinks(
    '<stun:stun.example>; rel="ice-server", ' +
      '<turns:turn.example?transport=tcp>; rel="ice-server"; username="a,b;c"; credential="q\\"x"; credential-type="password"',
    BASE,
  );
  expect(iceServers(links)).toEqual([
    { urls: 'stun:stun.example' },
    { urls: 'turns:turn.example?transport=tcp', username: 'a,b;c', credential: 'q"x' },
  ]);
});

it('accepts parameters without a semicolon between, as the drafts show them', () => {
  const [link] = parseLinks(`<https://n.example/sse>; rel="${REL_EVENTS}" events="active"`, BASE);
  expect(link).toEqual({ url: 'https://n.example/sse', rel: [REL_EVENTS], params: { events: 'active' } });
});

it('keeps what it understood of a broken header', () => {
  expect(parseLinks(null, BASE)).toEqual([]);
  expect(parseLinks('nonsense', BASE)).toEqual([]);
  expect(parseLinks('</a>; rel=x, <http://[bad>; rel=y, </b>; rel="z', BASE).map((link) => link.url)).toEqual([
    'https://node.example/a',
    'https://node.example/b',
  ]);
});
