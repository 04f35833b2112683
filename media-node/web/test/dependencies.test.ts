import { expect, it, vi } from 'vitest';
import { type NegotiatesExtensions, offerDependencies } from '../src/client/dependencies';

const URI = 'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension';
const MID = { uri: 'urn:ietf:params:rtp-hdrext:sdes:mid', direction: 'sendrecv' } as const;

const offer = (transceiver: NegotiatesExtensions) =>
  offerDependencies(transceiver as RTCRtpTransceiver & NegotiatesExtensions);

it('adds it to what the browser offers', () => {
  const set = vi.fn<NonNullable<NegotiatesExtensions['setHeaderExtensionsToNegotiate']>>();
  offer({
    getHeaderExtensionsToNegotiate: () => [MID, { uri: URI, direction: 'stopped' }],
    setHeaderExtensionsToNegotiate: set,
  });
  expect(set).toHaveBeenCalledExactlyOnceWith([MID, { uri: URI, direction: 'sendrecv' }]);
});

it('leaves browsers alone that do not know it, or let nobody choose', () => {
  const set = vi.fn<NonNullable<NegotiatesExtensions['setHeaderExtensionsToNegotiate']>>();
  offer({ getHeaderExtensionsToNegotiate: () => [MID], setHeaderExtensionsToNegotiate: set });
  offer({});
  expect(set).not.toHaveBeenCalled();
});
