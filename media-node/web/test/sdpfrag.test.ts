import { expect, it } from 'vitest';
import { iceParameters, withIceParameters, writeFragment } from '../src/client/sdpfrag';

const sdp = (...lines: string[]) => lines.map((line) => `${line}\r\n`).join('');

const OFFER = sdp(
  'v=0',
  'a=group:BUNDLE 0 1',
  'm=video 9 UDP/TLS/RTP/SAVPF 96',
  'a=ice-ufrag:abcd',
  'a=ice-pwd:0123456789012345678901',
  'a=mid:0',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111',
  'a=ice-ufrag:abcd',
  'a=ice-pwd:0123456789012345678901',
  'a=mid:1',
);

it('writes candidates of the bundle under its first section', () => {
  const candidate = 'candidate:1 1 udp 2122260223 192.0.2.1 5000 typ host';
  expect(writeFragment(OFFER, [candidate], true)).toBe(
    sdp(
      'a=group:BUNDLE 0 1',
      'm=video 9 RTP/AVP 0',
      'a=mid:0',
      'a=ice-ufrag:abcd',
      'a=ice-pwd:0123456789012345678901',
      `a=${candidate}`,
      'a=end-of-candidates',
    ),
  );
});

it('writes a restart as credentials alone', () => {
  const fragment = writeFragment(OFFER, [], false);
  expect(fragment).toContain('a=ice-ufrag:abcd\r\n');
  expect(fragment).not.toContain('candidate');
});

const ANSWER = sdp(
  'v=0',
  'a=ice-lite',
  'm=video 9 UDP/TLS/RTP/SAVPF 96',
  'a=mid:0',
  'a=ice-ufrag:old',
  'a=ice-pwd:oldpwd',
  'a=candidate:1 1 udp 1 192.0.2.9 7000 typ host',
  'a=rid:q recv',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111',
  'a=mid:1',
  'a=ice-ufrag:old',
  'a=ice-pwd:oldpwd',
);

it('puts the credentials and candidates of a restart into every section of the answer', () => {
  const ice = iceParameters('a=ice-ufrag:new\na=ice-pwd:newpwd\na=candidate:2 1 udp 1 192.0.2.10 7001 typ host\n');
  expect(withIceParameters(ANSWER, ice)).toBe(
    sdp(
      'v=0',
      'a=ice-lite',
      'm=video 9 UDP/TLS/RTP/SAVPF 96',
      'a=mid:0',
      'a=candidate:2 1 udp 1 192.0.2.10 7001 typ host',
      'a=ice-ufrag:new',
      'a=ice-pwd:newpwd',
      'a=rid:q recv',
      'm=audio 9 UDP/TLS/RTP/SAVPF 111',
      'a=mid:1',
      'a=ice-ufrag:new',
      'a=ice-pwd:newpwd',
    ),
  );
});

it('keeps the known candidates when a restart names none', () => {
  const restarted = withIceParameters(ANSWER, { ufrag: 'new', pwd: 'newpwd', candidates: [] });
  expect(restarted).toContain('192.0.2.9 7000');
  expect(restarted).not.toContain('old');
});
