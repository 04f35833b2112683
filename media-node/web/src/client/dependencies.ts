/** Offers the dependency descriptor, a header extension that browsers know but don't offer by themselves. */

const DEPENDENCY_DESCRIPTOR =
  'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension';

interface HeaderExtension {
  uri: string;
  direction: RTCRtpTransceiverDirection;
}

/** Extensions for webrtc (W3C), § 7, which not every browser has. */
export interface NegotiatesExtensions {
  getHeaderExtensionsToNegotiate?(): HeaderExtension[];
  setHeaderExtensionsToNegotiate?(extensions: HeaderExtension[]): void;
}

/**
 * Has a transceiver offer it. Without it a scalable AV1 stream shows its smallest picture only; a browser that does
 * not know it is sent that one.
 */
export function offerDependencies(transceiver: RTCRtpTransceiver & NegotiatesExtensions): void {
  const known = transceiver.getHeaderExtensionsToNegotiate?.() ?? [];
  if (!known.some(({ uri }) => uri === DEPENDENCY_DESCRIPTOR)) return;
  transceiver.setHeaderExtensionsToNegotiate?.(
    known.map((each) => (each.uri === DEPENDENCY_DESCRIPTOR ? { ...each, direction: 'sendrecv' } : each)),
  );
}
